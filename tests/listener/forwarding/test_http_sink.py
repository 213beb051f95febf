"""The HTTP sink against a real receiver: signed as Standard Webhooks asks, and what each answer means."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
from typing import NoReturn

import pytest
import trustme
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.callback_servers import create_tls_context
from tests.support.callback_servers import run_callback_server as callback_server
from tests.support.sample_messages import build_stored_message
from tests.support.webhook_receiver import Receiver
from thingspace_provider.listener.forwarding.cloudevents import CloudEvent, to_cloudevent
from thingspace_provider.listener.forwarding.settings import HttpSettings
from thingspace_provider.listener.forwarding.sinks.base import DeliveryError, MessageRejected, SinkUnavailable
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


def test_a_receiver_gets_a_cloudevent_that_the_standards_own_library_verifies(receiver: Receiver) -> None:
    deliver(receiver.url)
    (received,) = receiver.accepted
    assert Webhook(OLD).verify(received.body, received.headers)["data"]["text"] == "T=21.5 °C"
    headers = {name.lower(): value for name, value in received.headers.items()}
    event = from_http_event(HTTPMessage(headers, received.body))
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
        with pytest.raises(meaning, match=f"answered {status}") as raised:
            deliver(receiver.url)
        assert raised.type is meaning


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    redirect_target = Receiver()
    receiver.responder = lambda _: (307, {"location": redirect_target.url})
    with pytest.raises(SinkUnavailable, match="answered 307"):
        deliver(receiver.url)
    assert redirect_target.requests == []
    redirect_target.close()


def test_a_slow_or_unreachable_receiver_is_retried_and_no_message_holds_the_url(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer of a resolver is made up for the name that does not exist: a real one may take its time."""

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
        deliver("http://nobody.invalid/?token=invented-url-token")
    reasons = [str(raised.value) for raised in (slow, down, nowhere)]
    assert reasons == [
        "no answer within 0.2 s",
        "no connection to the receiver",
        "the receiver's name cannot be resolved",
    ]


def test_a_certificate_of_an_unknown_authority_is_rejected() -> None:
    with (
        callback_server(context=create_tls_context(trustme.CA().issue_cert("127.0.0.1"))) as running,
        pytest.raises(SinkUnavailable, match="certificate is not trusted"),
    ):
        deliver(running.url(path="/"))


def test_an_answer_without_end_is_not_read() -> None:
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
def test_retry_after_is_honoured_up_to_the_maximum(receiver: Receiver, header: str, seconds: float) -> None:
    receiver.responder = lambda _: (503, {"retry-after": header})
    with pytest.raises(SinkUnavailable) as raised:
        deliver(receiver.url)
    assert raised.value.retry_after_seconds == seconds
