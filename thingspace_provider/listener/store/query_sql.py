"""SQL that SQLite and PostgreSQL share. Values have named placeholders, as `:limit`."""

from __future__ import annotations

import json
from typing import Any

from thingspace_provider.listener.model import MessageQuery

MESSAGE_COLUMNS = (
    "id, account, kind, devices, text, request_id, received_at, stored_at, duplicate_of, body, trace_context"
)
DELIVERY_COLUMNS = "sink, state, attempts, last_error, updated_at, next_attempt_at"
DELIVERY_COLUMN_COUNT = 6
MESSAGE = f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE id = :id"  # noqa: S608  names only
DELIVERIES = f"SELECT {DELIVERY_COLUMNS} FROM outbox WHERE message_id = :id ORDER BY sink"  # noqa: S608  names only
ENTRIES = (
    f"SELECT {DELIVERY_COLUMNS}, {MESSAGE_COLUMNS} FROM outbox JOIN messages ON id = message_id WHERE sink = :sink"  # noqa: S608  names only
)
DEAD_LETTERS = f"{ENTRIES} AND state = 'dead_letter' AND message_id > :after ORDER BY message_id LIMIT :limit"
BACKLOGS = """
SELECT sink, pending, (SELECT received_at FROM messages WHERE id = oldest), dead_letters FROM (
    SELECT sink, CAST(sum(pending) AS bigint) AS pending, min(oldest) AS oldest,
           CAST(sum(dead_letters) AS bigint) AS dead_letters
    FROM (
        SELECT sink, count(*) AS pending, min(message_id) AS oldest, 0 AS dead_letters
        FROM outbox WHERE state = 'pending' GROUP BY sink
        UNION ALL
        SELECT sink, 0, NULL, count(*) FROM outbox WHERE state = 'dead_letter' GROUP BY sink
    ) AS counted GROUP BY sink
) AS summed
"""
# Limits the examined rows to the ids of a period. Ids and receive times are not in the same order, because clocks can
# be set back. `+ 0` keeps PostgreSQL from walking along the ids until it reaches the period.
ID_RANGE_BY_TIME = "SELECT {}(id + 0) FROM messages WHERE received_at BETWEEN :received_from AND :received_until"
CONDITIONS = {"before": "id < :before", "account": "account = :account", "kind": "kind = :kind"}
MAX_TIME_US = 2**62


def build_query(query: MessageQuery, database_conditions: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """Return the SQL of a query, newest first if it requests the newest, and its values."""
    selection, values = _build_selection(query, database_conditions)
    order = "ORDER BY id DESC" if query.newest else "ORDER BY id"
    return f"SELECT {MESSAGE_COLUMNS} {selection} {order} LIMIT :limit", values


def build_count_query(
    query: MessageQuery, bucket_us: int, database_conditions: dict[str, str]
) -> tuple[str, dict[str, Any]]:
    """Return the SQL that counts the messages of a query with `received_from`, by buckets since it, and its values."""
    selection, values = _build_selection(query, database_conditions)
    bucket = "(received_at - :received_from) / :bucket_us"
    return f"SELECT {bucket}, count(*) {selection} GROUP BY 1", {**values, "bucket_us": bucket_us}


def _build_selection(query: MessageQuery, database_conditions: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """Return FROM and WHERE of a query, and its values.

    `database_conditions` has the conditions that differ between databases: `device`, `device_entry` (kind and id as in
    the JSON of the devices) and `contains`. In them, `{id_range}` becomes a condition that every matching id fulfils.
    """
    device = None if query.device is None else fold_ascii_case(query.device)
    kind = query.device_kind
    values = {
        **vars(query),
        "account": query.account and replace_nul(query.account),
        "device": device,
        "device_entry": device and kind and fold_ascii_case(json.dumps((kind, query.device), ensure_ascii=False)),
        "contains": query.contains and fold_ascii_case(query.contains),
    }
    id_range = "> :after"
    predicates = []
    if query.received_from is not None or query.received_until is not None:
        values["received_from"] = query.received_from or 0
        values["received_until"] = MAX_TIME_US if query.received_until is None else query.received_until
        predicates.append("received_at BETWEEN :received_from AND :received_until")
        id_range = f"BETWEEN ({ID_RANGE_BY_TIME.format('min')}) AND ({ID_RANGE_BY_TIME.format('max')})"
        predicates.append(f"id {id_range}")
    conditions = {**CONDITIONS, **database_conditions}
    predicates += [
        "id > :after",
        *(conditions[name].format(id_range=id_range) for name in conditions if values[name] is not None),
    ]
    return f"FROM messages WHERE {' AND '.join(predicates)}", values


def replace_nul(text: str) -> str:
    """Replace NUL, which PostgreSQL cannot store."""
    return text.replace("\0", "\ufffd")


def fold_ascii_case(text: str) -> str:
    """Convert ASCII letters to lower case, as `lower` of SQLite does, and replace NUL."""
    text = replace_nul(text)
    return (
        text.lower()
        if text.isascii()
        else "".join(character.lower() if character.isascii() else character for character in text)
    )
