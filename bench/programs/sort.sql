-- Sorts, hashes and strings of all sizes; a wrong answer divides by zero.
SELECT 1 / (count(*) = 20000)::int
  FROM (SELECT abalance, md5(aid::text) AS digest, row_number() OVER (ORDER BY md5(aid::text))
          FROM pgbench_accounts WHERE aid <= 20000 ORDER BY digest) AS sorted;
SELECT 1 / (sum(length(line)) = 20000 * 32)::int
  FROM (SELECT string_agg(md5(aid::text), '') AS line
          FROM pgbench_accounts WHERE aid <= 20000 GROUP BY aid % 997) AS grouped;
SELECT 1 / (json_array_length(json_agg(a)) = 5000)::int
  FROM pgbench_accounts AS a WHERE aid <= 5000;
