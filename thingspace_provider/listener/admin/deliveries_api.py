"""Deliveries API: the delivery history of a message, and dead letters. Requires the bearer token.

| Request | Response |
|---|---|
| `GET /v1/messages/{id}` | the message with `storedAt` and `deliveries`, one for each sink |
| `GET /v1/dead-letters?sink=&after=&limit=` | `{"deadLetters": […], "next": cursor or null}`, oldest first |
| `POST /v1/dead-letters/{id}/retry?sink=` | `{"retried": n}`; without `sink`, for all sinks |
| `POST /v1/dead-letters/retry?sink=` | the same for all dead letters |
| `POST …/discard?sink=`, as retry | `{"discarded": n}` |

`POST /v1/dead-letters/discard?sink=` also discards the pending entries of a sink that no listener on the store
configures. If a listener does, and the sink has no dead letters, the response is 409.
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
from thingspace_provider.listener.message_json import history_to_json, message_to_json
from thingspace_provider.listener.model import PENDING, OutboxEntry
from thingspace_provider.listener.store.base import Store
from thingspace_provider.listener.timestamps import format_timestamp

SKIPPED = "skipped"  # the sink does not forward this kind of message


class DeliveriesApi:
    """Deliveries and dead letters. Uses the threads and the token of MessagesApi."""

    def __init__(self, store: Store, messages_api: MessagesApi, forwarding_service: ForwardingService) -> None:
        self._store = store
        self._messages_api = messages_api
        self._forwarding_service = forwarding_service

    async def show_message(self, request: Request) -> Response:
        """Respond with a message and its deliveries, or with 404."""
        return await self._messages_api.respond(request, lambda: _to_json(self._build_history(_parse_id(request))))

    async def list_dead_letters(self, request: Request) -> Response:
        """Respond with one page of dead letters."""
        return await self._messages_api.respond(
            request, lambda: _to_json(self._build_dead_letter_page(request.query_params))
        )

    async def retry(self, request: Request) -> Response:
        """Retry one dead letter, or all. Responds with 404 if there is none of this id."""
        outbox = self._store.outbox
        response = await self._messages_api.respond(
            request, lambda: self._change_dead_letters(request, "retried", outbox.retry)
        )
        self._forwarding_service.notify()
        return response

    async def discard(self, request: Request) -> Response:
        """Discard one dead letter, or all. Responds with 404 for an unknown id, with 409 for an active sink."""
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
        document = history_to_json(history)
        for delivery, entry in zip(history.deliveries, document["deliveries"], strict=True):
            if not self._forwarding_service.accepts(delivery.sink, history.message):
                entry["state"] = SKIPPED
            if delivery.state == PENDING:
                entry["lastError"] = self._forwarding_service.sink_error(delivery.sink) or delivery.last_error
        return document

    def _build_dead_letter_page(self, parameters: QueryParams) -> dict[str, Any]:
        reject_unknown_parameters(parameters, ("sink", "after", "limit"))
        limit = parse_int(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
        after = parse_int(parameters, "after", 0, 0, MAX_ID)
        entries: list[OutboxEntry] = []
        for sink in self._select_sinks(parameters):
            entries += self._store.outbox.dead_letters(sink, limit, after)
        entries.sort(key=lambda entry: (entry.message.id, entry.delivery.sink))
        # A page holds all dead letters of its last message, because the cursor is a message id.
        last_id = entries[limit - 1].message.id if len(entries) >= limit else MAX_ID
        page = [entry for entry in entries if entry.message.id <= last_id]
        cursor = str(page[-1].message.id) if page else parameters.get("after")
        return {"deadLetters": [_dead_letter_to_json(entry) for entry in page], "next": cursor}

    def _discard(self, by_name: bool, sink: str, ids: list[int] | None) -> int:
        outbox = self._store.outbox
        is_active = outbox.has_active_listener(sink)
        count = outbox.discard(sink, ids, include_pending=by_name and not is_active)
        pending = sum(backlog.pending for backlog in outbox.backlogs() if backlog.sink == sink)
        if by_name and is_active and not ids and not count and pending:
            raise Conflict(
                f"{sink} has no dead letters, and its {pending} pending entries are not discarded, because a listener "
                f"on this store has the sink. Remove {sink} from the settings of every listener, restart them, and "
                "repeat this after a minute"
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
