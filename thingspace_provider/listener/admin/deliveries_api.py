"""What became of a message, and the dead letters: for whoever has the bearer token.

| request | answer |
|---|---|
| `GET /v1/messages/{id}` | the message, when it was stored, and `deliveries`: how far it is with each sink |
| `GET /v1/dead-letters?sink=&after=&limit=` | `{"deadLetters": […], "next": cursor or null}`, oldest first |
| `POST /v1/dead-letters/{id}/retry?sink=` | `{"retried": n}`: delivered anew, without `sink` to all that gave it up |
| `POST /v1/dead-letters/retry?sink=` | the same for all dead letters |
| `POST …/discard?sink=`, spelled as retry | `{"discarded": n}`: given up for good |

What still waits for a sink is discarded, too, when that sink is asked for and no listener on the store names it; 409
says that one does, and that there were no dead letters.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from thingspace_provider.listener.admin.messages_api import (
    DEFAULT_LIMIT,
    MAX_ID,
    MAX_LIMIT,
    Conflict,
    MessagesApi,
    NotFound,
    parse_int,
    reject_unknown_parameters,
)
from thingspace_provider.listener.forwarding.service import ForwardingService
from thingspace_provider.listener.message_json import message_to_json
from thingspace_provider.listener.store.base import PENDING, Delivery, OutboxEntry, Store, StoredMessage
from thingspace_provider.listener.timestamps import format_timestamp

SKIPPED = "skipped"  # the sink is not for such callbacks


class DeliveriesApi:
    """Answers in Reading's threads, with its token."""

    def __init__(self, store: Store, messages_api: MessagesApi, forwarding_service: ForwardingService) -> None:
        self._store = store
        self._messages_api = messages_api
        self._forwarding_service = forwarding_service

    async def show_message(self, request: Request) -> Response:
        """One message and its deliveries; 404 when there is none of that id."""
        return await self._messages_api.respond(request, lambda: _to_json(self._build_history(_parse_id(request))))

    async def list_dead_letters(self, request: Request) -> Response:
        """What was given up."""
        return await self._messages_api.respond(
            request, lambda: _to_json(self._build_dead_letter_page(request.query_params))
        )

    async def retry(self, request: Request) -> Response:
        """Let one dead letter wait again, or all; 404 when there is none."""
        outbox = self._store.outbox
        response = await self._messages_api.respond(
            request, lambda: self._change_dead_letters(request, "retried", outbox.retry)
        )
        self._forwarding_service.notify()
        return response

    async def discard(self, request: Request) -> Response:
        """Give one dead letter up for good, or all; 404 when there is none, 409 when a listener serves what waits."""
        return await self._messages_api.respond(
            request,
            lambda: self._change_dead_letters(
                request, "discarded", partial(self._discard, "sink" in request.query_params)
            ),
        )

    def _build_history(self, message_id: int) -> dict[str, Any]:
        history = self._store.delivery_history(message_id)
        if history is None:
            raise NotFound(f"there is no message {message_id}")
        message = history.message
        return {
            **message_to_json(message, include_body=True),
            "storedAt": None if message.stored_at is None else format_timestamp(message.stored_at),
            "deliveries": [self._delivery_to_json(message, delivery) for delivery in history.deliveries],
        }

    def _delivery_to_json(self, message: StoredMessage, delivery: Delivery) -> dict[str, Any]:
        is_accepted = self._forwarding_service.accepts(delivery.sink, message)
        is_pending = delivery.state == PENDING
        return {
            "sink": delivery.sink,
            "state": delivery.state if is_accepted else SKIPPED,
            "attempts": delivery.attempts,
            "lastError": (self._forwarding_service.sink_error(delivery.sink) if is_pending else None)
            or delivery.last_error,
            "updatedAt": format_timestamp(delivery.updated_at) if delivery.updated_at else None,
            "nextAttemptAt": format_timestamp(delivery.next_attempt_at)
            if is_pending and delivery.next_attempt_at
            else None,
        }

    def _build_dead_letter_page(self, parameters: QueryParams) -> dict[str, Any]:
        reject_unknown_parameters(parameters, ("sink", "after", "limit"))
        limit = parse_int(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
        after = parse_int(parameters, "after", 0, 0, MAX_ID)
        entries: list[OutboxEntry] = []
        for sink in self._select_sinks(parameters):
            entries += self._store.outbox.dead_letters(sink, limit, after)
        entries.sort(key=lambda entry: (entry.message.id, entry.delivery.sink))
        # A message that several sinks gave up is not torn apart, because the cursor is its id.
        last_id = entries[limit - 1].message.id if len(entries) >= limit else MAX_ID
        page = [parcel for parcel in entries if parcel.message.id <= last_id]
        cursor = str(page[-1].message.id) if page else parameters.get("after")
        return {"deadLetters": [_dead_letter_to_json(parcel) for parcel in page], "next": cursor}

    def _discard(self, by_name: bool, sink: str, ids: list[int] | None) -> int:
        outbox = self._store.outbox
        is_active = outbox.has_active_listener(sink)
        count = outbox.discard(sink, ids, include_pending=by_name and not is_active)
        pending = sum(backlog.pending for backlog in outbox.backlogs() if backlog.sink == sink)
        if by_name and is_active and not ids and not count and pending:
            raise Conflict(
                f"{pending} wait for {sink}, which a listener on this store names, and none is a dead letter: nothing "
                f"was discarded. To discard what waits, take {sink} out of the settings of every listener, restart "
                "them, and ask again after a minute"
            )
        return count

    def _change_dead_letters(
        self, request: Request, result_key: str, change: Callable[[str, list[int] | None], int]
    ) -> bytes:
        reject_unknown_parameters(request.query_params, ("sink",))
        ids = [_parse_id(request)] if "id" in request.path_params else None
        count = sum(change(sink, ids) for sink in self._select_sinks(request.query_params))
        if ids and not count:
            raise NotFound(f"message {ids[0]} is no dead letter")
        return _to_json({result_key: count})

    def _select_sinks(self, parameters: QueryParams) -> list[str]:
        requested = parameters.get("sink")
        known = [backlog.sink for backlog in self._store.outbox.backlogs()]
        if requested is not None and requested not in known:
            raise NotFound(f"there is no sink {requested}: known are {', '.join(known) or 'none'}")
        return known if requested is None else [requested]


def _dead_letter_to_json(entry: OutboxEntry) -> dict[str, Any]:
    delivery = entry.delivery
    return {
        "sink": delivery.sink,
        "lastError": delivery.last_error,
        "attempts": delivery.attempts,
        "deadLetteredAt": format_timestamp(delivery.updated_at) if delivery.updated_at else None,
        "message": message_to_json(entry.message, include_body=True),
    }


def _parse_id(request: Request) -> int:
    text = request.path_params["id"]
    if not (text.isascii() and text.isdigit() and len(text) < len(str(MAX_ID))):
        raise NotFound(f"there is no message {text}")
    return int(text)


def _to_json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()
