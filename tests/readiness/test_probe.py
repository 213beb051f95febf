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
    Reply,
    closed_port,
    own_certificate,
    proof,
    proxy,
    raw,
    server,
    tls,
    tls_1_1,
)
from tests.support.listener_process import ListenerProcess
from thingspace_provider.api.errors import ListenerNotReady
from thingspace_provider.readiness import probe, reachability, tls_errors
from thingspace_provider.readiness.probe import Prover

SOON = 0.1  # seconds; one attempt
IN_TIME = 20.0  # seconds; more than what is waited for needs on a busy machine
YESTERDAY = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def one_attempt_takes_as_long_as_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LAST_ATTEMPT_SECONDS", IN_TIME)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(ca: trustme.CA, tmp_path: Path) -> str:
    file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    return str(file)


@pytest.fixture
def prover() -> Iterator[Prover]:
    """Trusts the public CAs and no other."""
    prover = Prover()
    yield prover
    prover.close()


@pytest.fixture
def trusting(bundle: str) -> Iterator[Prover]:
    """Trusts the test's CA as if it were public."""
    prover = Prover(bundle)
    yield prover
    prover.close()


def refused(prover: Prover, url: str, seconds: float = SOON) -> str:
    with pytest.raises(ListenerNotReady) as failed:
        prover.prove(url, ACCOUNT, USERNAME, PASSWORD, seconds=seconds)
    text = str(failed.value)
    assert text.startswith(f"proving the listener reachable for account {ACCOUNT}: ")
    assert "Nothing was registered." in text
    assert "readiness=False" in text
    assert PASSWORD not in text
    assert "invented-path-token" not in text
    return text


def test_a_listener_proves_itself_and_stores_nothing(prover: Prover, tmp_path: Path) -> None:
    listener = ListenerProcess(tmp_path)
    try:
        prover.prove(listener.url + listener.path(), ACCOUNT, USERNAME, PASSWORD, seconds=IN_TIME)
        assert listener.messages() == []
    finally:
        listener.stop()


def test_a_name_that_does_not_resolve(prover: Prover) -> None:
    text = refused(prover, f"https://sms.invalid{PATH}")
    assert ": name: sms.invalid does not resolve (" in text
    assert "DNS record" in text


def test_a_port_on_which_nobody_listens(prover: Prover) -> None:
    port = closed_port()
    text = refused(prover, f"https://127.0.0.1:{port}{PATH}")
    assert f": connection: 127.0.0.1:{port}: connection refused" in text
    assert f"open port {port} for the internet" in text


def test_a_server_that_takes_the_connection_and_says_nothing(prover: Prover, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LAST_ATTEMPT_SECONDS", 2.0)
    with raw(None) as port:
        assert f": answer: 127.0.0.1:{port} took the connection, but no" in refused(
            prover, f"http://127.0.0.1:{port}{PATH}"
        )


def test_a_server_that_closes_the_connection(prover: Prover) -> None:
    with raw(b"") as port:
        text = refused(prover, f"http://127.0.0.1:{port}{PATH}")
    assert f": connection: 127.0.0.1:{port} closed the connection without an answer" in text


def test_a_server_that_does_not_speak_http(prover: Prover) -> None:
    with raw(b"\x15\x03\x01\x00\x02\x02\x46") as port:
        assert "does not speak HTTP" in refused(prover, f"http://127.0.0.1:{port}{PATH}")


def test_a_certificate_of_a_trusted_ca_passes(trusting: Prover, ca: trustme.CA) -> None:
    with server(context=tls(ca.issue_cert("localhost"))) as https:
        trusting.prove(https.url("localhost"), ACCOUNT, USERNAME, PASSWORD, seconds=IN_TIME)


def test_a_full_chain_with_an_intermediate_passes(trusting: Prover, ca: trustme.CA) -> None:
    with server(context=tls(ca.create_child_ca().issue_cert("localhost"))) as https:
        trusting.prove(https.url("localhost"), ACCOUNT, USERNAME, PASSWORD, seconds=IN_TIME)


def test_an_expired_certificate(trusting: Prover, ca: trustme.CA) -> None:
    old = ca.issue_cert("localhost", not_before=YESTERDAY - dt.timedelta(days=90), not_after=YESTERDAY)
    with server(context=tls(old)) as https:
        text = refused(trusting, https.url("localhost"))
    assert ": TLS: the certificate (" in text
    assert f"expired on {YESTERDAY:%Y-%m-%d}" in text


def test_a_certificate_that_is_not_valid_yet(trusting: Prover, ca: trustme.CA) -> None:
    tomorrow = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=1)
    with server(context=tls(ca.issue_cert("localhost", not_before=tomorrow))) as https:
        assert f"not valid before {tomorrow:%Y-%m-%d}" in refused(trusting, https.url("localhost"))


def test_a_certificate_for_another_name(trusting: Prover, ca: trustme.CA) -> None:
    with server(context=tls(ca.issue_cert("sms.example.com", "sms.example.org"))) as https:
        text = refused(trusting, https.url("localhost"))
    assert ": TLS: the certificate is for sms.example.com, sms.example.org, not for localhost" in text


def test_a_self_signed_certificate(prover: Prover, tmp_path: Path) -> None:
    with server(context=own_certificate(tmp_path, "localhost")) as https:
        text = refused(prover, https.url("localhost"))
    assert ": TLS: the certificate (localhost) is self-signed" in text
    assert "public CA" in text


def test_a_private_ca_that_is_sent_along(prover: Prover, ca: trustme.CA) -> None:
    context = tls(ca.issue_cert("localhost"))
    with server(context=context) as https:
        text = refused(prover, https.url("localhost"))
    assert ": TLS: the chain ends at " in text
    assert "no public CA" in text
    assert "proxy that opens TLS" in text


def test_a_private_ca_that_is_sent_with_its_root(prover: Prover, ca: trustme.CA, tmp_path: Path) -> None:
    leaf = ca.issue_cert("localhost")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "chain.pem"))
    ca.cert_pem.write_to_path(str(tmp_path / "chain.pem"), append=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain.pem")
    with server(context=context) as https:
        text = refused(prover, https.url("localhost"))
    assert ": TLS: the certificate comes from trustme" in text
    assert "which is no public CA" in text


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_company_ca_that_this_machine_trusts_is_no_public_ca(
    prover: Prover, ca: trustme.CA, bundle: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, bundle)
    with server(context=tls(ca.issue_cert("localhost"))) as https:
        assert "no public CA" in refused(prover, https.url("localhost"))


def test_a_chain_without_its_intermediate_as_public_cas_issue_it(prover: Prover, tmp_path: Path) -> None:
    context = own_certificate(tmp_path, "localhost", issuer="Some Public Intermediate R1", fetchable=True)
    with server(context=context) as https:
        text = refused(prover, https.url("localhost"))
    assert "the chain is incomplete" in text
    assert "Some Public Intermediate R1" in text
    assert "fullchain.pem" in text


def test_a_chain_without_its_intermediate_of_a_trusted_root(trusting: Prover, ca: trustme.CA) -> None:
    context = tls(ca.create_child_ca().issue_cert("localhost"), sends_chain=False)
    with server(context=context) as https:
        text = refused(trusting, https.url("localhost"))
    assert "or is incomplete (trusted was only THINGSPACE_READINESS_CA_BUNDLE)" in text
    assert "fullchain.pem" in text


def test_a_server_with_old_tls_only(trusting: Prover, ca: trustme.CA) -> None:
    with server(context=tls_1_1(ca.issue_cert("localhost"))) as https:
        assert "speaks no TLS newer than 1.1" in refused(trusting, https.url("localhost"))


def test_a_server_without_tls_at_an_https_url(prover: Prover) -> None:
    with server() as http:
        text = refused(prover, http.url("localhost").replace("http:", "https:"))
    assert ": TLS: localhost:" in text
    assert "does not speak TLS" in text


def test_a_server_that_wants_a_clients_certificate(trusting: Prover, ca: trustme.CA) -> None:
    context = tls(ca.issue_cert("localhost"))
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with server(context=context) as https:
        assert "asks for a client's certificate" in refused(trusting, https.url("localhost"))


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ((301, {"Location": "/elsewhere"}, b""), ["answered 301", "redirects to http://127.0.0.1:", "/elsewhere"]),
        ((302, {"Location": "https://login.example.com/?next=secret"}, b""), ["https://login.example.com/"]),
        ((401, {"WWW-Authenticate": "Basic"}, b""), ["answered 401 (test-balancer)", "asks for a login"]),
        ((403, {}, b"<html>"), ["answered 403", "asks for a login", "ThingSpace logs in nowhere"]),
        ((404, {}, b""), ["answered 404", "path, path token or account"]),
        ((429, {}, b""), ["answered 429"]),
        ((500, {}, b""), ["answered 500", "log"]),
        ((502, {}, b"<html>"), ["answered 502", "the listener behind it is not up"]),
        ((504, {}, b""), ["answered 504", "the listener behind it is not up"]),
        ((200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>"), ["200 with text/html", "login page"]),
        ((200, JSON, b"[]"), ["not a listener of this project"]),
        ((200, JSON, b'{"proof": 1}'), ["not a listener of this project"]),
    ],
)
def test_an_answer_that_is_not_the_listeners(prover: Prover, reply: Reply, said: list[str]) -> None:
    with server(lambda _: reply) as http:
        text = refused(prover, http.url())
    assert ": answer: " in text
    for part in said:
        assert part in text
    assert "next=secret" not in text


def test_a_listener_with_another_password(prover: Prover) -> None:
    with server(lambda nonce: proof(nonce, "another")) as http:
        assert ": credential: a listener of this project answers" in refused(prover, http.url())


def test_a_load_balancer_whose_backend_comes_up_is_waited_for_and_announced_once(prover: Prover) -> None:
    replies: Iterator[Reply] = iter([(502, {}, b""), (503, {}, b"")])
    said: list[str] = []
    with server(lambda nonce: next(replies, None) or proof(nonce)) as http:
        prover.prove(http.url(), ACCOUNT, USERNAME, PASSWORD, seconds=IN_TIME, say=said.append)
        assert len(http.requests) == 3
    [waiting] = said
    assert waiting.startswith(f"account {ACCOUNT}: waiting up to 20 s for the listener at http://127.0.0.1:")
    assert "answered 502" in waiting
    assert "invented-path-token" not in waiting


def test_a_listener_that_is_ready_is_proven_without_a_word(prover: Prover) -> None:
    said: list[str] = []
    with server() as http:
        prover.prove(http.url(), ACCOUNT, USERNAME, PASSWORD, seconds=IN_TIME, say=said.append)
    assert said == []


def test_a_name_with_private_addresses_is_said_once_and_proven(prover: Prover) -> None:
    said: list[str] = []
    with server() as http:
        for _ in range(2):  # 127.1 is a name for 127.0.0.1 that every resolver knows
            prover.prove(http.url("127.1"), ACCOUNT, USERNAME, PASSWORD, seconds=IN_TIME, say=said.append)
    [warning] = said
    assert "127.1 has only private addresses here (127.0.0.1)" in warning
    assert "split-horizon" in warning


def test_many_proofs_share_connections(prover: Prover) -> None:
    together = threading.Barrier(8)

    def prove() -> None:
        together.wait()
        for _ in range(10):
            prover.prove(http.url(), ACCOUNT, USERNAME, PASSWORD, seconds=IN_TIME)

    with server() as http:
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(prove) for _ in range(8)]:
                done.result()
        assert len(http.requests) == 80
        assert http.connections <= 8
        prover.close()


def test_a_name_server_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver is replaced, because a test cannot point this machine's at a dead name server."""
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(IN_TIME) and [])
    with pytest.raises(reachability.NotProven, match=r"no name server told the address of sms\.example\.com"):
        reachability.addresses(reachability.target("https://sms.example.com/"), SOON)
    over.set()


def test_a_certificate_that_cannot_be_looked_at_again_is_refused_in_openssls_words(tmp_path: Path) -> None:
    trusting_nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with server(context=own_certificate(tmp_path, "localhost")) as https:
        port = https.server_port
        with (
            socket.create_connection(("127.0.0.1", port)) as connection,
            pytest.raises(ssl.SSLCertVerificationError) as failed,
        ):
            trusting_nobody.wrap_socket(connection, server_hostname="localhost")
    what, remedy = tls_errors.in_words(failed.value, "localhost", port, None, tls_errors.public_cas(), 1)
    assert what == "the certificate is refused (self-signed certificate)"
    assert "fullchain.pem" in remedy


@pytest.fixture
def through(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Puts a proxy with a login on this machine's way out."""
    return lambda port: monkeypatch.setenv("HTTPS_PROXY", f"http://somebody:sentinel%40@127.0.0.1:{port}")


LOGIN = "somebody:sentinel@"


def test_a_proof_goes_through_the_proxy_which_looks_the_name_up(
    trusting: Prover, ca: trustme.CA, through: Callable[[int], None]
) -> None:
    with server(context=tls(ca.issue_cert("sms.invalid"))) as https, proxy(https.server_port, LOGIN) as port:
        through(port)
        trusting.prove(f"https://sms.invalid{PATH}", ACCOUNT, USERNAME, PASSWORD, seconds=IN_TIME)
        assert len(https.requests) == 1
        trusting.close()


def test_a_proxy_that_opens_tls_is_told_by_its_certificate(
    prover: Prover, ca: trustme.CA, through: Callable[[int], None]
) -> None:
    with server(context=tls(ca.issue_cert("sms.example.com"))) as https, proxy(https.server_port, LOGIN) as port:
        through(port)
        text = refused(prover, f"https://sms.example.com{PATH}")
    assert ": TLS: the chain ends at trustme" in text
    assert "THINGSPACE_READINESS_CA_BUNDLE" in text


def test_a_proxy_that_does_not_connect_is_told_from_the_listener(
    prover: Prover, through: Callable[[int], None]
) -> None:
    with proxy(None, LOGIN) as port:
        through(port)
        text = refused(prover, f"https://sms.example.com{PATH}")
    assert ": connection: the proxy on this machine's way out (HTTPS_PROXY) answered 502" in text
    assert "sms.example.com:443" in text
    assert "sentinel" not in text


def test_a_proxy_that_is_down(prover: Prover, through: Callable[[int], None]) -> None:
    through(closed_port())
    text = refused(prover, f"https://sms.example.com{PATH}")
    assert "the proxy on this machine's way out (HTTPS_PROXY) cannot be reached" in text
    assert "sentinel" not in text
