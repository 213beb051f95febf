"""ThingSpace's face: every request below `/api`, checked in the order route, bearer, session, account, body."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Message, Receive, Scope, Send

from thingspace_provider.emulator.api.authentication import Identity
from thingspace_provider.emulator.api.operations import Call, Operations
from thingspace_provider.emulator.api.responses import Answer, Refused, xml_fault
from thingspace_provider.emulator.api.routes import WITHOUT_BEARER, WITHOUT_SESSION, Route, find
from thingspace_provider.emulator.platform.faults import Faults, Rule
from thingspace_provider.emulator.platform.journal import Journal
from thingspace_provider.emulator.platform.state import World
from thingspace_provider.emulator.platform.virtual_clock import Clock

BODY_BYTES = 1024 * 1024
BODYLESS = frozenset({204, 205, 304})
TRANSPORT = "thingspace.transport"
"""Key of the ASGI scope under which the server hands over the connection, for faults that cut it."""


class Gateway:
    """An ASGI application with the path prefix `/api`."""

    def __init__(
        self, world: World, clock: Clock, faults: Faults, journal: Journal, identity: Identity, operations: Operations
    ) -> None:
        self._world, self._clock, self._faults, self._journal = world, clock, faults, journal
        self._identity, self._operations = identity, operations
        self._stopping = asyncio.Event()

    def let_go(self) -> None:
        """Drop every connection that a fault holds."""
        self._stopping.set()
        self._stopping = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: read, judged, noted and answered, or spoilt by a fault."""
        path = scope["raw_path"].decode("latin-1").partition("?")[0]
        entry: dict[str, Any] = {"at": round(self._clock.now(), 3), "operation": "unrouted", "accountName": None}
        entry |= {"method": scope["method"], "path": path, "status": None, "errorCode": None, "fault": None}
        body = await _read(receive)
        rule: Rule | None = None
        route: Route | None = None
        call = Call("unrouted", body or b"")
        try:
            route, parameters = find(scope["method"], path.removeprefix("/api"))
            call = _call(route, parameters, scope, call.body)
            facts = self._facts(call)
            entry |= {"operation": call.operation, "accountName": facts["accountName"], "username": facts["username"]}
            rule = self._faults.take(call.operation, facts)
            if rule is None or _is_taken(rule):
                if rule is not None and rule.delay:
                    await self._held(receive, rule.delay)
                answer = self._handle(call) if body is not None else xml_fault(413)
            else:
                answer = rule.answer or Answer(0)
        except Refused as refusal:
            answer = refusal.answer
        if rule is not None and rule.answer is not None:
            answer = rule.answer
        cut = rule is not None and bool(rule.drop or rule.hang)
        entry |= {"status": 0 if cut else answer.status, "errorCode": answer.error_code}
        entry["fault"] = rule.number if rule is not None else None
        self._journal.call(entry)
        await self._reply(scope, receive, send, answer, rule)

    def _handle(self, call: Call) -> Answer:
        if call.operation not in WITHOUT_BEARER:
            self._identity.bearer(call.authorization)
        if call.operation not in WITHOUT_SESSION:
            call = replace(call, username=self._identity.session(call.session))
        return self._operations.by_name[call.operation](call)

    def _facts(self, call: Call) -> dict[str, str | None]:
        """What a fault can match and the journal shows, read without judging whether the request is right."""
        try:
            value = json.loads(call.body) if call.body else {}
        except (ValueError, RecursionError):
            value = {}
        given = {key: item for key, item in value.items() if isinstance(item, str)} if isinstance(value, dict) else {}
        session = self._world.sessions.get(call.session.lower())
        return {
            "accountName": call.account or given.get("accountName"),
            "serviceName": call.service or (given.get("name") if call.operation == "registerCallback" else None),
            "username": session.username if session else given.get("username") if call.operation == "login" else None,
            "next": call.next,
            "url": given.get("url"),
        }

    async def _reply(self, scope: Scope, receive: Receive, send: Send, answer: Answer, rule: Rule | None) -> None:
        transport = scope.get(TRANSPORT)
        if rule is not None and rule.hang:
            await self._held(receive, None)
        if rule is not None and (rule.drop or rule.hang) and transport is not None:
            transport.abort()
            await self._held(receive, None)  # until the server has noticed: else it would complain of no answer
            return
        body = answer.body
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        if answer.status not in BODYLESS:
            length = len(body) if rule is None or rule.truncate is None else max(len(body), rule.truncate + 1)
            headers.append((b"content-length", str(length).encode()))
        else:
            body = b""
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if rule is not None and rule.truncate is not None and transport is not None:
            await send({"type": "http.response.body", "body": body[: rule.truncate], "more_body": True})
            transport.close()
            return
        await send({"type": "http.response.body", "body": body})

    async def _held(self, receive: Receive, seconds: float | None) -> None:
        """Wait for the client to go, for the emulator to stop, or for so many virtual seconds."""
        gone: asyncio.Future[Message] = asyncio.ensure_future(_message(receive))
        stopping = asyncio.ensure_future(self._stopping.wait())
        over = asyncio.ensure_future(asyncio.wait((gone, stopping), return_when=asyncio.FIRST_COMPLETED))
        try:
            if seconds is None:
                await over
            else:
                await self._clock.wait(over, seconds)
        finally:
            for task in (over, gone, stopping):
                task.cancel()


async def _message(receive: Receive) -> Message:
    return await receive()


def _is_taken(rule: Rule) -> bool:
    """Whether the call has its effect although a fault applies to it."""
    if rule.answer is not None:
        return rule.taken
    return "before" not in {rule.drop, rule.hang}


def _call(route: Route, parameters: dict[str, str], scope: Scope, body: bytes) -> Call:
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=1000)
    return Call(
        operation=route.operation,
        body=body,
        account=parameters.get("account", ""),
        service=parameters.get("service", ""),
        next=query.get("next", [None])[0],
        authorization=headers.get(b"authorization"),
        session=headers.get(b"vz-m2m-token", ""),
    )


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or `None` if it is larger than any call needs; what is too much is thrown away as it comes."""
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= BODY_BYTES:
            chunks.append(chunk)
        else:
            chunks.clear()
        more = message.get("more_body", False)
    return b"".join(chunks) if size <= BODY_BYTES else None
