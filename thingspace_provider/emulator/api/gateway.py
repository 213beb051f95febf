"""Gateway: serves every call under `/api`. Checks route, access token, session, account and body, in this order."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Message, Receive, Scope, Send

from thingspace_provider.emulator.api.authentication import Authenticator
from thingspace_provider.emulator.api.operations import Operations, RoutedCall
from thingspace_provider.emulator.api.responses import ApiResponse, RequestRejected, fault_response, xml_error
from thingspace_provider.emulator.api.routes import WITHOUT_ACCESS_TOKEN, WITHOUT_SESSION, Route, match_route
from thingspace_provider.emulator.platform.faults import Fault, FaultRule, Faults
from thingspace_provider.emulator.platform.journal import Journal
from thingspace_provider.emulator.platform.state import PlatformState
from thingspace_provider.emulator.platform.virtual_clock import VirtualClock, format_time

MAX_BODY_BYTES = 1024 * 1024
BODYLESS = frozenset({204, 205, 304})
TRANSPORT = "thingspace.transport"
"""Key of the connection in the ASGI scope, for faults that cut it."""


class Gateway:
    """ASGI application for the paths under `/api`."""

    def __init__(
        self,
        state: PlatformState,
        clock: VirtualClock,
        faults: Faults,
        journal: Journal,
        authenticator: Authenticator,
        operations: Operations,
    ) -> None:
        self._state, self._clock, self._faults, self._journal = state, clock, faults, journal
        self._authenticator, self._operations = authenticator, operations
        self._stopping = asyncio.Event()

    def release_held_requests(self) -> None:
        """Close every connection that a fault holds open."""
        self._stopping.set()
        self._stopping = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Execute one call, apply a fault to it, record it in the journal, and respond."""
        path = scope["raw_path"].decode("latin-1").partition("?")[0]
        entry: dict[str, Any] = {"at": format_time(self._clock.now()), "operation": "unrouted", "accountName": None}
        entry |= {"method": scope["method"], "path": path, "status": None, "errorCode": None, "fault": None}
        body = await _read_body(receive)
        fault: Fault | None = None
        route: Route | None = None
        call = RoutedCall("unrouted", body or b"")
        try:
            route, parameters = match_route(scope["method"], path.removeprefix("/api"))
            call = _parse_call(route, parameters, scope, call.body)
            fields = self._match_fields(call)
            entry |= {"operation": call.operation, "accountName": fields["accountName"], "username": fields["username"]}
            fault = self._faults.match(call.operation, fields)
            rule = fault.rule if fault else None
            if rule is None or rule.has_effect:
                if rule is not None and rule.delay_seconds:
                    await self._wait_for_disconnect(receive, rule.delay_seconds)
                response = self._handle(call) if body is not None else xml_error(413)
            else:
                response = ApiResponse(0)
        except RequestRejected as error:
            response = error.response
        rule = fault.rule if fault else None
        if rule is not None and rule.response is not None:
            response = fault_response(rule.response)
        cut = rule is not None and bool(rule.drop or rule.hang)
        entry |= {"status": 0 if cut else response.status, "errorCode": response.error_code}
        entry["fault"] = fault.number if fault else None
        self._journal.record_call(entry)
        await self._reply(scope, receive, send, response, rule)

    def _handle(self, call: RoutedCall) -> ApiResponse:
        if call.operation not in WITHOUT_ACCESS_TOKEN:
            self._authenticator.check_access_token(call.authorization)
        if call.operation not in WITHOUT_SESSION:
            call = replace(call, username=self._authenticator.check_session(call.session))
        return self._operations.by_name[call.operation](call)

    def _match_fields(self, call: RoutedCall) -> dict[str, str | None]:
        """Extract the fields for faults and the journal, also from an invalid request."""
        try:
            value = json.loads(call.body) if call.body else {}
        except (ValueError, RecursionError):
            value = {}
        given = {key: item for key, item in value.items() if isinstance(item, str)} if isinstance(value, dict) else {}
        session = self._state.sessions.get(call.session.lower())
        return {
            "accountName": call.account or given.get("accountName"),
            "serviceName": call.service or (given.get("name") if call.operation == "registerCallback" else None),
            "username": session.username if session else given.get("username") if call.operation == "login" else None,
            "next": call.next,
            "url": given.get("url"),
        }

    async def _reply(
        self, scope: Scope, receive: Receive, send: Send, response: ApiResponse, rule: FaultRule | None
    ) -> None:
        transport = scope.get(TRANSPORT)
        if rule is not None and rule.hang:
            await self._wait_for_disconnect(receive, None)
        if rule is not None and (rule.drop or rule.hang) and transport is not None:
            transport.abort()
            # Uvicorn logs an error if the application returns without a response before it has seen the disconnect.
            await self._wait_for_disconnect(receive, None)
            return
        body = response.body
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        if response.status not in BODYLESS:
            length = (
                len(body) if rule is None or rule.truncate_bytes is None else max(len(body), rule.truncate_bytes + 1)
            )
            headers.append((b"content-length", str(length).encode()))
        else:
            body = b""
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if rule is not None and rule.truncate_bytes is not None and transport is not None:
            await send({"type": "http.response.body", "body": body[: rule.truncate_bytes], "more_body": True})
            transport.close()
            return
        await send({"type": "http.response.body", "body": body})

    async def _wait_for_disconnect(self, receive: Receive, seconds: float | None) -> None:
        """Wait until the client disconnects, the emulator stops, or this many virtual seconds have passed."""
        disconnected: asyncio.Future[Message] = asyncio.ensure_future(_receive_message(receive))
        stopping = asyncio.ensure_future(self._stopping.wait())
        ended = asyncio.ensure_future(asyncio.wait((disconnected, stopping), return_when=asyncio.FIRST_COMPLETED))
        try:
            if seconds is None:
                await ended
            else:
                await self._clock.wait(ended, seconds)
        finally:
            for task in (ended, disconnected, stopping):
                task.cancel()


async def _receive_message(receive: Receive) -> Message:
    return await receive()


def _parse_call(route: Route, parameters: dict[str, str], scope: Scope, body: bytes) -> RoutedCall:
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=1000)
    return RoutedCall(
        operation=route.operation,
        body=body,
        account=parameters.get("account", ""),
        service=parameters.get("service", ""),
        next=query.get("next", [None])[0],
        authorization=headers.get(b"authorization"),
        session=headers.get(b"vz-m2m-token", ""),
    )


async def _read_body(receive: Receive) -> bytes | None:
    """Read a body. Returns `None` if it is too large; an excess is discarded while it arrives."""
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            chunks.append(chunk)
        else:
            chunks.clear()
        more = message.get("more_body", False)
    return b"".join(chunks) if size <= MAX_BODY_BYTES else None
