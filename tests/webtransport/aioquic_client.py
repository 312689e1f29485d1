"""An independent WebTransport client, aioquic, against a running Well.

Starts the binary that WELL_BIN names on a free port with a fresh folder, connects as a browser would
(by the hash that /webtransport.json gives), and speaks on one bidirectional stream: the yjs dialect,
which is the handshake, an update and the durable ack; and the well dialect, which is Hello, Join,
Submit and Ack, with presence on datagrams. A second session reads what the first one wrote. The well
dialect's messages are put together and taken apart here, from the schema alone.
"""

import asyncio
import base64
import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import urllib.request

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DatagramReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived
from cryptography.hazmat.primitives.serialization import Encoding

PATIENCE = 10  # seconds for any one thing
# Yjs's own encoding of the map `m` with `k` = "v", by client 1.
UPDATE = bytes([1, 1, 1, 0, 40, 1, 1, 109, 1, 107, 1, 119, 1, 118, 0])
STEP_1 = bytes([0, 0, 1, 0])


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic, enable_webtransport=True)
        self.status = asyncio.get_running_loop().create_future()
        self.stream = None
        self.received = bytearray()
        self.more = asyncio.Event()
        self.terminated = asyncio.get_running_loop().create_future()
        self.datagrams = asyncio.Queue()

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated) and not self.terminated.done():
            self.terminated.set_result(event)
            self.more.set()
        if isinstance(event, StreamDataReceived) and event.stream_id == self.stream:
            # aioquic looks for HTTP/3 frames in what comes back on a stream that it opened itself;
            # there are none: only who opens a stream says what it is.
            self.received += event.data
            self.more.set()
            return
        for event in self.http.handle_event(event):
            if isinstance(event, HeadersReceived) and not self.status.done():
                self.status.set_result(int(dict(event.headers)[b":status"]))
            if isinstance(event, DatagramReceived):
                self.datagrams.put_nowait(event.data)

    async def open(self, authority, path):
        """Asks for a session, and opens its stream."""
        self.session = self._quic.get_next_available_stream_id()
        self.http.send_headers(
            self.session,
            [
                (b":method", b"CONNECT"),
                (b":scheme", b"https"),
                (b":authority", authority.encode()),
                (b":path", path.encode()),
                (b":protocol", b"webtransport"),
            ],
        )
        self.transmit()
        assert await asyncio.wait_for(self.status, PATIENCE) == 200
        self.stream = self.http.create_webtransport_stream(self.session)

    def say(self, message):
        data = len(message).to_bytes(4, "big") + message
        self._quic.send_stream_data(self.stream, data)
        self.transmit()

    def say_datagram(self, message):
        self.http.send_datagram(self.session, message)
        self.transmit()

    async def message(self):
        """The next message on the stream."""
        while True:
            length = int.from_bytes(self.received[:4], "big")
            if len(self.received) >= 4 + length and len(self.received) >= 4:
                message = bytes(self.received[4 : 4 + length])
                del self.received[: 4 + length]
                return message
            self.more.clear()
            await asyncio.wait_for(self.more.wait(), PATIENCE)

    async def hear(self):
        """The next message of the yjs dialect that is not presence."""
        while True:
            message = await self.message()
            if message[0] != 1:
                return message

    async def hear_kind(self, kind):
        """The fields of the next message of this kind, in the well dialect."""
        while True:
            [(number, body)] = fields(await self.message())
            assert number not in (LEFT, REJECT, GOODBYE, ERROR), (number, body)
            if number == kind:
                return fields(body)

    def certificate_hash(self):
        certificate = self._quic.tls._peer_certificate
        digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
        return base64.b64encode(digest).decode()


# The fields of a ServerMessage.
WELCOME, JOINED, LEFT, ACK, REJECT, RECORDS, PRESENCE, GOODBYE, ERROR = 1, 2, 3, 4, 5, 6, 8, 11, 12


def varint(value):
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, value):
    """A field of a protobuf message: a number, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(message):
    """The fields of a protobuf message, in order."""
    found, at = [], 0

    def take_varint():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = take_varint()
        if key & 7 == 0:
            value = take_varint()
        else:
            length = {1: 8, 5: 4}.get(key & 7) or take_varint()
            value = message[at : at + length]
            at += length
        found.append((key >> 3, value))
    return found


async def converse_in_well(port):
    """Hello, Join, Submit and Ack, beside a second session; presence on a datagram."""
    async with dial(port) as writer, dial(port) as reader:
        numbers = []
        for n, client in enumerate((writer, reader)):
            await client.open(f"127.0.0.1:{port}", "/well")
            client.say(field(1, field(1, 1) + field(3, b"aioquic")))
            room = field(1, 1) + field(2, b"doc/aioquic-well") + field(5, 70 + n)
            client.say(field(2, room))
            welcome = dict(await client.hear_kind(WELCOME))
            assert welcome[1] == 1 and welcome[6], welcome
            joined = dict(await client.hear_kind(JOINED))
            assert joined[1] == 1 and joined.get(6, 0) == 0, joined
            numbers.append(joined[2])
        passed("two sessions of the well dialect joined a room")
        submit = field(1, numbers[0]) + field(2, 1) + field(4, UPDATE)
        writer.say(field(4, submit))
        ack = dict(await writer.hear_kind(ACK))
        placed = dict(fields(ack[3]))
        assert (ack[2], placed[1], placed[2], placed[3]) == (1, 1, 1, 1), (ack, placed)
        records = dict(await reader.hear_kind(RECORDS))
        span = dict(fields(records[4]))
        assert (records[3], span[1], span[6]) == (1, 1, UPDATE), (records, span)
        passed("a submit was acked with its seq, and reached the other session")
        writer.say(field(4, submit))
        again = dict(await writer.hear_kind(ACK))
        assert dict(fields(again[3]))[2] == 1, again
        passed("the same submit once more has the seq that it had")
        for clock in (1, 2):
            entry = field(1, 70) + field(2, clock) + field(3, b'{"at":%d}' % clock)
            writer.say_datagram(field(5, field(1, numbers[0]) + field(2, entry)))
            if clock == 1:
                heard = await reader.hear_kind(PRESENCE)
                passed("presence said on a datagram is heard by who has just joined")
            else:
                datagram = await asyncio.wait_for(reader.datagrams.get(), PATIENCE)
                [(kind, body)] = fields(datagram)
                assert kind == PRESENCE, datagram
                assert fields(body) == [(1, numbers[1]), (2, entry)], (body, entry)
                heard = await reader.hear_kind(PRESENCE)
                passed("and comes on a datagram, and then on the stream")
            assert dict(heard)[2] == entry, (heard, entry)


def dial(port):
    configuration = QuicConfiguration(
        alpn_protocols=H3_ALPN,
        is_client=True,
        max_datagram_frame_size=65536,
        verify_mode=ssl.CERT_NONE,  # the hash is checked below, as a browser does
    )
    return connect("127.0.0.1", port, configuration=configuration, create_protocol=Client)


async def converse(port, hashes):
    authority = f"127.0.0.1:{port}"
    path = "/yjs/doc/aioquic"
    async with dial(port) as writer, dial(port) as reader:
        assert writer.certificate_hash() == hashes[0], "the current certificate comes first"
        for client in (writer, reader):
            await client.open(authority, path)
            client.say(STEP_1)
            assert await client.hear() == STEP_1, "the server's own step 1"
            assert await client.hear() == bytes([0, 1, 2, 0, 0]), "step 2 of an empty room"
        passed("two sessions joined a room, with the published certificate")
        update = bytes([0, 2, len(UPDATE)]) + UPDATE
        writer.say(update)
        writer.say(bytes([102, 1, 5]))
        assert await writer.hear() == bytes([102, 1, 5]), "the durable ack"
        assert await reader.hear() == update
        passed("an update was acked as durable, and reached the other session")
        writer.say(bytes([0, 9]))
        ended = await asyncio.wait_for(writer.terminated, PATIENCE)
        # 4400 in HTTP/3's range of application codes (draft-ietf-webtrans-http3, 4.3).
        code = 4400 + 0x52E4A40FA8DB + 4400 // 0x1E
        assert ended.error_code == code, (ended.error_code, code)
        passed("a malformed message closed the session with its code")


def main():
    with tempfile.TemporaryDirectory(prefix="well-test-") as folder:
        server = subprocess.Popen(
            [os.environ["WELL_BIN"], "serve", "--listen", "127.0.0.1:0", "--data", folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            port = int(re.search(r":(\d+)$", server.stdout.readline().strip())[1])
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/webtransport.json") as response:
                assert response.headers["cache-control"] == "no-store"
                published = json.load(response)
            assert published["port"] == port
            hashes = [entry["value"] for entry in published["certificateHashes"]]
            assert len(hashes) == 2, published
            assert all(entry["algorithm"] == "sha-256" for entry in published["certificateHashes"])
            passed("the page's part is published")
            asyncio.run(converse(port, hashes))
            asyncio.run(converse_in_well(port))
        finally:
            server.terminate()
            server.wait(30)
    assert server.returncode == 0, server.returncode
    passed("the server drained")


def passed(what):
    print(f"ok - {what}", flush=True)
    passed.count += 1


passed.count = 0

if __name__ == "__main__":
    main()
    print(f"{passed.count} passed, 0 failed")
    sys.exit(0)
