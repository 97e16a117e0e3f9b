"""memcached, with four worker threads and as many clients, returns what it was given."""

import socket
import threading

from preload import expect_equal, free_port, server

CLIENTS = 4
KEYS = 4000
ROUNDS = 3


def value(client, i, turn):
    """Up to 20 KB, and a different size in each round, so that slots are freed and used again."""
    copies = 1 + (i * 31 + turn * 17) % (2000 if i % 50 == 0 else 60)
    return b"%d.%d.%d " % (client, i, turn) * copies


def talk(port, client, errors):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
            replies = connection.makefile("rb")
            for turn in range(ROUNDS):
                for i in range(KEYS):
                    data = value(client, i, turn)
                    connection.sendall(b"set %d-%d 7 0 %d\r\n%s\r\n" % (client, i, len(data), data))
                    expect_equal(replies.readline(), b"STORED\r\n", "set")
                for i in range(KEYS):
                    data = value(client, i, turn)
                    connection.sendall(b"get %d-%d\r\n" % (client, i))
                    head = b"VALUE %d-%d 7 %d\r\n" % (client, i, len(data))
                    expect_equal(replies.readline(), head, "get")
                    expect_equal(replies.read(len(data) + 7), data + b"\r\nEND\r\n", "get")
    except (SystemExit, OSError) as error:
        errors.append(error)


def main():
    port = free_port()
    with server("memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-u", "root",
                "-m", "256", "-t", "4", port=port):
        errors = []
        clients = [threading.Thread(target=talk, args=(port, n, errors)) for n in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        expect_equal(errors, [], "errors of the clients")


main()
