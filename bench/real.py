"""Real programs as workloads of bench/run: Debian's packages, doing what they are made for.

Of a server only the server runs under the allocator; its load always runs under glibc, and the time
is the load's. Servers listen on free ports of loopback, keep their files in a directory that goes
away with the run, in memory if there is /dev/shm, and are ended by their pid.
"""

import dataclasses
import os
import pathlib
import pwd
import random
import shutil
import socket
import subprocess

import allocators
import measure

HERE = pathlib.Path(__file__).resolve().parent / "programs"
PYTHON = "/usr/bin/python3"  # Debian's, whatever else is first in PATH
LOAD = allocators.GLIBC.environment()  # of load generators


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclasses.dataclass(frozen=True)
class Program:
    """A real program. `needs` are (executable, Debian's package)."""

    name: str
    needs: tuple = ()
    pinned: bool = False

    def prepare(self, place):
        """Makes what all runs use. Called once."""

    def environment(self, allocator, options):
        return allocator.environment(options)

    def samples(self, place):
        """(command, user): commands that end at once, of every program that must get the right
        malloc."""
        return [([self.needs[0][0], "--version"], None)]


class Python(Program):
    """Objects of all kinds, with Python's own allocator switched off."""

    def environment(self, allocator, options):
        return allocator.environment(options) | {"PYTHONMALLOC": "malloc"}

    def run(self, place, environment):
        usage, _ = measure.run(place, [PYTHON, HERE / "objects.py", str(place.times(60_000))],
                               environment, pinned=self.pinned)
        return usage


class Gxx(Program):
    """A compiler at work; nearly all of its time is cc1plus's."""

    def samples(self, place):
        compiler = subprocess.run(["g++", "-print-prog-name=cc1plus"], capture_output=True,
                                  text=True, check=True).stdout.strip()
        return [(["g++", "--version"], None), ([compiler, "--version"], None)]

    def run(self, place, environment):
        usage, _ = measure.run(place, ["g++", "-std=c++17", "-O2", "-S", "-o", "/dev/null",
                                       f"-DKINDS={place.times(4)}", HERE / "templates.cc"],
                               environment, pinned=self.pinned)
        return usage


class Sqlite(Program):
    """A table and an index of it, in memory."""

    def run(self, place, environment):
        rows = place.times(300_000)
        statements = f"""
            CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, size INTEGER);
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
              INSERT INTO t SELECT i, printf('name-%d-%.*c', i * 7919 % 100003, i % 60, 'x'),
                                   i % 1000 FROM n;
            CREATE INDEX by_name ON t (name);
            SELECT count(*), sum(id) FROM t INDEXED BY by_name WHERE name >= 'name';
            DELETE FROM t WHERE id % 2 = 0;
            SELECT count(*) FROM t;"""
        script = place.scratch / "statements.sql"
        script.write_text(statements)
        with script.open() as stdin:
            usage, out = measure.run(place, ["sqlite3", "-batch", ":memory:"], environment,
                                     pinned=self.pinned, stdin=stdin)
        expected = f"{rows}|{rows * (rows + 1) // 2}\n{(rows + 1) // 2}\n"
        if out != expected:
            raise measure.Broken(f"sqlite3 said {out!r:.100}, not {expected!r}")
        return usage


class RocksDb(Program):
    """Two threads fill a database, and read and write it: rocksdb's own db_bench."""

    def run(self, place, environment):
        with_number = str(place.times(60_000))
        usage, out = measure.run(
            place, ["db_bench", "--benchmarks=fillrandom,readrandomwriterandom", "--threads=2",
                    f"--num={with_number}", f"--db={place.scratch / 'db'}", "--seed=1",
                    "--compression_type=none", "--value_size=200", "--write_buffer_size=4194304"],
            environment)
        if "readrandomwriterandom :" not in out:
            raise measure.Broken(f"db_bench said {out[-100:]!r}")
        return usage


class Redis(Program):
    """redis-server; in a subclass, what is asked of it. Debian links it to jemalloc: to get
    glibc's malloc, glibc has to come first."""

    def environment(self, allocator, options):
        environment = allocator.environment(options)
        if not allocator.path:
            environment["LD_PRELOAD"] = str(allocators.find_library("libc.so.6"))
        return environment

    def run(self, place, environment):
        port = free_port()
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "",
                   "--appendonly", "no", "--dir", place.scratch, "--jemalloc-bg-thread", "no"]
        with measure.server(place, command, environment, lambda: accepts(port),
                            place.one_cpu()) as server:
            seconds = self.load(place, port)
            peak = self.memory(server)
            usage = server.stop()
        return dataclasses.replace(usage, seconds=seconds, peak_kib=peak)

    def memory(self, server):
        return server.status("VmHWM")


@dataclasses.dataclass(frozen=True)
class RedisBenchmark(Redis):
    """Requests of redis-benchmark, after others that are not timed."""

    request: tuple = ()
    requests: int = 0
    keys: int = 1
    before: tuple = ()  # (request, how many)
    pipeline: int = 16

    def load(self, place, port):
        if self.before:
            self._ask(place, port, self.before[0], self.before[1])
        return self._ask(place, port, self.request, self.requests).seconds

    def _ask(self, place, port, request, count):
        usage, out = measure.run(
            dataclasses.replace(place, cpus=place.other_cpus()),
            ["redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-q", "-c", "25",
             "-P", str(self.pipeline), "-r", str(place.times(self.keys)),
             "-n", str(place.times(count)), *request], LOAD)
        if "requests per second" not in out or "rror" in out:
            raise measure.Broken(f"redis-benchmark said {out[-100:]!r}")
        return usage


def recorded(place, name, conversations):
    """Writes requests and replies for programs/replay.py."""
    directory = place.prepared / name
    directory.mkdir()
    for number, (requests, replies) in enumerate(conversations):
        (directory / f"{number}.requests").write_bytes(b"".join(requests))
        (directory / f"{number}.replies").write_bytes(b"".join(replies))


def replay(place, port, name, cpus):
    """Plays what recorded() wrote. Returns how long that took."""
    usage, _ = measure.run(dataclasses.replace(place, cpus=cpus),
                           [PYTHON, HERE / "replay.py", str(port), place.prepared / name], LOAD)
    return usage.seconds


def value_size(numbers):
    """Mostly small, few large: as many in each doubling from 16 bytes to 8 KiB."""
    return int(16 * 2 ** numbers.uniform(0, 9))


class RedisFragmentation(Redis):
    """Values of many sizes are stored and every other key deleted. The memory is what is resident
    then: what the holes cost."""

    def prepare(self, place):
        numbers = random.Random(1)
        keys = [b"key:%07d" % number for number in range(place.times(60_000))]

        def command(*words):
            return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(word), word)
                                                         for word in words)])

        stored = [command(b"SET", key, b"v" * value_size(numbers)) for key in keys]
        deleted = [command(b"DEL", key) for key in keys[::2]]
        recorded(place, "fragmentation", [(stored + deleted,
                                           [b"+OK\r\n" * len(stored), b":1\r\n" * len(deleted)])])

    def load(self, place, port):
        return replay(place, port, "fragmentation", place.other_cpus())

    def memory(self, server):
        return server.status("VmRSS")


class Memcached(Program):
    """50 connections store and read values of many sizes. memcached cuts items out of pieces of
    1 MiB itself; connections and their buffers are malloc's."""

    CONNECTIONS = 50

    def prepare(self, place):
        def conversation(number):
            numbers = random.Random(number)
            requests, replies, values = [], [], {}
            for turn in range(place.times(4_000)):
                key = b"%d:%d" % (number, numbers.randrange(200))
                if turn % 3 == 0 or key not in values:
                    values[key] = b"v" * value_size(numbers)
                    requests.append(b"set %s 0 0 %d\r\n%s\r\n"
                                    % (key, len(values[key]), values[key]))
                    replies.append(b"STORED\r\n")
                else:
                    requests.append(b"get %s\r\n" % key)
                    replies.append(b"VALUE %s 0 %d\r\n%s\r\nEND\r\n"
                                   % (key, len(values[key]), values[key]))
            return requests, replies

        recorded(place, "memcached", map(conversation, range(self.CONNECTIONS)))

    def samples(self, place):
        return [(["memcached", "-V"], None)]

    def run(self, place, environment):
        port = free_port()
        command = ["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", "2",
                   "-m", "256", "-u", pwd.getpwuid(os.geteuid()).pw_name]
        with measure.server(place, command, environment, lambda: accepts(port),
                            place.cpus) as server:
            seconds = replay(place, port, "memcached", place.cpus)
            peak = server.status("VmHWM")
            usage = server.stop()
        return dataclasses.replace(usage, seconds=seconds, peak_kib=peak)


def postgres_program(name):
    """Debian keeps most of PostgreSQL's programs out of PATH."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else name


@dataclasses.dataclass(frozen=True)
class Postgres(Program):
    """pgbench on a cluster of our own. The memory is that of the largest process, shared buffers
    (16 MiB) among it."""

    script: str = ""  # of pgbench, in programs/; "" for its own, which is like TPC-B
    clients: int = 4
    transactions: int = 0  # of each client

    def _user(self):
        """PostgreSQL refuses to be root: who it is instead, as UID:GID."""
        if os.geteuid() != 0:
            return None
        names = {user.pw_name: user for user in pwd.getpwall()}
        user = names.get("postgres") or names["nobody"]
        return f"{user.pw_uid}:{user.pw_gid}"

    def samples(self, place):
        return [([postgres_program("postgres"), "--version"], self._user())]

    def _own(self, directory):
        if self._user():
            uid, gid = map(int, self._user().split(":"))
            os.chown(directory, uid, gid)

    def _server(self, place, directory, port, environment):
        settings = ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "jit=off",
                    "autovacuum=off", "shared_buffers=16MB", "work_mem=64MB", "max_wal_size=4GB",
                    "max_parallel_workers_per_gather=0", "dynamic_shared_memory_type=mmap",
                    "listen_addresses=127.0.0.1",
                    f"unix_socket_directories={directory}", f"port={port}"]
        command = [postgres_program("postgres"), "-D", directory,
                   *(word for setting in settings for word in ("-c", setting))]
        return measure.server(
            place, command, environment, lambda: self._answers(port), place.cpus,
            user=self._user(), cwd=directory)

    def _answers(self, port):
        ready = subprocess.run([postgres_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p",
                                str(port)], env=LOAD, check=False)
        return ready.returncode == 0

    def prepare(self, place):
        """A cluster with pgbench's tables, of which each run gets a copy."""
        directory = place.prepared / "cluster"
        if directory.exists():
            return  # another workload's
        directory.mkdir(mode=0o700)
        self._own(directory)
        measure.run(place, [postgres_program("initdb"), "-D", directory, "-A", "trust", "-U",
                            "postgres", "-N", "--locale=C.UTF-8"], LOAD, user=self._user(),
                    cwd=directory)
        port = free_port()
        with self._server(place, directory, port, LOAD) as server:
            measure.run(place, [*self._pgbench(port), "-i", "-q", "-s", "2", "postgres"], LOAD)
            server.stop()

    def _pgbench(self, port):
        return [postgres_program("pgbench"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]

    def run(self, place, environment):
        directory = place.scratch / "cluster"
        subprocess.run(["cp", "-a", place.prepared / "cluster", directory], check=True)
        port = free_port()
        script = ["-f", HERE / self.script] if self.script else []
        with self._server(place, directory, port, environment) as server:
            load, out = measure.run(
                place, [*self._pgbench(port), "-n", "-c", str(self.clients), "-t",
                        str(place.times(self.transactions)), "--random-seed=1", *script,
                        "postgres"], LOAD)
            usage = server.stop()
        done = place.times(self.transactions) * self.clients
        if f"{done}/{done}" not in out:
            raise measure.Broken(f"pgbench said {out[-100:]!r}")
        return dataclasses.replace(usage, seconds=load.seconds)


REDIS = (("redis-server", "redis-server"), ("redis-benchmark", "redis-tools"),
         (PYTHON, "python3"))

POSTGRES = tuple((postgres_program(name), "postgresql") for name in ("initdb", "pgbench"))

PROGRAMS = (
    RedisBenchmark("redis/set", REDIS, request=("-d", "100", "-t", "set"), requests=600_000,
                   keys=200_000),
    RedisBenchmark("redis/get", REDIS, request=("-t", "get"), requests=800_000, keys=200_000,
                   before=(("-d", "100", "-t", "set"), 200_000)),
    RedisBenchmark("redis/lrange", REDIS, request=("LRANGE", "list:__rand_int__", "0", "99"),
                   requests=60_000, keys=1_000,
                   before=(("LPUSH", "list:__rand_int__", "x" * 60), 100_000)),
    RedisBenchmark("redis/large", REDIS, request=("-d", "65536", "-t", "set"), requests=15_000,
                   keys=2_000, pipeline=1),
    RedisFragmentation("redis/fragmentation", REDIS),
    Memcached("memcached", (("memcached", "memcached"), (PYTHON, "python3"))),
    RocksDb("rocksdb", (("db_bench", "rocksdb-tools"),)),
    Postgres("postgresql/tpcb", POSTGRES, transactions=1_500),
    Postgres("postgresql/sort", POSTGRES, script="sort.sql", transactions=4),
    Python("python", ((PYTHON, "python3"),), pinned=True),
    Gxx("g++", (("g++", "g++"),), pinned=True),
    Sqlite("sqlite", (("sqlite3", "sqlite3"),), pinned=True),
)


def missing(workload):
    """The packages that a workload lacks."""
    return [package for program, package in workload.needs if not shutil.which(program)]
