"""replay.py PORT DIRECTORY: plays recorded requests to a server on loopback, each connection's
own as fast as the answers come, and compares these with the recorded ones.

DIRECTORY has a file N.requests and a file N.replies for each connection N, from 0 on. Requests are
sent in pieces of 16 KiB, so that the server has several connections to turn to.
"""

import os
import selectors
import socket
import sys

PIECE = 16384


class Connection:
    def __init__(self, port, recorded):
        self.requests = memoryview(read(f"{recorded}.requests"))
        self.replies = memoryview(read(f"{recorded}.replies"))
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def send(self):
        self.requests = self.requests[self.socket.send(self.requests[:PIECE]):]

    def receive(self):
        answer = self.socket.recv(1 << 20)
        if not answer:
            sys.exit("the server closed a connection")
        if answer != self.replies[:len(answer)]:
            sys.exit(f"the server answered {answer[:80]}, not {bytes(self.replies[:80])}")
        self.replies = self.replies[len(answer):]


def read(path):
    with open(path, "rb") as file:
        return file.read()


def main():
    port, directory = int(sys.argv[1]), sys.argv[2]
    count = len(os.listdir(directory)) // 2
    with selectors.DefaultSelector() as selector:
        for number in range(count):
            connection = Connection(port, f"{directory}/{number}")
            selector.register(connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE,
                              connection)
        while selector.get_map():
            for key, events in selector.select():
                connection = key.data
                if events & selectors.EVENT_READ:
                    connection.receive()
                if events & selectors.EVENT_WRITE:
                    connection.send()
                    if not connection.requests:
                        selector.modify(connection.socket, selectors.EVENT_READ, connection)
                if not connection.replies and not connection.requests:
                    selector.unregister(connection.socket)
                    connection.socket.close()


main()
