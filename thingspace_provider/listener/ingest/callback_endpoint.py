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
from thingspace_provider.listener.ingest.callback_auth import Credential, same
from thingspace_provider.listener.ingest.group_commit import Inbox, Refused
from thingspace_provider.listener.ingest.responses import NOT_FOUND, Answer
from thingspace_provider.listener.ingest.source_addresses import ENFORCE, LOG, Sources
from thingspace_provider.listener.observability.json_log import Refusals
from thingspace_provider.listener.observability.metrics import Metrics
from thingspace_provider.listener.settings.listener_settings import Settings
from thingspace_provider.listener.store.base import Arrival

LARGEST = 8192  # bytes of a body; ThingSpace's have some hundred
ANSWER_SECONDS = 1.8  # ThingSpace tries again after about 4 s without an answer; within 2 is what we promise
PREFIX = "/callbacks/"
SEGMENTS = 2
LONGEST_SOURCE = 60  # characters that are logged of what may be no address
NONCE = re.compile(rb"[A-Za-z0-9_-]{16,128}")
STORED = Answer(200)
TOO_LARGE = Answer(413, b"a callback body has 8192 bytes at most", close=True)
ELSEWHERE = Answer(NOT_FOUND.status, b"not found", close=True)  # looks to a stranger like everything else
MALFORMED = Answer(400, b"the body is not a JSON object")
FORBIDDEN = Answer(403, b"wrong user name or password")
LATER = Answer(503, b"not stored: come again", ((b"retry-after", b"1"),))
REASONS = {
    TOO_LARGE: "too large",
    NOT_FOUND: "not found",
    ELSEWHERE: "not an expected source address",
    MALFORMED: "malformed",
    FORBIDDEN: "wrong user name or password",
    LATER: "not stored in time",
}


class TooLarge(Exception):
    """More bytes than a callback may have."""


class Gone(Exception):
    """The sender left before the body was complete."""


class Door:
    """Lets in what comes from ThingSpace. `settings` may be replaced while it runs.

    `need` is told the account for which something was refused that may now be in ThingSpace's queue.
    """

    def __init__(self, settings: Settings, inbox: Inbox, metrics: Metrics, need: Callable[[str], None]) -> None:
        self._inbox = inbox
        self._need = need
        self._metrics = metrics
        self._refusals = Refusals()
        self.settings = settings

    @property
    def settings(self) -> Settings:
        """What it admits."""
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._settings = settings
        self._accounts = frozenset(settings.accounts)
        self._credential = Credential(settings.username, settings.password, settings.previous_password)
        self._sources = Sources(settings.sources, settings.source_addresses, settings.trusted_hops)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request to a path under PREFIX."""
        try:
            if scope["method"] == "POST":
                answer = await self._take(scope, receive)
                if answer is not STORED:
                    self._note(REASONS[answer], scope)
            elif scope["method"] == "GET":
                answer = self._prove(scope)
            else:
                answer = NOT_FOUND
        except Gone:
            return
        await answer(scope, receive, send)

    async def _take(self, scope: Scope, receive: Receive) -> Answer:
        arrived, begun = time.time_ns() // 1000, time.monotonic()
        token, account = _segments(scope)
        if self._sources.mode == ENFORCE and not self._sources.expect(self._sources.of(scope)):
            if same(token, self._settings.path_token):
                self._need(account)
            return ELSEWHERE
        try:
            raw = await _whole(scope, receive)
        except TooLarge:
            return TOO_LARGE
        if not same(token, self._settings.path_token):
            return NOT_FOUND
        try:
            body = callback_parser.read(raw)
        except callback_parser.Malformed:
            return MALFORMED
        if account not in self._accounts:
            return NOT_FOUND
        if not self._credential.admits(body.username, body.password):
            self._need(account)
            return FORBIDDEN
        try:
            said = body.callback()
            await self._inbox.keep(Arrival(account, arrived, said), ANSWER_SECONDS - (time.monotonic() - begun))
        except Refused:
            self._need(account)
            return LATER
        self._metrics.stored(said.kind)
        if self._sources.mode == LOG and not self._sources.expect(source := self._sources.of(scope)):
            self._metrics.unexpected_source.inc()
            said_of = {"client": source[:LONGEST_SOURCE], "account": account}
            self._refusals.note(REASONS[ELSEWHERE], "callback taken from an unexpected address", **said_of)
        return STORED

    def _note(self, reason: str, scope: Scope) -> None:
        """Who was refused and why; the account only when it is one of ours, for a stranger may write there anything."""
        self._metrics.refused(reason)
        account = _segments(scope)[1]
        known = account if account in self._accounts else None
        self._refusals.note(reason, client=self._sources.of(scope)[:LONGEST_SOURCE], account=known)

    def _prove(self, scope: Scope) -> Answer:
        """Show that this listener knows the credential, without anything being sent that could be used again."""
        token, account = _segments(scope)
        nonce = next((value for name, value in scope["headers"] if name == b"thingspace-probe"), b"")
        if not same(token, self._settings.path_token) or account not in self._accounts or not NONCE.fullmatch(nonce):
            return NOT_FOUND
        proof = self._credential.proof(account, nonce.decode())
        return Answer(200, json.dumps({"account": account, "proof": proof}).encode(), kind=b"application/json")


def _segments(scope: Scope) -> tuple[str, str]:
    """Path token and account, from the path as it was sent: an account may hold an encoded slash."""
    raw = scope["raw_path"].decode("ascii", "replace")
    parts = raw[len(PREFIX) :].split("/")
    return (unquote(parts[0]), unquote(parts[1])) if len(parts) == SEGMENTS else ("", "")


async def _whole(scope: Scope, receive: Receive) -> bytes:
    """The body; raises TooLarge as early as that is known."""
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or int(value[:10]) > LARGEST):
            raise TooLarge
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body += message.get("body", b"")
        if len(body) > LARGEST:
            raise TooLarge
        if not message.get("more_body"):
            return bytes(body)
