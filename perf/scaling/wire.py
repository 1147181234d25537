"""Few requests by hand, to count what a broker needs for each: Metadata v12, CreateTopics v2, DeleteTopics v1."""
import socket, struct, time

from brokers import Trouble


class Wire:
    """One connection, one request at a time."""

    def __init__(self, port, patience=600):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.settimeout(patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray(1 << 20)

    def close(self):
        self.socket.close()

    def ask(self, key, version, body, flexible=False):
        """(seconds until the last byte, the answer's first mebibyte, its size)"""
        head = struct.pack(">hhih", key, version, 7, -1) + (b"\0" if flexible else b"")
        begin = time.perf_counter()
        self.socket.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        size = struct.unpack(">i", self.exactly(4))[0]
        answer = bytes(self.exactly(min(size, len(self.buffer))))
        left = size - len(answer)
        while left:
            left -= len(self.exactly(min(left, len(self.buffer))))
        return time.perf_counter() - begin, answer, size

    def exactly(self, size):
        view, have = memoryview(self.buffer)[:size], 0
        while have < size:
            more = self.socket.recv_into(view[have:])
            if not more:
                raise Trouble("the broker closed a connection")
            have += more
        return view

    def metadata(self, topics):
        """Of all topics (None), or of those named: (seconds, bytes)"""
        body = b"\0" if topics is None else bytes([len(topics) + 1]) + b"".join(
            bytes(16) + bytes([len(name) + 1]) + name.encode() + b"\0" for name in topics)
        seconds, _, size = self.ask(3, 12, body + b"\0\0\0", flexible=True)
        return seconds, size

    def create(self, topics, configs=()):
        """Creates topics, given as (name, partitions); seconds."""
        body = struct.pack(">i", len(topics))
        for name, partitions in topics:
            body += text(name) + struct.pack(">ihi", partitions, 1, 0) + struct.pack(">i", len(configs))
            body += b"".join(text(key) + text(value) for key, value in configs)
        seconds, answer, _ = self.ask(19, 2, body + struct.pack(">i?", 600_000, False))
        at = 12
        for _ in topics:
            size, = struct.unpack_from(">h", answer, at)
            error, = struct.unpack_from(">h", answer, at + 2 + size)
            if error:
                raise Trouble("CreateTopics: %s is answered with error %d" % (answer[at + 2:at + 2 + size].decode(), error))
            at += 4 + size
            size, = struct.unpack_from(">h", answer, at)
            at += 2 + max(size, 0)
        return seconds

    def delete(self, names):
        """Deletes topics; seconds."""
        body = struct.pack(">i", len(names)) + b"".join(text(name) for name in names) + struct.pack(">i", 600_000)
        seconds, answer, _ = self.ask(20, 1, body)
        size, = struct.unpack_from(">h", answer, 12)
        error, = struct.unpack_from(">h", answer, 14 + size)
        if error:
            raise Trouble("DeleteTopics: %s is answered with error %d" % (names[0], error))
        return seconds


def text(value):
    return struct.pack(">h", len(value)) + value.encode()
