"""A proxy that does what networks and busy servers do: waits, refuses, breaks off, stays silent.

    with FaultProxy(server.url) as proxy:
        proxy.faults.put(Answer(429))      # for the next request that matches
        proxy.plan = lambda request: Delay(0.5) if request.path == "/_bulk" else None

It speaks HTTP/1.1; with ``tls`` (certificate and key) also HTTPS, and with ``credentials`` it lets
only those in, which the servers of the tests do not do themselves.
"""

from __future__ import annotations

import base64
import http.client
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: bytes


@dataclass(frozen=True)
class Delay:
    """The server is asked only after a while."""

    seconds: float


@dataclass(frozen=True)
class Answer:
    """The server is not asked at all."""

    status: int
    body: bytes = b"{}"


@dataclass(frozen=True)
class Half:
    """The server has done it, but its answer breaks off."""


@dataclass(frozen=True)
class Drop:
    """The connection is closed; the server has done it when ``asked``."""

    asked: bool = False


@dataclass(frozen=True)
class Alter:
    """The server's answer as a function makes it."""

    change: Callable[[bytes], bytes]


Fault = Delay | Answer | Half | Drop | Alter
Plan = Callable[[Request], Fault | None]


@dataclass
class FaultProxy:
    target: str
    tls: tuple[Path, Path] | None = None
    credentials: str | None = None
    plan: Plan = lambda _request: None
    seen: list[Request] = field(default_factory=list)

    def __enter__(self) -> Self:
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if self.tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FaultProxy

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, ssl.SSLError):
            self.close_connection = True

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        request = Request(self.command, self.path, body)
        self.owner.seen.append(request)
        if self.owner.credentials is not None:
            expected = "Basic " + base64.b64encode(self.owner.credentials.encode()).decode()
            if self.headers.get("authorization") != expected:
                return self._reply(401, b"Unauthorized", "text/plain")
        fault = self.owner.plan(request)
        if isinstance(fault, Answer):
            return self._reply(fault.status, fault.body)
        if fault == Drop():
            self.close_connection = True
            return None
        if isinstance(fault, Delay):
            time.sleep(fault.seconds)
        try:
            status, kind, answer = self._ask(body)
        except OSError:
            self.close_connection = True
            return None
        if isinstance(fault, Drop):
            self.close_connection = True
            return None
        if isinstance(fault, Alter):
            answer = fault.change(answer)
        return self._reply(status, answer, kind, half=isinstance(fault, Half))

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve  # noqa: N815

    def _ask(self, body: bytes) -> tuple[int, str, bytes]:
        address = urlsplit(self.owner.target)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in {*_HOP, "host"}}
        try:
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            kind = answer.getheader("content-type") or "application/json"
            return answer.status, kind, answer.read()
        finally:
            connection.close()

    def _reply(
        self, status: int, body: bytes, kind: str = "application/json", *, half: bool = False
    ) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if half:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(body)


def certificate(folder: Path) -> tuple[Path, Path, Path]:
    """(authority, certificate, key) for 127.0.0.1, as files."""
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = dt.datetime.now(dt.UTC)

    def signed(name: str, key: Any, issuer: str, by: Any, extensions: list[Any]) -> Any:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(by, hashes.SHA256())

    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    of_root = x509.SubjectKeyIdentifier.from_public_key(root.public_key())
    authority = signed(
        "test authority", root, "test authority", root,
        [(x509.BasicConstraints(ca=True, path_length=None), True), (usage, True), (of_root, False)],
    )  # fmt: skip
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    server = signed(
        "127.0.0.1", leaf, "test authority", root,
        [
            (x509.SubjectAlternativeName([address]), False),
            (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(of_root), False),
            (x509.BasicConstraints(ca=False, path_length=None), True),
        ],
    )  # fmt: skip
    files = folder / "authority.pem", folder / "server.pem", folder / "server.key"
    files[0].write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(server.public_bytes(serialization.Encoding.PEM))
    files[2].write_bytes(
        leaf.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files
