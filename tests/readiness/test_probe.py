"""The proof of a listener against real servers and certificates: every way of failing has a name of its own."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from tests.support.callback_servers import (
    ACCOUNT,
    JSON,
    PASSWORD,
    PATH,
    USERNAME,
    CannedResponse,
    build_proof,
    create_own_certificate_context,
    create_tls_1_1_context,
    create_tls_context,
    reserve_closed_port,
    run_callback_server,
    run_forward_proxy,
    run_raw_server,
)
from tests.support.listener_process import ListenerProcess
from thingspace_provider.api.errors import ListenerNotReady
from thingspace_provider.readiness import reachability, tls_errors
from thingspace_provider.readiness.probe import ReadinessProbe

SHORT_SECONDS = 0.1  # seconds; one attempt
LONG_SECONDS = 20.0  # seconds; more than what is waited for needs on a busy machine
YESTERDAY = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(ca: trustme.CA, tmp_path: Path) -> str:
    file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    return str(file)


@pytest.fixture
def readiness_probe() -> Iterator[ReadinessProbe]:
    """Trusts the public CAs and no other."""
    new_probe = ReadinessProbe(min_attempt_timeout_seconds=LONG_SECONDS)
    yield new_probe
    new_probe.close()


@pytest.fixture
def trusting_probe(bundle: str) -> Iterator[ReadinessProbe]:
    """Trusts the test's CA as if it were public."""
    new_probe = ReadinessProbe(bundle, min_attempt_timeout_seconds=LONG_SECONDS)
    yield new_probe
    new_probe.close()


def fail_probe(readiness_probe: ReadinessProbe, url: str, seconds: float = SHORT_SECONDS) -> str:
    with pytest.raises(ListenerNotReady) as failed:
        readiness_probe.wait_until_ready(url, ACCOUNT, USERNAME, PASSWORD, seconds=seconds)
    message = str(failed.value)
    assert message.startswith(f"probing the listener failed for account {ACCOUNT}: ")
    assert "Nothing was registered." in message
    assert "readiness=False" in message
    assert PASSWORD not in message
    assert "invented-path-token" not in message
    return message


def test_a_listener_proves_itself_and_stores_nothing(readiness_probe: ReadinessProbe, tmp_path: Path) -> None:
    listener = ListenerProcess(tmp_path)
    try:
        readiness_probe.wait_until_ready(
            listener.url + listener.path(), ACCOUNT, USERNAME, PASSWORD, seconds=LONG_SECONDS
        )
        assert listener.messages() == []
    finally:
        listener.stop()


def test_a_name_that_does_not_resolve(readiness_probe: ReadinessProbe) -> None:
    message = fail_probe(readiness_probe, f"https://sms.invalid{PATH}")
    assert ": dns: sms.invalid does not resolve (" in message
    assert "DNS record" in message


def test_a_port_on_which_nothing_listens(readiness_probe: ReadinessProbe) -> None:
    port = reserve_closed_port()
    message = fail_probe(readiness_probe, f"https://127.0.0.1:{port}{PATH}")
    assert f": connect: 127.0.0.1:{port}: connection refused" in message
    assert f"open port {port} to the internet" in message


def test_a_server_that_accepts_the_connection_and_sends_nothing() -> None:
    default_probe = ReadinessProbe()
    with run_raw_server(None) as port:
        assert f": response: 127.0.0.1:{port} accepted the connection, but no" in fail_probe(
            default_probe, f"http://127.0.0.1:{port}{PATH}"
        )
    default_probe.close()


def test_a_server_that_closes_the_connection(readiness_probe: ReadinessProbe) -> None:
    with run_raw_server(b"") as port:
        message = fail_probe(readiness_probe, f"http://127.0.0.1:{port}{PATH}")
    assert f": connect: 127.0.0.1:{port} closed the connection without a response" in message


HOSTILE_RESPONSES = {
    "location that is not UTF-8": b"HTTP/1.1 302 Found\r\nLocation: /caf\xe9\r\nContent-Length: 0\r\n\r\n",
    "location with control characters": b"HTTP/1.1 302 Found\r\nLocation: /\x1b[2J\x07\r\nContent-Length: 0\r\n\r\n",
    "location with a C1 control": b"HTTP/1.1 302 Found\r\nLocation: /\xc2\x9b31m\r\nContent-Length: 0\r\n\r\n",
    "location that is not a URL": b"HTTP/1.1 302 Found\r\nLocation: http://[::1/\r\nContent-Length: 0\r\n\r\n",
    "location with an invalid port": b"HTTP/1.1 302 Found\r\nLocation: http://h:port/\r\nContent-Length: 0\r\n\r\n",
    "server with control characters": b"HTTP/1.1 500 No\r\nServer: \x1b[2J\xe9\r\nContent-Length: 0\r\n\r\n",
    "header without a colon": b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 0\r\n\r\n",
    "invalid content length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
    "invalid chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
    "invalid compression": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    "nested JSON": b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"[" * 200_000,
    "half a character": b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"proof":"\\ud800"}',
    "invalid status": b"HTTP/1.1 abc OK\r\n\r\n",
}


@pytest.mark.parametrize("response", HOSTILE_RESPONSES)
def test_anything_that_a_server_can_send_is_an_ordinary_error(readiness_probe: ReadinessProbe, response: str) -> None:
    with run_raw_server(HOSTILE_RESPONSES[response]) as port:
        message = fail_probe(readiness_probe, f"http://127.0.0.1:{port}{PATH}")
    assert message.isprintable()


def test_a_server_that_does_not_speak_http(readiness_probe: ReadinessProbe) -> None:
    with run_raw_server(b"\x15\x03\x01\x00\x02\x02\x46") as port:
        assert "does not speak HTTP" in fail_probe(readiness_probe, f"http://127.0.0.1:{port}{PATH}")


def test_a_certificate_of_a_trusted_ca_passes(trusting_probe: ReadinessProbe, ca: trustme.CA) -> None:
    with run_callback_server(context=create_tls_context(ca.issue_cert("localhost"))) as https:
        trusting_probe.wait_until_ready(https.url("localhost"), ACCOUNT, USERNAME, PASSWORD, seconds=LONG_SECONDS)


def test_a_full_chain_with_an_intermediate_passes(trusting_probe: ReadinessProbe, ca: trustme.CA) -> None:
    with run_callback_server(context=create_tls_context(ca.create_child_ca().issue_cert("localhost"))) as https:
        trusting_probe.wait_until_ready(https.url("localhost"), ACCOUNT, USERNAME, PASSWORD, seconds=LONG_SECONDS)


def test_an_expired_certificate(trusting_probe: ReadinessProbe, ca: trustme.CA) -> None:
    old = ca.issue_cert("localhost", not_before=YESTERDAY - dt.timedelta(days=90), not_after=YESTERDAY)
    with run_callback_server(context=create_tls_context(old)) as https:
        message = fail_probe(trusting_probe, https.url("localhost"))
    assert ": tls: the certificate (" in message
    assert f"expired on {YESTERDAY:%Y-%m-%d}" in message


def test_a_certificate_that_is_not_valid_yet(trusting_probe: ReadinessProbe, ca: trustme.CA) -> None:
    tomorrow = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=1)
    with run_callback_server(context=create_tls_context(ca.issue_cert("localhost", not_before=tomorrow))) as https:
        assert f"not valid before {tomorrow:%Y-%m-%d}" in fail_probe(trusting_probe, https.url("localhost"))


def test_a_certificate_for_another_name(trusting_probe: ReadinessProbe, ca: trustme.CA) -> None:
    with run_callback_server(context=create_tls_context(ca.issue_cert("sms.example.com", "sms.example.org"))) as https:
        message = fail_probe(trusting_probe, https.url("localhost"))
    assert ": tls: the certificate is for sms.example.com, sms.example.org, not for localhost" in message


def test_a_self_signed_certificate(readiness_probe: ReadinessProbe, tmp_path: Path) -> None:
    with run_callback_server(context=create_own_certificate_context(tmp_path, "localhost")) as https:
        message = fail_probe(readiness_probe, https.url("localhost"))
    assert ": tls: the certificate (localhost) is self-signed" in message
    assert "public CA" in message


def test_a_private_ca_that_is_sent_along(readiness_probe: ReadinessProbe, ca: trustme.CA) -> None:
    context = create_tls_context(ca.issue_cert("localhost"))
    with run_callback_server(context=context) as https:
        message = fail_probe(readiness_probe, https.url("localhost"))
    assert ": tls: the chain ends at " in message
    assert "not a public CA" in message
    assert "proxy of this machine intercepts TLS" in message


def test_a_private_ca_that_is_sent_with_its_root(
    readiness_probe: ReadinessProbe, ca: trustme.CA, tmp_path: Path
) -> None:
    leaf = ca.issue_cert("localhost")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "chain.pem"))
    ca.cert_pem.write_to_path(str(tmp_path / "chain.pem"), append=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain.pem")
    with run_callback_server(context=context) as https:
        message = fail_probe(readiness_probe, https.url("localhost"))
    assert ": tls: the certificate is issued by trustme" in message
    assert "which is not a public CA" in message


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_company_ca_that_this_machine_trusts_is_no_public_ca(
    readiness_probe: ReadinessProbe, ca: trustme.CA, bundle: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, bundle)
    with run_callback_server(context=create_tls_context(ca.issue_cert("localhost"))) as https:
        assert "not a public CA" in fail_probe(readiness_probe, https.url("localhost"))


def test_a_chain_without_its_intermediate_as_public_cas_issue_it(
    readiness_probe: ReadinessProbe, tmp_path: Path
) -> None:
    context = create_own_certificate_context(
        tmp_path, "localhost", issuer="Some Public Intermediate R1", fetchable=True
    )
    with run_callback_server(context=context) as https:
        message = fail_probe(readiness_probe, https.url("localhost"))
    assert "the chain is incomplete" in message
    assert "Some Public Intermediate R1" in message
    assert "fullchain.pem" in message


def test_a_chain_without_its_intermediate_of_a_trusted_root(trusting_probe: ReadinessProbe, ca: trustme.CA) -> None:
    context = create_tls_context(ca.create_child_ca().issue_cert("localhost"), sends_chain=False)
    with run_callback_server(context=context) as https:
        message = fail_probe(trusting_probe, https.url("localhost"))
    assert "or is incomplete (only THINGSPACE_READINESS_CA_BUNDLE is trusted)" in message
    assert "fullchain.pem" in message


def test_a_server_with_old_tls_only(trusting_probe: ReadinessProbe, ca: trustme.CA) -> None:
    with run_callback_server(context=create_tls_1_1_context(ca.issue_cert("localhost"))) as https:
        assert "supports no TLS version newer than 1.1" in fail_probe(trusting_probe, https.url("localhost"))


def test_a_server_without_tls_at_an_https_url(readiness_probe: ReadinessProbe) -> None:
    with run_callback_server() as http:
        message = fail_probe(readiness_probe, http.url("localhost").replace("http:", "https:"))
    assert ": tls: localhost:" in message
    assert "does not speak TLS" in message


def test_a_server_that_wants_a_clients_certificate(trusting_probe: ReadinessProbe, ca: trustme.CA) -> None:
    context = create_tls_context(ca.issue_cert("localhost"))
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with run_callback_server(context=context) as https:
        assert "requires a client certificate" in fail_probe(trusting_probe, https.url("localhost"))


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (
            (301, {"Location": "/other"}, b""),
            ["with 301", "redirects to http://127.0.0.1:", "/***"],
        ),
        ((302, {"Location": "https://login.example.com/?next=secret"}, b""), ["https://login.example.com/"]),
        ((401, {"WWW-Authenticate": "Basic"}, b""), ["responded with 401 (test-balancer)", "requires a login"]),
        ((403, {}, b"<html>"), ["responded with 403", "requires a login", "ThingSpace does not log in"]),
        ((404, {}, b""), ["responded with 404", "the path, the path token or the account"]),
        ((429, {}, b""), ["responded with 429"]),
        ((500, {}, b""), ["responded with 500", "log"]),
        ((502, {}, b"<html>"), ["responded with 502", "the listener behind it is down"]),
        ((504, {}, b""), ["responded with 504", "the listener behind it is down"]),
        (
            (200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>"),
            ["with 200 and text/html", "login page"],
        ),
        ((200, JSON, b"[]"), ["not a listener of this project"]),
        ((200, JSON, b'{"proof": 1}'), ["not a listener of this project"]),
    ],
)
def test_a_response_that_is_not_the_listeners(
    readiness_probe: ReadinessProbe, response: CannedResponse, expected: list[str]
) -> None:
    with run_callback_server(lambda _: response) as http:
        message = fail_probe(readiness_probe, http.url())
    assert ": response: " in message
    for part in expected:
        assert part in message
    assert "next=secret" not in message


def test_a_listener_with_another_password(readiness_probe: ReadinessProbe) -> None:
    with run_callback_server(lambda nonce: build_proof(nonce, "another")) as http:
        assert ": credential: a listener of this project responded" in fail_probe(readiness_probe, http.url())


def test_a_load_balancer_whose_backend_comes_up_is_waited_for_and_announced_once(
    readiness_probe: ReadinessProbe,
) -> None:
    replies: Iterator[CannedResponse] = iter([(502, {}, b""), (503, {}, b"")])
    logged: list[str] = []
    with run_callback_server(lambda nonce: next(replies, None) or build_proof(nonce)) as http:
        readiness_probe.wait_until_ready(
            http.url(), ACCOUNT, USERNAME, PASSWORD, seconds=LONG_SECONDS, log=logged.append
        )
        assert len(http.requests) == 3
    [waiting] = logged
    assert waiting.startswith(f"account {ACCOUNT}: waiting up to 20 s for the listener at http://127.0.0.1:")
    assert "responded with 502" in waiting
    assert "invented-path-token" not in waiting


def test_a_ready_listener_passes_the_probe_without_a_log_line(readiness_probe: ReadinessProbe) -> None:
    logged: list[str] = []
    with run_callback_server() as http:
        readiness_probe.wait_until_ready(
            http.url(), ACCOUNT, USERNAME, PASSWORD, seconds=LONG_SECONDS, log=logged.append
        )
    assert logged == []


def test_a_name_with_private_addresses_is_reported_once_and_passes_the_probe(readiness_probe: ReadinessProbe) -> None:
    logged: list[str] = []
    with run_callback_server() as http:
        for _ in range(2):  # 127.1 is a name for 127.0.0.1 that every resolver knows
            readiness_probe.wait_until_ready(
                http.url("127.1"), ACCOUNT, USERNAME, PASSWORD, seconds=LONG_SECONDS, log=logged.append
            )
    [warning] = logged
    assert "127.1 has only private addresses here (127.0.0.1)" in warning
    assert "split-horizon" in warning


def test_many_probes_share_connections(readiness_probe: ReadinessProbe) -> None:
    together = threading.Barrier(8, timeout=60)

    def run_probe() -> None:
        together.wait()
        for _ in range(10):
            readiness_probe.wait_until_ready(http.url(), ACCOUNT, USERNAME, PASSWORD, seconds=LONG_SECONDS)

    with run_callback_server() as http:
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(run_probe) for _ in range(8)]:
                done.result(60)
        assert len(http.requests) == 80
        assert http.connections <= 8
        readiness_probe.close()


def test_a_name_server_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver is replaced, because a test cannot point this machine's at a dead name server."""
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(LONG_SECONDS) and [])
    with pytest.raises(reachability.ProbeFailed, match=r"no name server returned the address of sms\.example\.com"):
        reachability.resolve(reachability.parse_target("https://sms.example.com/"), SHORT_SECONDS)
    over.set()


def test_a_certificate_that_cannot_be_fetched_again_fails_with_the_message_of_openssl(tmp_path: Path) -> None:
    without_trusted_cas = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with run_callback_server(context=create_own_certificate_context(tmp_path, "localhost")) as https:
        port = https.server_port
        with (
            socket.create_connection(("127.0.0.1", port)) as connection,
            pytest.raises(ssl.SSLCertVerificationError) as failed,
        ):
            without_trusted_cas.wrap_socket(connection, server_hostname="localhost")
    detail, hint = tls_errors.explain_tls_error(failed.value, "localhost", port, None, tls_errors.public_ca_bundle(), 1)
    assert detail == "the certificate is rejected (self-signed certificate)"
    assert "fullchain.pem" in hint


@pytest.fixture
def through(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sends outgoing connections through a proxy with a login."""
    return lambda port: monkeypatch.setenv("HTTPS_PROXY", f"http://proxy-user:sentinel%40@127.0.0.1:{port}")


PROXY_LOGIN = "proxy-user:sentinel@"


def test_a_proof_goes_through_the_proxy_which_looks_the_name_up(
    trusting_probe: ReadinessProbe, ca: trustme.CA, through: Callable[[int], None]
) -> None:
    with (
        run_callback_server(context=create_tls_context(ca.issue_cert("sms.invalid"))) as https,
        run_forward_proxy(https.server_port, PROXY_LOGIN) as port,
    ):
        through(port)
        trusting_probe.wait_until_ready(f"https://sms.invalid{PATH}", ACCOUNT, USERNAME, PASSWORD, seconds=LONG_SECONDS)
        assert len(https.requests) == 1
        trusting_probe.close()


def test_an_intercepting_proxy_is_detected_by_its_certificate(
    readiness_probe: ReadinessProbe, ca: trustme.CA, through: Callable[[int], None]
) -> None:
    with (
        run_callback_server(context=create_tls_context(ca.issue_cert("sms.example.com"))) as https,
        run_forward_proxy(https.server_port, PROXY_LOGIN) as port,
    ):
        through(port)
        message = fail_probe(readiness_probe, f"https://sms.example.com{PATH}")
    assert ": tls: the chain ends at trustme" in message
    assert "THINGSPACE_READINESS_CA_BUNDLE" in message


def test_a_proxy_that_does_not_connect_is_distinguished_from_the_listener(
    readiness_probe: ReadinessProbe, through: Callable[[int], None]
) -> None:
    with run_forward_proxy(None, PROXY_LOGIN) as port:
        through(port)
        message = fail_probe(readiness_probe, f"https://sms.example.com{PATH}")
    assert ": connect: the proxy of this machine (HTTPS_PROXY) responded with 502" in message
    assert "sms.example.com:443" in message
    assert "sentinel" not in message


def test_a_proxy_that_is_down(readiness_probe: ReadinessProbe, through: Callable[[int], None]) -> None:
    through(reserve_closed_port())
    message = fail_probe(readiness_probe, f"https://sms.example.com{PATH}")
    assert "the proxy of this machine (HTTPS_PROXY) cannot be reached" in message
    assert "sentinel" not in message
