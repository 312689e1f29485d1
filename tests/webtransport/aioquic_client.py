"""An independent WebTransport client, aioquic, against a running Well.

Starts the binary that WELL_BIN names on a free port with a fresh folder, connects as a browser would
(by the hash that /webtransport.json gives), and speaks the yjs dialect on one bidirectional stream:
the handshake, an update, and the durable ack. A second session reads what the first one wrote.
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
from aioquic.h3.events import HeadersReceived
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

    async def hear(self):
        """The next message that is not presence."""
        while True:
            length = int.from_bytes(self.received[:4], "big")
            if len(self.received) >= 4 + length and len(self.received) >= 4:
                message = bytes(self.received[4 : 4 + length])
                del self.received[: 4 + length]
                if message[0] != 1:
                    return message
                continue
            self.more.clear()
            await asyncio.wait_for(self.more.wait(), PATIENCE)

    def certificate_hash(self):
        certificate = self._quic.tls._peer_certificate
        digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
        return base64.b64encode(digest).decode()


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
