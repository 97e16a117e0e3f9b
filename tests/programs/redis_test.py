"""redis-server serves redis-benchmark, keeps what it is given, and forks to save it."""

import socket

from preload import expect, expect_equal, free_port, run, scratch, server, wait_until

KEYS = 30000


def key(i):
    return b"key:%d" % i


def value(i):
    """Sizes from 1 byte to 8 KiB, small ones mostly, and every value different."""
    return (b"%d-" % i) * (1 + (i * 7919) % (1000 if i % 16 == 0 else 20))


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.input = self.socket.makefile("rb")

    def reply(self):
        line = self.input.readline()
        kind, rest = line[:1], line[1:-2]
        expect(kind in b"+:$" and kind, f"redis-server answered {line!r}")
        if kind != b"$":
            return rest
        size = int(rest)
        return self.input.read(size + 2)[:-2] if size >= 0 else None

    def pipeline(self, commands):
        """Sends many commands, 100 at a time. Returns the replies."""
        replies = []
        for at in range(0, len(commands), 100):
            batch = commands[at:at + 100]
            self.socket.sendall(b"".join(
                b"*%d\r\n" % len(c) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in c)
                for c in batch))
            replies += [self.reply() for _ in batch]
        return replies

    def __call__(self, *words):
        return self.pipeline([[w.encode() for w in words]])[0]


def check_values(client, present):
    replies = client.pipeline([[b"GET", key(i)] for i in range(KEYS)])
    for i, reply in enumerate(replies):
        expect_equal(reply, value(i) if present(i) else None, f"key {i}")


def main():
    port = free_port()
    with scratch() as directory, server(
            "redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", directory,
            "--save", "", "--enable-debug-command", "local", "--io-threads", "2",
            "--io-threads-do-reads", "yes", "--jemalloc-bg-thread", "no", port=port):
        out = run("redis-benchmark", "-p", str(port), "-q", "-n", "20000", "-r", "5000", "-P", "16",
                  "-d", "300", "-t", "set,get,incr,lpush,rpop,sadd,hset,zadd,lrange_100",
                  preload=False).decode()
        expect(out.count("requests per second") >= 9, f"redis-benchmark printed: {out}")

        client = Client(port)
        expect_equal(client("FLUSHALL"), b"OK", "FLUSHALL")
        client.pipeline([[b"SET", key(i), value(i)] for i in range(KEYS)])
        check_values(client, lambda i: True)
        # Grow some in place, delete every third, and fill the holes with other sizes.
        client.pipeline([[b"APPEND", key(i), b"x" * 500] for i in range(0, KEYS, 5)])
        client.pipeline([[b"SETRANGE", key(i), b"0", value(i)] for i in range(0, KEYS, 5)])
        client.pipeline([[b"SET", key(i), value(i)] for i in range(0, KEYS, 5)])
        client.pipeline([[b"DEL", key(i)] for i in range(0, KEYS, 3)])
        client.pipeline([[b"HSET", b"hash:%d" % (i % 100), key(i), value(i)]
                         for i in range(0, KEYS, 3)])
        check_values(client, lambda i: i % 3 != 0)

        # The child of a fork writes the snapshot while the parent goes on changing its heap.
        digest = client("DEBUG", "DIGEST")
        client("BGSAVE")
        client.pipeline([[b"SET", b"volatile", value(i)] for i in range(5000)])
        client("DEL", "volatile")
        wait_until(lambda: b"rdb_bgsave_in_progress:0" in client("INFO", "persistence"), "BGSAVE")
        expect(b"rdb_last_bgsave_status:ok" in client("INFO", "persistence"), "BGSAVE failed")
        with open(f"{directory}/dump.rdb", "rb") as dump:
            expect_equal(dump.read(5), b"REDIS", "start of dump.rdb")
        expect_equal(client("DEBUG", "RELOAD"), b"OK", "DEBUG RELOAD")
        expect_equal(client("DEBUG", "DIGEST"), digest, "digest of all keys after the reload")
        expect_equal(client("FLUSHALL", "ASYNC"), b"OK", "FLUSHALL")


main()
