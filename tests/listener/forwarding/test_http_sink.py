"""HTTP sink with real receivers and a real proxy: signatures, responses, and the request that is sent."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import trustme
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.callback_servers import create_tls_context
from tests.support.callback_servers import run_callback_server as callback_server
from tests.support.forward_proxy import PASSWORD, needs_tinyproxy, run_tinyproxy
from tests.support.forwarding_harness import build_sink, send
from tests.support.listener_process import ListenerProcess
from tests.support.sample_messages import build_stored_message
from tests.support.webhook_receiver import Receiver
from thingspace_provider.listener.forwarding.cloudevents import CloudEvent, to_cloudevent
from thingspace_provider.listener.forwarding.settings import HttpSettings
from thingspace_provider.listener.forwarding.sinks.base import (
    DeliveryError,
    InvalidSink,
    MessageRejected,
    SinkUnavailable,
)
from thingspace_provider.listener.forwarding.sinks.http import MAX_RETRY_AFTER_SECONDS, HttpSink

OLD, NEW, OTHER = (f"whsec_{base64.b64encode(os.urandom(32)).decode()}" for _ in range(3))


def build_settings(url: str, *secrets: str, seconds: float = 10) -> HttpSettings:
    values = {"name": "hub", "kind": "http", "url": url, "signingSecrets": secrets or [OLD], "timeoutSeconds": seconds}
    return HttpSettings.model_validate(values)


def deliver(url: str, *secrets: str, event: CloudEvent | None = None, seconds: float = 10) -> None:
    async def work() -> None:
        sink = HttpSink(build_settings(url, *secrets, seconds=seconds))
        try:
            await sink.deliver(event or to_cloudevent(build_stored_message()))
        finally:
            await sink.close()

    asyncio.run(work())


def test_the_library_of_standard_webhooks_verifies_the_event(receiver: Receiver) -> None:
    deliver(receiver.url)
    (received,) = receiver.accepted
    assert Webhook(OLD).verify(received.body, received.headers)["data"]["text"] == "T=21.5 °C"
    headers = {name.lower(): value for name, value in received.headers.items()}
    event = from_http_event(HTTPMessage(headers, received.body))
    assert headers["content-type"] == "application/cloudevents+json"
    assert event.get_id() == headers["webhook-id"] == to_cloudevent(build_stored_message()).id
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(received.body, received.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(received.body.replace(b"21.5", b"99.9"), received.headers)


def test_during_a_rotation_the_old_and_the_new_secret_both_verify(receiver: Receiver) -> None:
    deliver(receiver.url, NEW, OLD)
    (received,) = receiver.accepted
    for secret in (OLD, NEW):
        Webhook(secret).verify(received.body, received.headers)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_delivered(receiver: Receiver, status: int) -> None:
    receiver.responder = lambda _: (status, {})
    deliver(receiver.url)
    assert len(receiver.accepted) == 1


@pytest.mark.parametrize(
    ("meaning", "statuses"),
    [
        (MessageRejected, (400, 406, 409, 410, 411, 413, 414, 415, 422, 431)),
        (SinkUnavailable, (401, 403, 404, 405, 429, 502, 503, 504)),
        (DeliveryError, (408, 425, 418, 500, 507)),
    ],
)
def test_each_error_response_has_one_meaning(
    receiver: Receiver, meaning: type[Exception], statuses: tuple[int, ...]
) -> None:
    for status in statuses:
        receiver.responder = lambda _, status=status: (status, {})  # type: ignore[misc]
        with pytest.raises(meaning, match=f"responded with {status}") as raised:
            deliver(receiver.url)
        assert raised.type is meaning


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    redirect_target = Receiver()
    receiver.responder = lambda _: (307, {"location": redirect_target.url})
    with pytest.raises(SinkUnavailable, match="responded with 307"):
        deliver(receiver.url)
    assert redirect_target.requests == []
    redirect_target.close()


def test_a_slow_or_unreachable_receiver_is_retried_and_no_message_holds_the_url(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resolver is replaced, because a real one can be slow."""

    def fail_to_resolve(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    receiver.responder = lambda _: 5.0
    with pytest.raises(DeliveryError) as slow:
        deliver(receiver.url, seconds=0.2)
    receiver.down()
    with pytest.raises(SinkUnavailable) as down:
        deliver(receiver.url)
    monkeypatch.setattr(socket, "getaddrinfo", fail_to_resolve)
    with pytest.raises(SinkUnavailable) as nowhere:
        deliver("http://missing.invalid/?token=invented-url-token")
    monkeypatch.setenv("http_proxy", "proxy.invalid:3128")
    with pytest.raises(SinkUnavailable) as no_proxy:
        deliver("http://missing.invalid/?token=invented-url-token")
    reasons = [str(raised.value) for raised in (slow, down, nowhere, no_proxy)]
    assert reasons == [
        "no response within 0.2 s",
        "no connection to the receiver",
        "the name of the receiver cannot be resolved",
        "the name of the proxy cannot be resolved",
    ]


def test_a_certificate_of_an_unknown_authority_is_rejected() -> None:
    with (
        callback_server(context=create_tls_context(trustme.CA().issue_cert("127.0.0.1"))) as running,
        pytest.raises(SinkUnavailable, match="certificate is not trusted"),
    ):
        deliver(running.url(path="/"))


def test_a_response_without_end_is_not_read() -> None:
    async def work() -> None:
        ended = asyncio.Event()

        async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"x" * 65536)
                    await writer.drain()
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            ended.set()

        server = await asyncio.start_server(endless, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        sink = HttpSink(build_settings(f"http://127.0.0.1:{port}/"))
        await asyncio.wait_for(sink.deliver(to_cloudevent(build_stored_message())), 10)
        await sink.close()
        await asyncio.wait_for(ended.wait(), 10)
        server.close()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("99999999999999999999", MAX_RETRY_AFTER_SECONDS),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER_SECONDS),
        ("soon", 0),
    ],
)
def test_retry_after_is_respected_up_to_the_maximum(receiver: Receiver, header: str, seconds: float) -> None:
    receiver.responder = lambda _: (503, {"retry-after": header})
    with pytest.raises(SinkUnavailable) as raised:
        deliver(receiver.url)
    assert raised.value.retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("configured", "target"),
    [
        ("/%20a%2Fb%7e?X-Signature=a%2Bb%3D%3D&empty=&plus=+", "/%20a%2Fb%7e?X-Signature=a%2Bb%3D%3D&empty=&plus=+"),
        ("/%c3%a9/../b//c;d='(|)'", "/%c3%a9/../b//c;d='(|)'"),
        ("?sig=%2F", "/?sig=%2F"),
        ("", "/"),
    ],
)
def test_the_url_is_sent_as_configured(receiver: Receiver, configured: str, target: str) -> None:
    deliver(f"http://127.0.0.1:{receiver.port}{configured}")
    assert [received.target for received in receiver.accepted] == [target]


def through_proxy(receiver: Receiver) -> str:
    """Return a URL of the receiver that is not a loopback address: those never use a proxy."""
    return receiver.url.replace("127.0.0.1", "0.0.0.0")  # noqa: S104  Linux connects it to this machine


@pytest.mark.starts_process
@needs_tinyproxy
def test_http_proxy_of_the_environment_is_used(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_tinyproxy(tmp_path) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        deliver(through_proxy(receiver).replace("/hook", "/%20a%2Fb"))
        assert [received.target for received in receiver.accepted] == ["/%20a%2Fb?token=invented-url-token"]
        connections = proxy.log.read_text().count("Established connection")
        assert connections == 1
        deliver(receiver.url)
        monkeypatch.setenv("no_proxy", "0.0.0.0")  # noqa: S104  as above
        deliver(through_proxy(receiver))
        assert len(receiver.accepted) == 3
        assert proxy.log.read_text().count("Established connection") == connections


@pytest.mark.starts_process
@needs_tinyproxy
def test_https_proxy_of_the_environment_is_used_by_a_listener(
    start: Callable[..., ListenerProcess], tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    receiver = Receiver(create_tls_context(authority.issue_cert("0.0.0.0")))  # noqa: S104  a name in a certificate
    try:
        with run_tinyproxy(tmp_path) as proxy:
            environment = ("env", f"SSL_CERT_FILE={tmp_path / 'ca.pem'}", f"HTTPS_PROXY={proxy.url}")
            listener = start(sinks=[build_sink(receiver, url=through_proxy(receiver))], before=environment)
            send(listener, "through the proxy")
            receiver.wait_for("through the proxy")
            assert f"CONNECT 0.0.0.0:{receiver.port} HTTP/1.1" in proxy.log.read_text()
            assert PASSWORD not in listener.log.read_text()
    finally:
        receiver.close()


@pytest.mark.starts_process
@needs_tinyproxy
def test_a_proxy_that_fails_makes_the_sink_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_tinyproxy(tmp_path) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace(PASSWORD, "wrong-proxy-password"))
        with pytest.raises(SinkUnavailable, match=r"^the proxy responded with 401$"):
            deliver("https://0.0.0.0:9/")
        monkeypatch.setenv("https_proxy", proxy.url)
        with pytest.raises(SinkUnavailable, match=r"^the proxy responded with 500$"):
            deliver("https://0.0.0.0:9/")
    with pytest.raises(SinkUnavailable, match=r"^no connection to the proxy$"):
        deliver("https://0.0.0.0:9/")


def test_a_proxy_of_another_kind_is_an_invalid_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://user:hidden@proxy.example:1080")
    with pytest.raises(InvalidSink, match=r"^sink hub: HTTPS_PROXY is not an HTTP proxy: it must begin") as invalid:
        deliver("https://hub.example/")
    assert "hidden" not in str(invalid.value)
