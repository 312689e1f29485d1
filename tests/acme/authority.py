"""A certificate authority that speaks ACME (RFC 8555) over HTTPS and proves names by tls-alpn-01 (RFC 8737).

It believes nobody: each request's signature, nonce and address are checked, and a name is proved by
connecting to the server that says it has it. Names are not looked up: all are at the address it is given.
"""

import base64
import datetime
import hashlib
import http.server
import json
import secrets
import socket
import ssl
import threading

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import NameOID

ALPN = "acme-tls/1"
IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def padless(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def thumbprint(jwk):
    """RFC 7638, of a key on P-256."""
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return padless(hashlib.sha256(text.encode()).digest())


class Refused(Exception):
    def __init__(self, status, kind, detail):
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail


class Authority:
    """Serves a directory at `url` until it is closed; what it has signed is believed by who has `root_pem`."""

    def __init__(self, valid_for):
        self.valid_for = datetime.timedelta(seconds=valid_for)
        self.names_known, self.server_of_names = threading.Event(), None
        self.refuses = None
        self.accounts, self.orders, self.nonces, self.issued = {}, {}, set(), []
        self.lock = threading.Lock()
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority of tests")])
        now = datetime.datetime.now(datetime.UTC)
        year = datetime.timedelta(days=365)
        root = self._certificate(self.name, self.key.public_key(), now - year, now + year)
        root = root.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.root = root.sign(self.key, hashes.SHA256())
        self.root_pem = self.root.public_bytes(serialization.Encoding.PEM).decode()

    def _certificate(self, subject, public_key, begin, end):
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name)
        builder = builder.public_key(public_key).serial_number(x509.random_serial_number())
        return builder.not_valid_before(begin).not_valid_after(end)

    def sign(self, names, public_key, valid_for):
        begin = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        builder = self._certificate(x509.Name([]), public_key, begin, begin + valid_for)
        names = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(names, critical=True)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        return builder.sign(self.key, hashes.SHA256())

    def serve(self, folder):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.sign(["localhost"], key.public_key(), datetime.timedelta(days=1))
        pem = serialization.Encoding.PEM
        file = folder / "authority.pem"
        file.write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + certificate.public_bytes(pem)
        )
        handler = type("Handler", (Handler,), {"authority": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def names_are_at(self, address):
        """All names. Nobody is asked for a proof before that is known."""
        self.server_of_names = address
        self.names_known.set()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def nonce(self):
        with self.lock:
            nonce = padless(secrets.token_bytes(12))
            self.nonces.add(nonce)
            return nonce

    def opened(self, url, body):
        """The account that has signed a request to `url`, and what it says (RFC 8555 §6.2)."""
        jws = json.loads(body)
        header = json.loads(unpadded(jws["protected"]))
        with self.lock:
            if header.get("nonce") not in self.nonces:
                raise Refused(400, "badNonce", "that nonce was not given, or has been used")
            self.nonces.remove(header["nonce"])
        if header.get("url") != url or header.get("alg") != "ES256":
            raise Refused(400, "malformed", "signed for another address, or with another algorithm")
        if "jwk" in header:
            account, jwk = None, header["jwk"]
        else:
            account = header["kid"]
            jwk = self.accounts.get(account)
        if jwk is None:
            raise Refused(400, "accountDoesNotExist", "no such account")
        x, y = (int.from_bytes(unpadded(jwk[axis]), "big") for axis in "xy")
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        raw = unpadded(jws["signature"])
        r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        signed = f"{jws['protected']}.{jws['payload']}".encode()
        try:
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise Refused(400, "malformed", "the signature is another's") from None
        payload = unpadded(jws["payload"])
        return account, jwk, json.loads(payload) if payload else None

    def prove(self, name, token, jwk):
        """Whether the server that says it has a name can say so (RFC 8737 §3); why not otherwise."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols([ALPN])
        self.names_known.wait(30)
        try:
            with socket.create_connection(self.server_of_names, timeout=5) as plain:
                with context.wrap_socket(plain, server_hostname=name) as wrapped:
                    alpn, der = wrapped.selected_alpn_protocol(), wrapped.getpeercert(binary_form=True)
        except OSError as error:
            return f"the server did not answer: {error}"
        if alpn != ALPN:
            return f"it does not speak {ALPN}, but {alpn}"
        shown = x509.load_der_x509_certificate(der)
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if [*names] != [x509.DNSName(name)]:
            return f"the certificate is for {[*names]}"
        proof = shown.extensions.get_extension_for_oid(IDENTIFIER)
        digest = hashlib.sha256(f"{token}.{thumbprint(jwk)}".encode()).digest()
        if not proof.critical or proof.value.value != b"\x04\x20" + digest:
            return "the proof is another's, or of another challenge"
        return None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    authority = None

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(200)

    def do_GET(self):
        url = self.authority.url
        names = ["newNonce", "newAccount", "newOrder"]
        self.answer(200, {name: f"{url}/{name}" for name in names})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            if self.authority.refuses:
                raise Refused(403, "unauthorized", self.authority.refuses)
            signer = self.authority.opened(self.authority.url + self.path, body)
            _, what, *rest = self.path.split("/")
            getattr(self, what)(*signer, *rest)
        except Refused as refused:
            kind = f"urn:ietf:params:acme:error:{refused.kind}"
            self.answer(refused.status, {"type": kind, "detail": refused.detail})

    def answer(self, status, body=None, location=None):
        data = body.encode() if isinstance(body, str) else b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Replay-Nonce", self.authority.nonce())
        self.send_header("Content-Length", str(len(data)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(data)

    def newAccount(self, _account, jwk, said):
        if not said.get("termsOfServiceAgreed"):
            raise Refused(400, "userActionRequired", "the terms have to be agreed to")
        url = f"{self.authority.url}/account/{thumbprint(jwk)}"
        known = url in self.authority.accounts
        self.authority.accounts[url] = jwk
        self.authority.contact = said.get("contact")
        self.answer(200 if known else 201, {"status": "valid"}, url)

    def newOrder(self, account, _jwk, said):
        number = str(len(self.authority.orders))
        names = [identifier["value"] for identifier in said["identifiers"]]
        proofs = [{"name": name, "token": padless(secrets.token_bytes(16)), "status": "pending"} for name in names]
        self.authority.orders[number] = {"account": account, "proofs": proofs, "certificate": None}
        self.answer(201, self.shown(number), f"{self.authority.url}/order/{number}")

    def shown(self, number):
        url, order = self.authority.url, self.authority.orders[number]
        states = {proof["status"] for proof in order["proofs"]}
        shown = {
            "status": "invalid" if "invalid" in states else "pending" if "pending" in states else "ready",
            "identifiers": [{"type": "dns", "value": proof["name"]} for proof in order["proofs"]],
            "authorizations": [f"{url}/authorization/{number}/{at}" for at in range(len(order["proofs"]))],
            "finalize": f"{url}/finalize/{number}",
        }
        if order["certificate"]:
            shown |= {"status": "valid", "certificate": f"{url}/certificate/{number}"}
        return shown

    def of(self, account, number):
        order = self.authority.orders[number]
        if order["account"] != account:
            raise Refused(403, "unauthorized", "the order is another's")
        return order

    def order(self, account, _jwk, _said, number):
        self.of(account, number)
        self.answer(200, self.shown(number))

    def authorization(self, account, _jwk, _said, number, at):
        proof = self.of(account, number)["proofs"][int(at)]
        challenge = {
            "type": "tls-alpn-01",
            "url": f"{self.authority.url}/challenge/{number}/{at}",
            "token": proof["token"],
            "status": proof["status"],
        }
        if proof.get("why"):
            challenge["error"] = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": proof["why"]}
        name = {"type": "dns", "value": proof["name"]}
        self.answer(200, {"status": proof["status"], "identifier": name, "challenges": [challenge]})

    def challenge(self, account, jwk, _said, number, at):
        proof = self.of(account, number)["proofs"][int(at)]
        proof["why"] = self.authority.prove(proof["name"], proof["token"], jwk)
        proof["status"] = "invalid" if proof["why"] else "valid"
        self.answer(200, {"type": "tls-alpn-01", "url": self.path, "token": proof["token"], "status": proof["status"]})

    def finalize(self, account, _jwk, said, number):
        order = self.of(account, number)
        if self.shown(number)["status"] != "ready":
            raise Refused(403, "orderNotReady", "not every name has been proved")
        request = x509.load_der_x509_csr(unpadded(said["csr"]))
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        wanted = names.get_values_for_type(x509.DNSName)
        if not request.is_signature_valid or sorted(wanted) != sorted(proof["name"] for proof in order["proofs"]):
            raise Refused(400, "badCSR", "it is for other names than the order, or signed by another key")
        signed = self.authority.sign(wanted, request.public_key(), self.authority.valid_for)
        self.authority.issued.append(signed)
        order["certificate"] = signed.public_bytes(serialization.Encoding.PEM).decode() + self.authority.root_pem
        self.answer(200, self.shown(number))

    def certificate(self, account, _jwk, _said, number):
        self.answer(200, self.of(account, number)["certificate"])
