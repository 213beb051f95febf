"""`/callbacks/{path_token}/{account}`: where ThingSpace posts, and where the deployer asks for a proof.

The checks come in the order source address, size, path token, JSON, account, user name and password, so that a
stranger learns nothing and costs little. A 200 means that it is on disk. Whatever is not found is answered alike.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from urllib.parse import unquote

from starlette.types import Receive, Scope, Send

from thingspace_provider.listener import callback_parser
from thingspace_provider.listener.ingest.callback_auth import ExpectedCredential, constant_time_equals
from thingspace_provider.listener.ingest.group_commit import GroupCommitter, NotStored
from thingspace_provider.listener.ingest.responses import NOT_FOUND, StaticResponse
from thingspace_provider.listener.ingest.source_addresses import ENFORCE, LOG, SourceAddressPolicy
from thingspace_provider.listener.observability.json_log import ThrottledLog
from thingspace_provider.listener.observability.metrics import Metrics
from thingspace_provider.listener.settings.listener_settings import ListenerSettings
from thingspace_provider.listener.store.base import IncomingCallback

MAX_BODY_BYTES = 8192  # bytes of a body; ThingSpace's have some hundred
RESPONSE_TIMEOUT_SECONDS = 1.8  # ThingSpace tries again after about 4 s without an answer; within 2 is what we promise
PATH_PREFIX = "/callbacks/"
SEGMENT_COUNT = 2
MAX_LOGGED_ADDRESS_LENGTH = 60  # characters that are logged of what may be no address
NONCE = re.compile(rb"[A-Za-z0-9_-]{16,128}")
STORED = StaticResponse(200)
TOO_LARGE = StaticResponse(413, b"a callback body has 8192 bytes at most", close=True)
UNEXPECTED_SOURCE = StaticResponse(
    NOT_FOUND.status, b"not found", close=True
)  # looks to a stranger like everything else
MALFORMED = StaticResponse(400, b"the body is not a JSON object")
FORBIDDEN = StaticResponse(403, b"wrong user name or password")
RETRY_LATER = StaticResponse(503, b"not stored: come again", ((b"retry-after", b"1"),))
REJECTION_REASONS = {
    TOO_LARGE: "too large",
    NOT_FOUND: "not found",
    UNEXPECTED_SOURCE: "not an expected source address",
    MALFORMED: "malformed",
    FORBIDDEN: "wrong user name or password",
    RETRY_LATER: "not stored in time",
}


class BodyTooLarge(Exception):
    """More bytes than a callback may have."""


class ClientDisconnected(Exception):
    """The sender left before the body was complete."""


class CallbackEndpoint:
    """Lets in what comes from ThingSpace. `settings` may be replaced while it runs.

    `need` is told the account for which something was refused that may now be in ThingSpace's queue.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        group_committer: GroupCommitter,
        metrics: Metrics,
        on_rejected: Callable[[str], None],
    ) -> None:
        self._group_committer = group_committer
        self._on_rejected = on_rejected
        self._metrics = metrics
        self._rejection_log = ThrottledLog()
        self.settings = settings

    @property
    def settings(self) -> ListenerSettings:
        """What it admits."""
        return self._settings

    @settings.setter
    def settings(self, settings: ListenerSettings) -> None:
        self._settings = settings
        self._accounts = frozenset(settings.accounts)
        self._credential = ExpectedCredential(settings.username, settings.password, settings.previous_passwords)
        self._source_policy = SourceAddressPolicy(
            settings.source_address_policy, settings.allowed_source_addresses, settings.trusted_proxy_hops
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request to a path under PREFIX."""
        try:
            if scope["method"] == "POST":
                response = await self._receive(scope, receive)
                if response is not STORED:
                    self._record_rejection(REJECTION_REASONS[response], scope)
            elif scope["method"] == "GET":
                response = self._respond_to_probe(scope)
            else:
                response = NOT_FOUND
        except ClientDisconnected:
            return
        await response(scope, receive, send)

    async def _receive(self, scope: Scope, receive: Receive) -> StaticResponse:
        received_at, started = time.time_ns() // 1000, time.monotonic()
        path_token, account = _parse_path(scope)
        if self._source_policy.mode == ENFORCE and not self._source_policy.is_expected(
            self._source_policy.client_address(scope)
        ):
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
        try:
            parsed = unverified.to_callback()
            await self._group_committer.store(
                IncomingCallback(account, received_at, parsed), RESPONSE_TIMEOUT_SECONDS - (time.monotonic() - started)
            )
        except NotStored:
            self._on_rejected(account)
            return RETRY_LATER
        self._metrics.record_stored(parsed.kind)
        if self._source_policy.mode == LOG and not self._source_policy.is_expected(
            address := self._source_policy.client_address(scope)
        ):
            self._metrics.unexpected_source.inc()
            fields = {"client": address[:MAX_LOGGED_ADDRESS_LENGTH], "account": account}
            self._rejection_log.warn(
                REJECTION_REASONS[UNEXPECTED_SOURCE], "callback taken from an unexpected address", **fields
            )
        return STORED

    def _record_rejection(self, reason: str, scope: Scope) -> None:
        """Who was refused and why; the account only when it is one of ours, for a stranger may write there anything."""
        self._metrics.record_rejected(reason)
        account = _parse_path(scope)[1]
        known_account = account if account in self._accounts else None
        self._rejection_log.warn(
            reason, client=self._source_policy.client_address(scope)[:MAX_LOGGED_ADDRESS_LENGTH], account=known_account
        )

    def _respond_to_probe(self, scope: Scope) -> StaticResponse:
        """Show that this listener knows the credential, without anything being sent that could be used again."""
        path_token, account = _parse_path(scope)
        nonce = next((value for name, value in scope["headers"] if name == b"thingspace-probe"), b"")
        if (
            not constant_time_equals(path_token, self._settings.path_token)
            or account not in self._accounts
            or not NONCE.fullmatch(nonce)
        ):
            return NOT_FOUND
        proof = self._credential.compute_proof(account, nonce.decode())
        return StaticResponse(
            200, json.dumps({"account": account, "proof": proof}).encode(), content_type=b"application/json"
        )


def _parse_path(scope: Scope) -> tuple[str, str]:
    """Path token and account, from the path as it was sent: an account may hold an encoded slash."""
    raw_path = scope["raw_path"].decode("ascii", "replace")
    segments = raw_path[len(PATH_PREFIX) :].split("/")
    return (unquote(segments[0]), unquote(segments[1])) if len(segments) == SEGMENT_COUNT else ("", "")


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    """The body; raises TooLarge as early as that is known."""
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
