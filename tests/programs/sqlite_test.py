"""sqlite3 fills a table, indexes it, changes it, and finds it sound."""

from preload import expect_equal, run, scratch

ROWS = 300000
STATEMENTS = f"""
PRAGMA cache_size = -65536;
CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, size INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
  INSERT INTO t SELECT i, printf('name-%d-%.*c', i * 7919 % 100003, i % 60, 'x'), i % 1000 FROM n;
CREATE INDEX by_name ON t (name);
CREATE INDEX by_size ON t (size, name);
PRAGMA integrity_check;
SELECT count(*), sum(id), sum(size) FROM t;
DELETE FROM t WHERE id % 3 = 0;
UPDATE t SET name = name || '-changed' WHERE id % 5 = 0;
VACUUM;
PRAGMA integrity_check;
SELECT count(*), sum(id) FROM t INDEXED BY by_name WHERE name >= '';
SELECT count(*) FROM (SELECT DISTINCT name FROM t INDEXED BY by_name WHERE name LIKE '%-changed');
SELECT count(*) FROM t a JOIN t b ON a.size = b.size AND a.id = b.id - 1000;
"""


def expected():
    name = {i: (i * 7919 % 100003, i % 60 or 1) for i in range(1, ROWS + 1)}
    kept = {i for i in name if i % 3}
    return "\n".join([
        "ok",
        f"{ROWS}|{sum(name)}|{sum(i % 1000 for i in name)}",
        "ok",
        f"{len(kept)}|{sum(kept)}",
        f"{len({name[i] for i in kept if i % 5 == 0})}",
        f"{sum(i + 1000 in kept for i in kept)}",
    ]) + "\n"


def main():
    with scratch() as directory:
        out = run("sqlite3", "-batch", f"{directory}/test.db", stdin=STATEMENTS.encode()).decode()
        expect_equal(out, expected(), "what sqlite3 printed")


main()
