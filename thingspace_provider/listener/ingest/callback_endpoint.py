"""Callback endpoint `/callbacks/{path_token}/{account}`: POST for ThingSpace, GET for the readiness probe.

The checks come in the order source address, size, path token, JSON, account, user name and password. So a client
without the path token learns nothing and costs little. A response of 200 means that the callback is on disk.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from thingspace_provider.common.probe_proof import compute_proof
from thingspace_provider.listener import callback_parser
from thingspace_provider.listener.ingest.callback_auth import ExpectedCredential, constant_time_equals
from thingspace_provider.listener.ingest.group_commit import GroupCommitter, NotStored
from thingspace_provider.listener.ingest.metrics import IngestMetrics
from thingspace_provider.listener.ingest.responses import NOT_FOUND, StaticResponse
from thingspace_provider.listener.ingest.settings import ENFORCE, LOG, IngestSettings
from thingspace_provider.listener.ingest.source_addresses import SourceAddressPolicy
from thingspace_provider.listener.model import IncomingCallback
from thingspace_provider.listener.observability.json_log import ThrottledLog

MAX_BODY_BYTES = 8192  # ThingSpace's bodies have some hundred
RESPONSE_TIMEOUT_SECONDS = 1.8  # the documented limit is 2 s; ThingSpace retries after about 4 s
PATH_PREFIX = "/callbacks/"
SEGMENT_COUNT = 2
MAX_LOGGED_ADDRESS_LENGTH = 60  # characters; X-Forwarded-For can hold anything
NONCE = re.compile(rb"[A-Za-z0-9_-]{16,128}")
STORED = StaticResponse(200)
TOO_LARGE = StaticResponse(413, b"a callback body has 8192 bytes at most", close=True)
# The client must not learn that its address is the reason.
UNEXPECTED_SOURCE = StaticResponse(NOT_FOUND.status, b"not found", close=True)
MALFORMED = StaticResponse(400, b"the body is not a JSON object")
FORBIDDEN = StaticResponse(403, b"wrong user name or password")
RETRY_LATER = StaticResponse(503, b"not stored: retry later", ((b"retry-after", b"1"),))
REJECTION_REASONS = {
    TOO_LARGE: "body_too_large",
    NOT_FOUND: "not_found",
    UNEXPECTED_SOURCE: "unexpected_source",
    MALFORMED: "malformed",
    FORBIDDEN: "invalid_credential",
    RETRY_LATER: "not_stored",
}


class BodyTooLarge(Exception):
    """The body has more bytes than a callback can have."""


class ClientDisconnected(Exception):
    """The client disconnected before its body was complete."""


class CallbackEndpoint:
    """Authenticates a callback, stores it, then responds with 200. `settings` can be replaced at run time.

    Args:
        settings: accounts, credential, path token and source addresses.
        group_committer: stores the callbacks.
        metrics: counts the callbacks.
        on_rejected: is called with the account of a rejected callback that ThingSpace may queue now.
        other_paths: responds to requests with other paths.
        response_timeout_seconds: from the start of a request to its response.
    """

    def __init__(
        self,
        settings: IngestSettings,
        group_committer: GroupCommitter,
        metrics: IngestMetrics,
        on_rejected: Callable[[str], None],
        other_paths: ASGIApp = NOT_FOUND,
        response_timeout_seconds: float = RESPONSE_TIMEOUT_SECONDS,
    ) -> None:
        self._group_committer = group_committer
        self._on_rejected = on_rejected
        self._metrics = metrics
        metrics.declare_rejections(REJECTION_REASONS.values())
        self._other_paths = other_paths
        self._response_timeout_seconds = response_timeout_seconds
        self._throttled_log = ThrottledLog()
        self.settings = settings

    @property
    def settings(self) -> IngestSettings:
        """The current settings."""
        return self._settings

    @settings.setter
    def settings(self, settings: IngestSettings) -> None:
        self._settings = settings
        self._accounts = frozenset(settings.accounts)
        self._credential = ExpectedCredential(settings.username, settings.password, settings.previous_passwords)
        self._source_policy = SourceAddressPolicy(
            settings.source_address_policy, settings.allowed_source_addresses, settings.trusted_proxy_hops
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        if not scope["path"].startswith(PATH_PREFIX):
            await self._other_paths(scope, receive, send)
            return
        try:
            if scope["method"] == "POST":
                response = await self._receive(scope, receive)
                if response is not STORED:
                    self._record_rejection(REJECTION_REASONS[response], scope)
            elif scope["method"] == "GET":
                response = await self._respond_to_probe(scope)
            else:
                response = NOT_FOUND
        except ClientDisconnected:
            return
        await response(scope, receive, send)

    async def _receive(self, scope: Scope, receive: Receive) -> StaticResponse:
        received_at, deadline = time.time_ns() // 1000, time.monotonic() + self._response_timeout_seconds
        path_token, account = _parse_path(scope)
        address = self._source_policy.client_address(scope)
        if self._source_policy.mode == ENFORCE and not self._source_policy.is_expected(address):
            if constant_time_equals(path_token, self._settings.path_token):
                self._on_rejected(account)
            return UNEXPECTED_SOURCE
        try:
            body = await _read_body(scope, receive)
        except BodyTooLarge:
            return TOO_LARGE
        if not constant_time_equals(path_token, self._settings.path_token):
            return NOT_FOUND
        try:
            unverified = callback_parser.parse_body(body)
        except callback_parser.MalformedBody:
            return MALFORMED
        if account not in self._accounts:
            return NOT_FOUND
        if not self._credential.matches(unverified.username, unverified.password):
            self._on_rejected(account)
            return FORBIDDEN
        incoming = IncomingCallback(account, received_at, unverified.to_callback())
        try:
            await self._group_committer.store(incoming, deadline - time.monotonic())
        except NotStored:
            self._on_rejected(account)
            return RETRY_LATER
        if self._source_policy.mode == LOG and not self._source_policy.is_expected(address):
            self._metrics.unexpected_source.inc()
            event = "callback_from_unexpected_source"
            self._throttled_log.warn(event, event, client=address[:MAX_LOGGED_ADDRESS_LENGTH], account=account)
        return STORED

    def _record_rejection(self, reason: str, scope: Scope) -> None:
        """Count and log a rejection. A client can send anything as the account, so only a known one is logged."""
        self._metrics.record_rejected(reason)
        account = _parse_path(scope)[1]
        self._throttled_log.warn(
            reason,
            "callback_rejected",
            reason=reason,
            client=self._source_policy.client_address(scope)[:MAX_LOGGED_ADDRESS_LENGTH],
            account=account if account in self._accounts else None,
        )

    async def _respond_to_probe(self, scope: Scope) -> StaticResponse:
        """Prove that this listener has the credential. The response is worthless for another nonce."""
        settings = self._settings
        path_token, account = _parse_path(scope)
        nonce = next((value for name, value in scope["headers"] if name == b"thingspace-probe"), b"")
        if (
            not constant_time_equals(path_token, settings.path_token)
            or account not in self._accounts
            or not NONCE.fullmatch(nonce)
        ):
            return NOT_FOUND
        proof = await asyncio.to_thread(compute_proof, settings.username, settings.password, account, nonce.decode())
        return StaticResponse(
            200, json.dumps({"account": account, "proof": proof}).encode(), content_type=b"application/json"
        )


def _parse_path(scope: Scope) -> tuple[str, str]:
    """Return path token and account. The raw path is used, because an account can contain an encoded slash."""
    raw_path = scope["raw_path"].decode("ascii", "replace")
    segments = raw_path[len(PATH_PREFIX) :].split("/")
    return (unquote(segments[0]), unquote(segments[1])) if len(segments) == SEGMENT_COUNT else ("", "")


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    """Return the body. Raises BodyTooLarge as early as possible, and ClientDisconnected."""
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or int(value[:10]) > MAX_BODY_BYTES):
            raise BodyTooLarge
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge
        if not message.get("more_body"):
            return bytes(body)
