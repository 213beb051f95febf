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
    LARGEST_ID,
    LIMIT,
    MOST,
    Conflict,
    MessagesApi,
    NotFound,
    number,
    reject_unknown_parameters,
)
from thingspace_provider.listener.forwarding.service import ForwardingService
from thingspace_provider.listener.message_json import message_to_json
from thingspace_provider.listener.store.base import WAITING, Delivery, OutboxEntry, Store, StoredMessage
from thingspace_provider.listener.timestamps import format_timestamp

SKIPPED = "skipped"  # the sink is not for such callbacks


class DeliveriesApi:
    """Answers in Reading's threads, with its token."""

    def __init__(self, store: Store, reading: MessagesApi, forwarding: ForwardingService) -> None:
        self._store = store
        self._reading = reading
        self._forwarding = forwarding

    async def show_message(self, request: Request) -> Response:
        """One message and its deliveries; 404 when there is none of that id."""
        return await self._reading.respond(request, lambda: _json(self._journey(_id(request))))

    async def dead_letters(self, request: Request) -> Response:
        """What was given up."""
        return await self._reading.respond(request, lambda: _json(self._dead_letters(request.query_params)))

    async def retry(self, request: Request) -> Response:
        """Let one dead letter wait again, or all; 404 when there is none."""
        outbox = self._store.outbox
        answer = await self._reading.respond(
            request, lambda: self._change_dead_letters(request, "retried", outbox.retry)
        )
        self._forwarding.notify()
        return answer

    async def discard(self, request: Request) -> Response:
        """Give one dead letter up for good, or all; 404 when there is none, 409 when a listener serves what waits."""
        return await self._reading.respond(
            request,
            lambda: self._change_dead_letters(
                request, "discarded", partial(self._discard, "sink" in request.query_params)
            ),
        )

    def _journey(self, wanted: int) -> dict[str, Any]:
        found = self._store.delivery_history(wanted)
        if found is None:
            raise NotFound(f"there is no message {wanted}")
        stored = found.stored
        return {
            **message_to_json(stored, include_body=True),
            "storedAt": None if stored.stored_at is None else format_timestamp(stored.stored_at),
            "deliveries": [self._delivery(stored, delivery) for delivery in found.deliveries],
        }

    def _delivery(self, stored: StoredMessage, delivery: Delivery) -> dict[str, Any]:
        wanted = self._forwarding.accepts(delivery.sink, stored)
        waits = delivery.state == WAITING
        return {
            "sink": delivery.sink,
            "state": delivery.state if wanted else SKIPPED,
            "attempts": delivery.attempts,
            "reason": (self._forwarding.sink_error(delivery.sink) if waits else None) or delivery.last_error,
            "changedAt": format_timestamp(delivery.updated_at) if delivery.updated_at else None,
            "dueAt": format_timestamp(delivery.next_attempt_at) if waits and delivery.next_attempt_at else None,
        }

    def _dead_letters(self, parameters: QueryParams) -> dict[str, Any]:
        reject_unknown_parameters(parameters, ("sink", "after", "limit"))
        limit = number(parameters, "limit", LIMIT, 1, MOST)
        after = number(parameters, "after", 0, 0, LARGEST_ID)
        found: list[OutboxEntry] = []
        for sink in self._sinks(parameters):
            found += self._store.outbox.dead_letters(sink, limit, after)
        found.sort(key=lambda parcel: (parcel.stored.id, parcel.delivery.sink))
        # A message that several sinks gave up is not torn apart, because the cursor is its id.
        last = found[limit - 1].stored.id if len(found) >= limit else LARGEST_ID
        page = [parcel for parcel in found if parcel.stored.id <= last]
        cursor = str(page[-1].stored.id) if page else parameters.get("after")
        return {"deadLetters": [_dead_letter(parcel) for parcel in page], "next": cursor}

    def _discard(self, by_name: bool, sink: str, ids: list[int] | None) -> int:
        outbox = self._store.outbox
        served = outbox.has_active_listener(sink)
        count = outbox.discard(sink, ids, waiting=by_name and not served)
        waits = sum(backlog.pending for backlog in outbox.backlogs() if backlog.sink == sink)
        if by_name and served and not ids and not count and waits:
            raise Conflict(
                f"{waits} wait for {sink}, which a listener on this store names, and none is a dead letter: nothing "
                f"was discarded. To discard what waits, take {sink} out of the settings of every listener, restart "
                "them, and ask again after a minute"
            )
        return count

    def _change_dead_letters(
        self, request: Request, done: str, settle: Callable[[str, list[int] | None], int]
    ) -> bytes:
        reject_unknown_parameters(request.query_params, ("sink",))
        ids = [_id(request)] if "id" in request.path_params else None
        count = sum(settle(sink, ids) for sink in self._sinks(request.query_params))
        if ids and not count:
            raise NotFound(f"message {ids[0]} is no dead letter")
        return _json({done: count})

    def _sinks(self, parameters: QueryParams) -> list[str]:
        asked = parameters.get("sink")
        known = [backlog.sink for backlog in self._store.outbox.backlogs()]
        if asked is not None and asked not in known:
            raise NotFound(f"there is no sink {asked}: known are {', '.join(known) or 'none'}")
        return known if asked is None else [asked]


def _dead_letter(parcel: OutboxEntry) -> dict[str, Any]:
    delivery = parcel.delivery
    return {
        "sink": delivery.sink,
        "reason": delivery.last_error,
        "attempts": delivery.attempts,
        "givenUpAt": format_timestamp(delivery.updated_at) if delivery.updated_at else None,
        "message": message_to_json(parcel.stored, include_body=True),
    }


def _id(request: Request) -> int:
    text = request.path_params["id"]
    if not (text.isascii() and text.isdigit() and len(text) < len(str(LARGEST_ID))):
        raise NotFound(f"there is no message {text}")
    return int(text)


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()
