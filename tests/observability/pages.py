"""A client of the yjs dialect in a few lines: it joins, writes, and says how that ended."""

import base64
import os
import socket
import struct

ASK_FOR_EVERYTHING = bytes([0, 0, 1, 0])
PATIENCE = 30  # seconds for any one thing


class Page:
    """A page that has a room open."""

    def __init__(self, address, room):
        host, port = address.split(":")
        self.stream = socket.create_connection((host, int(port)), timeout=PATIENCE)
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        self.stream.sendall(
            f"GET /yjs/{room} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self.input = self.stream.makefile("rb")
        while self.input.readline() not in (b"\r\n", b""):
            pass

    def ask(self):
        self.send(ASK_FOR_EVERYTHING)

    def write(self, client, clock, size=10):
        """Sets a key of a map that no other write sets. `client` below 128."""
        key = f"{client}:{clock}".encode()
        update = bytes([1, 1, client]) + varint(clock) + bytes([0x28, 1]) + text(b"map") + text(key)
        update += bytes([1, 119]) + text(b"x" * size) + bytes([0])
        self.send(bytes([0, 2]) + text(update))

    def settle(self, number=1):
        """Waits until everything before is durable. False if the connection ends before that."""
        self.send(bytes([102]) + text(varint(number)))
        return self.until(102)

    def joined(self):
        """Waits until the document has come."""
        return self.until(0)

    def until(self, kind):
        while True:
            code, payload = self.frame()
            if code == 8:
                return False
            if code == 2 and payload and payload[0] == kind and (kind != 0 or payload[1] == 1):
                return True

    def send(self, payload):
        mask = bytes(4)
        length = len(payload)
        head = bytes([0x82]) + (bytes([0x80 | length]) if length < 126 else bytes([0xFE]) + struct.pack(">H", length))
        self.stream.sendall(head + mask + payload)

    def frame(self):
        """The next frame's code and payload; the end of the connection is a close."""
        head = self.input.read(2)
        if len(head) < 2:
            return 8, b""
        length = head[1] & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", self.input.read(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self.input.read(8))
        return head[0] & 0x0F, self.input.read(length)

    def close(self):
        self.input.close()
        self.stream.close()


def text(content):
    return varint(len(content)) + content


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))
