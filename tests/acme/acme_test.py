"""A certificate by ACME, from an authority that looks: over TCP and QUIC, kept, renewed, and refused.

Starts the binary that WELL_BIN names, with a folder and an authority of its own.
"""

import asyncio
import base64
import hashlib
import json
import os
import pathlib
import re
import socket
import ssl
import stat
import subprocess
import tempfile
import time
import unittest

from aioquic.asyncio.client import connect
from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509

from authority import Authority

NAME = "well.test"
PATIENCE = 30
VALID_FOR = 15  # seconds; a certificate is renewed when a third of that is left


def eventually(what, look):
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            found = look()
        except (OSError, AssertionError):
            found = None
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE} s: {what}")
        time.sleep(0.1)


class Well:
    def __init__(self, folder, authority, names_at):
        self.folder = folder
        roots = folder / "roots.pem"
        roots.write_text(authority.root_pem)
        (folder / "well.toml").write_text(
            f'[tls.acme]\ndomains = ["{NAME}"]\ncontact = ["ada@{NAME}"]\n'
            f'directory = "{authority.url}/directory"\n'
        )
        command = [os.environ["WELL_BIN"], "serve", "--listen", "127.0.0.1:0"]
        command += ["--config", folder / "well.toml", "--data", folder / "data"]
        self.log = (folder / "log").open("a+")
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={**os.environ, "SSL_CERT_FILE": str(roots)},
        )
        first = self.process.stdout.readline()
        self.port = int(re.fullmatch(r"listening on https://127\.0\.0\.1:(\d+)\n", first)[1])
        self.trust = ssl.create_default_context(cadata=authority.root_pem)
        authority.names_are_at(names_at or ("127.0.0.1", self.port))

    def connect(self, believing=True):
        """A connection by name; one that is believed, unless said."""
        trust = self.trust
        if not believing:
            trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        return trust.wrap_socket(plain, server_hostname=NAME)

    def serial(self):
        with self.connect() as wrapped:
            return x509.load_der_x509_certificate(wrapped.getpeercert(binary_form=True)).serial_number

    def serial_over_quic(self):
        async def look():
            configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name=NAME)
            configuration.load_verify_locations(cadata=self.roots())
            async with connect("127.0.0.1", self.port, configuration=configuration) as client:
                return client._quic.tls._peer_certificate.serial_number

        return asyncio.run(look())

    def roots(self):
        return (self.folder / "roots.pem").read_bytes()

    def ready(self):
        with self.connect(believing=False) as wrapped:
            wrapped.sendall(f"GET /readyz HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: wrapped.recv(4096), b""))
        return json.loads(answer.split(b"\r\n\r\n", 1)[1])

    def kept(self):
        """The files of the folder, each with its mode and what is in it."""
        files = (self.folder / "data/acme").iterdir()
        return {file.name: (stat.S_IMODE(file.stat().st_mode), file.read_bytes()) for file in files}

    def stop(self):
        self.process.terminate()
        code = self.process.wait(PATIENCE)
        self.process.stdout.close()
        self.log.close()
        return code


class Session:
    """A web socket that stands, and answers pings."""

    def __init__(self, well):
        self.socket = well.connect()
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /pit/standing HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self.received = b""
        self.read_until(lambda: b"\r\n\r\n" in self.received)
        expected = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        assert base64.b64encode(expected) in self.received, self.received

    def read_until(self, done):
        while not done():
            more = self.socket.recv(4096)
            assert more, "the session was closed"
            self.received += more

    def is_answered(self):
        said = os.urandom(8)
        # Masked with zeros, which leaves it as it is.
        self.socket.sendall(bytes([0x89, 0x88, 0, 0, 0, 0]) + said)
        self.read_until(lambda: bytes([0x8A, 8]) + said in self.received)
        return True


class Acme(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def authority(self, valid_for):
        authority = Authority(valid_for)
        authority.serve(self.folder)
        self.addCleanup(authority.close)
        return authority

    def well(self, authority, names_at=None):
        well = Well(self.folder, authority, names_at)
        self.addCleanup(lambda: well.process.poll() is None and well.process.kill())
        return well

    def test_a_certificate_is_had_and_kept_over_a_restart(self):
        authority = self.authority(valid_for=86_400)
        well = self.well(authority)
        serial = eventually("a certificate that is believed", well.serial)
        self.assertEqual(serial, authority.issued[0].serial_number)
        self.assertEqual(authority.contact, [f"mailto:ada@{NAME}"])
        self.assertEqual(well.serial_over_quic(), serial)
        self.assertNotIn("certificate", well.ready())
        kept = well.kept()
        self.assertEqual(sorted(kept), ["account.key", "certificate.pem"])
        self.assertEqual({mode for mode, _ in kept.values()}, {0o600})
        self.assertEqual(well.stop(), 0)
        again = self.well(authority)
        self.assertEqual(again.serial(), serial, "it is served from the first handshake on")
        self.assertEqual(again.kept(), kept)
        self.assertEqual(len(authority.issued), 1, "nothing was ordered anew")
        self.assertEqual(again.stop(), 0)

    def test_it_is_renewed_and_sessions_stand(self):
        authority = self.authority(VALID_FOR)
        well = self.well(authority)
        first = eventually("a certificate", well.serial)
        session = Session(well)
        self.addCleanup(session.socket.close)
        self.assertTrue(session.is_answered())
        renewed = eventually("another", lambda: (serial := well.serial()) != first and serial)
        self.assertIn(renewed, [issued.serial_number for issued in authority.issued[1:]])
        self.assertNotEqual(well.serial_over_quic(), first)
        self.assertEqual(len(authority.accounts), 1, "by the same account")
        self.assertTrue(session.is_answered(), "it is the session from before")
        self.assertEqual(well.stop(), 0)

    def test_a_refusal_is_told_and_the_server_goes_on(self):
        authority = self.authority(valid_for=86_400)
        authority.refuses = "names of tests are not signed here"
        well = self.well(authority)
        told = eventually("why there is none", lambda: well.ready().get("certificate"))
        self.assertIn("order", told)
        self.assertTrue(well.ready()["ready"])
        with self.assertRaises(ssl.SSLCertVerificationError):
            well.serial()
        self.assertEqual(well.stop(), 0)
        self.assertIn("no certificate could be had", (self.folder / "log").read_text())

    def test_who_does_not_have_the_name_gets_no_certificate(self):
        authority = self.authority(valid_for=86_400)
        # The name is at another server, which has a certificate and no proof.
        well = self.well(authority, names_at=self.another_server())
        told = eventually("why there is none", lambda: well.ready().get("certificate"))
        self.assertIn("auth", told)
        self.assertEqual(authority.issued, [])
        self.assertEqual(well.stop(), 0)

    def another_server(self):
        folder = self.folder / "another"
        folder.mkdir()
        another = Authority(86_400)
        another.serve(folder)
        self.addCleanup(another.close)
        return another.server.server_address


if __name__ == "__main__":
    unittest.main()
