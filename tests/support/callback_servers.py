"""Servers behind a callback URL: on loopback, over HTTP and TLS, with correct and incorrect configurations."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import functools
import hashlib
import hmac
import json
import select
import socket
import socketserver
import ssl
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from tests.support.waiting import join_thread
from thingspace_provider.lifecycle.listener_process import is_port_free

ACCOUNT, USERNAME, PASSWORD = "0000123456-00001", "plant-a", "invented-password-1"
PATH = f"/callbacks/invented-path-token-0123456789/{ACCOUNT}"
_closed_port_sockets: list[socket.socket] = []  # kept open until the tests end
CannedResponse = tuple[int, dict[str, str], bytes]  # status, headers, body
JSON = {"Content-Type": "application/json"}


@functools.cache
def _derive_key(password: str) -> bytes:
    salt = f"thingspace-readiness-probe:{USERNAME}".encode()
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=5, dklen=32)


def compute_proof(nonce: str, password: str = PASSWORD) -> str:
    """Compute the proof by the formula of the guide."""
    return hmac.new(_derive_key(password), f"{ACCOUNT}:{nonce}".encode(), hashlib.sha256).hexdigest()


def build_proof(nonce: str, password: str = PASSWORD) -> CannedResponse:
    """Build the listener's response to a nonce."""
    return 200, JSON, json.dumps({"account": ACCOUNT, "proof": compute_proof(nonce, password)}).encode()


@contextlib.contextmanager
def run_callback_server(
    respond: Callable[[str], CannedResponse] = build_proof,
    context: ssl.SSLContext | None = None,
    ports: Iterable[int] = (0,),
) -> Iterator[CallbackServer]:
    """Run a web server that responds to every GET by `respond(nonce)`, on the first free port of `ports`."""
    running = _bind_first_free(respond, context, ports)
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.shutdown()
        running.end_connections()
        running.server_close()
        join_thread(thread)


def _bind_first_free(
    respond: Callable[[str], CannedResponse], context: ssl.SSLContext | None, ports: Iterable[int]
) -> CallbackServer:
    for port in ports:
        if port == 0 or is_port_free("127.0.0.1", port):
            with contextlib.suppress(OSError):  # another test has bound it
                return CallbackServer(respond, context, port)
    raise AssertionError("every port is taken")


class CallbackServer(ThreadingHTTPServer):
    """Web server that counts connections and does not report failed handshakes."""

    daemon_threads = True

    def __init__(self, respond: Callable[[str], CannedResponse], context: ssl.SSLContext | None, port: int) -> None:
        self.respond = respond
        self.scheme = "https" if context else "http"
        self.connections = 0
        self.requests: list[str] = []
        self._open: list[socket.socket] = []
        self._context = context
        super().__init__(("127.0.0.1", port), _Handler)

    def url(self, host: str = "127.0.0.1", path: str = PATH) -> str:
        return f"{self.scheme}://{host}:{self.server_port}{path}"

    def finish_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self.connections += 1
        with request.dup() as connection:
            self._open.append(connection)
            if self._context is None:
                super().finish_request(request, client_address)
                return
            try:
                with self._context.wrap_socket(request, server_side=True) as secure:
                    super().finish_request(secure, client_address)
            except OSError:  # closing with unread bytes would discard the TLS alert
                connection.settimeout(20)
                with contextlib.suppress(OSError):
                    while connection.recv(4096):
                        pass

    def end_connections(self) -> None:
        """Close all connections, so that no client reuses one in a later test."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CallbackServer

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        status, headers, body = self.server.respond(self.headers.get("ThingSpace-Probe", ""))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "test-balancer"

    def log_message(self, *_: object) -> None:
        pass


def create_tls_context(certificate: trustme.LeafCert, *, sends_chain: bool = True) -> ssl.SSLContext:
    """Create a server's TLS context. Without the chain it is like cert.pem configured instead of fullchain.pem."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if sends_chain:
        certificate.configure_cert(context)
        return context
    with certificate.private_key_pem.tempfile() as key, certificate.cert_chain_pems[0].tempfile() as own:
        context.load_cert_chain(own, key)
    return context


def create_tls_1_1_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Create the context of a server that supports TLS 1.1 at most."""
    context = create_tls_context(certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def create_own_certificate_context(
    folder: Path, host: str, *, issuer: str | None = None, days: tuple[int, int] = (-1, 90), fetchable: bool = False
) -> ssl.SSLContext:
    """Create the context of a server that sends a single certificate: self-signed, or without its issuer.

    `fetchable` puts the address of the issuer's certificate into it, as public CAs do.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    signer = ec.generate_private_key(ec.SECP256R1()) if issuer else key
    now = dt.datetime.now(dt.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_common_name(host))
        .issuer_name(_common_name(issuer or host))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=days[0]))
        .not_valid_after(now + dt.timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    )
    if fetchable:
        where = x509.UniformResourceIdentifier("http://ca.example.com/issuer.crt")
        issuers = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, where)
        builder = builder.add_extension(x509.AuthorityInformationAccess([issuers]), critical=False)
    pem, encoding = folder / "own.pem", serialization.Encoding.PEM
    pem.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + builder.sign(signer, hashes.SHA256()).public_bytes(encoding)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@contextlib.contextmanager
def run_raw_server(response: bytes | None) -> Iterator[int]:
    """Listen on a port; send these bytes and close each connection, or never respond if they are None."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        over, connections = threading.Event(), []

        def serve() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listening.accept()
                    connections.append(connection)
                    if response is not None:
                        connection.settimeout(1)
                        connection.recv(4096)
                        connection.sendall(response)
                        connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            over.set()
            join_thread(thread)
            for connection in connections:
                connection.close()


@contextlib.contextmanager
def run_forward_proxy(to: int | None, login: str) -> Iterator[int]:
    """Run a forward proxy that tunnels every target to a local port, or responds with 502 if it is None."""
    expected = f"Proxy-Authorization: Basic {base64.b64encode(login.encode()).decode()}"

    class Tunnel(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = list(iter(lambda: self.rfile.readline().decode().strip(), ""))
            status = "407 Login" if expected not in head else "200 OK" if to else "502 Bad Gateway"
            self.wfile.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
            if to and status == "200 OK":
                with socket.create_connection(("127.0.0.1", to)) as beyond, contextlib.suppress(OSError):
                    _pump(self.connection, beyond)

    class Proxy(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Proxy(("127.0.0.1", 0), Tunnel) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield int(running.server_address[1])
        running.shutdown()
        join_thread(thread)


def _pump(here: socket.socket, beyond: socket.socket) -> None:
    """Copy bytes in both directions until one side closes."""
    while True:
        for ready in select.select([here, beyond], [], [])[0]:
            some = ready.recv(65536)
            if not some:
                return
            (beyond if ready is here else here).sendall(some)


def reserve_closed_port() -> int:
    """Reserve a port that refuses connections: it is bound, but nothing listens on it."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    _closed_port_sockets.append(taken)
    return int(taken.getsockname()[1])
