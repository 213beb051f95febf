"""Messages API, `GET /v1/messages`. Requires the bearer token.

The response is `{"messages": […], "next": cursor or null}` in the order of storage. Pass `next` as `after` to get the
later messages. It is the id of the last message; without messages it is the `after` of the request. So a reader that
always passes the last `next` gets every message once, also those that are stored meanwhile. If `next` is null, repeat
the request without `after`. A response with fewer messages than `limit` has reached the end.

| Parameter | Selects |
|---|---|
| `after`, `limit` | the oldest messages after a cursor |
| `newest`, `before` | the newest messages, or the newest before an id |
| `account`, `kind` | `kind` is `text` by default; `all` is any |
| `device` | an identifier, as `5551230001` or `mdn:5551230001` |
| `since`, `until` | receive time, as `2026-03-01T08:15:30Z` or `2026-03-01`, both inclusive |
| `contains` | messages that contain this text; the case of ASCII letters is ignored |

`GET /v1/message-counts` takes the parameters from `account` on, and `bucketSeconds`. The response is
`{"since", "until", "bucketSeconds", "total", "counts": […]}` with one count for each bucket of that length, empty ones
included. `since` is rounded down to a multiple of the length. The default is the last day in buckets of 1800 seconds.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from thingspace_provider.listener.ingest.callback_auth import constant_time_equals
from thingspace_provider.listener.message_json import message_to_json
from thingspace_provider.listener.model import KINDS, TEXT, MessageQuery, StoredMessage
from thingspace_provider.listener.store.base import Store, StoreError
from thingspace_provider.listener.timestamps import format_timestamp, parse_timestamp

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
MAX_ID = 2**63 - 1
DEFAULT_BUCKET_SECONDS, MAX_BUCKETS = 1800, 1000
FILTERS = ("account", "kind", "device", "since", "until", "contains")
PARAMETERS = ("after", "limit", "newest", "before", *FILTERS)
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
DAY_US = 24 * 3600 * 1_000_000


class InvalidParameter(Exception):
    """A parameter is invalid; the text names it and a valid value."""


class NotFound(Exception):
    """The requested object does not exist."""


class Conflict(Exception):
    """The current state does not permit the request; the text has the reason and a hint."""


class MessagesApi:
    """Reads in threads of its own, so that readers delay no callback. `api_token` can be replaced at run time."""

    def __init__(self, store: Store, api_token: str) -> None:
        self._store = store
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="reading")
        self.api_token = api_token

    async def list_messages(self, request: Request) -> Response:
        """Respond with 200, 400 (invalid parameter), 401 (invalid token) or 503 (store unavailable)."""
        return await self.respond(
            request, lambda: json.dumps(build_page(self._store.find, request.query_params), ensure_ascii=False).encode()
        )

    async def count_messages(self, request: Request) -> Response:
        """Respond with the number of messages in each bucket of time, or as `list_messages`."""
        return await self.respond(
            request, lambda: json.dumps(build_counts(self._store.count_by_time, request.query_params)).encode()
        )

    async def respond(self, request: Request, build_content: Callable[[], bytes]) -> Response:
        """Check the token, build the content in a thread, and respond. The exceptions above become error responses."""
        if not self._is_authorized(request.headers.get("authorization", "")):
            body = {"error": "a bearer token is needed: the listener's apiToken"}
            return JSONResponse(body, 401, {"WWW-Authenticate": "Bearer"})
        try:
            content = await asyncio.get_running_loop().run_in_executor(self._executor, build_content)
        except InvalidParameter as error:
            return JSONResponse({"error": str(error)}, 400)
        except NotFound as error:
            return JSONResponse({"error": str(error)}, 404)
        except Conflict as error:
            return JSONResponse({"error": str(error)}, 409)
        except StoreError:
            return JSONResponse({"error": "the store cannot be read now: retry later"}, 503)
        return Response(content, media_type="application/json", headers={"Cache-Control": "no-store"})

    def close(self) -> None:
        """End the threads."""
        self._executor.shutdown()

    def _is_authorized(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        return (
            scheme.lower() == "bearer" and constant_time_equals(token.strip(), self.api_token) and self.api_token != ""
        )


def build_page(find: Callable[[MessageQuery], list[StoredMessage]], parameters: QueryParams) -> dict[str, Any]:
    """Return the response to a request with these parameters. Raises InvalidParameter and StoreError."""
    reject_unknown_parameters(parameters, PARAMETERS)
    messages = find(_parse_query(parameters))
    cursor = str(messages[-1].id) if messages else parameters.get("after")
    documents = [message_to_json(message, include_body="kind" in parameters) for message in messages]
    return {"messages": documents, "next": cursor}


def build_counts(
    count_by_time: Callable[[MessageQuery, int], dict[int, int]], parameters: QueryParams
) -> dict[str, Any]:
    """Return the response of `/v1/message-counts`. Raises InvalidParameter and StoreError."""
    reject_unknown_parameters(parameters, (*FILTERS, "bucketSeconds"))
    bucket_us = parse_int(parameters, "bucketSeconds", DEFAULT_BUCKET_SECONDS, 1, DAY_US // 1_000_000) * 1_000_000
    query = _parse_query(parameters)
    until = query.received_until if query.received_until is not None else time.time_ns() // 1000
    since = (query.received_from if query.received_from is not None else until - DAY_US) // bucket_us * bucket_us
    buckets = (until - since) // bucket_us + 1
    if not 0 < buckets <= MAX_BUCKETS:
        raise InvalidParameter(f"the time from since to until must be 1 to {MAX_BUCKETS} times bucketSeconds")
    counts = count_by_time(replace(query, received_from=since, received_until=until), bucket_us)
    return {
        "since": format_timestamp(since),
        "until": format_timestamp(until),
        "bucketSeconds": bucket_us // 1_000_000,
        "total": sum(counts.values()),
        "counts": [counts.get(bucket, 0) for bucket in range(buckets)],
    }


def _parse_query(parameters: QueryParams) -> MessageQuery:
    kind = parameters.get("kind", TEXT)
    if kind not in (*KINDS, "all"):
        raise InvalidParameter(f"kind must be one of {', '.join(KINDS)} or all")
    if "newest" in parameters and ("after" in parameters or "limit" in parameters):
        raise InvalidParameter("newest cannot be combined with after or limit")
    newest = "newest" in parameters
    device_kind, colon, device = parameters.get("device", "").rpartition(":")
    if colon and not device:
        raise InvalidParameter("device must be an identifier, as 5551230001 or mdn:5551230001")
    return MessageQuery(
        limit=parse_int(parameters, "newest" if newest else "limit", DEFAULT_LIMIT, 1, MAX_LIMIT),
        after=parse_int(parameters, "after", 0, 0, MAX_ID),
        before=parse_int(parameters, "before", 1, 1, MAX_ID) if "before" in parameters else None,
        account=parameters.get("account"),
        kind=None if kind == "all" else kind,
        device=device or None,
        device_kind=device_kind or None,
        received_from=parse_time(parameters, "since"),
        received_until=parse_time(parameters, "until"),
        contains=parameters.get("contains") or None,
        newest=newest,
    )


def parse_time(parameters: QueryParams, name: str) -> int | None:
    """Parse a time parameter into microseconds after 1970. Without a zone it is UTC. Raises InvalidParameter.

    `since` a day begins with its start, `until` a day includes its end.
    """
    if name not in parameters:
        return None
    text = parameters[name].replace(" ", "+")  # an unencoded plus sign arrives as a space
    try:
        if not DATE.fullmatch(text):
            return parse_timestamp(text)
        start = parse_timestamp(f"{text}T00:00:00Z")
    except ValueError:
        raise InvalidParameter(f"{name} must be a time as 2026-03-01T08:15:30Z or a day as 2026-03-01") from None
    return start + DAY_US - 1 if name == "until" else start


def reject_unknown_parameters(parameters: QueryParams, known: Sequence[str]) -> None:
    """Raise InvalidParameter for an unknown parameter."""
    for name in parameters:
        if name not in known:
            raise InvalidParameter(f"{name} is not a parameter: known are {', '.join(known)}")


def parse_int(parameters: QueryParams, name: str, default: int, min_value: int, max_value: int) -> int:
    """Parse a whole number in a range. Raises InvalidParameter."""
    text = parameters.get(name, str(default))
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID)) else -1
    if not min_value <= value <= max_value:
        expected = "the next of an earlier response" if name == "after" else f"a number from {min_value} to {max_value}"
        raise InvalidParameter(f"{name} must be {expected}")
    return value
