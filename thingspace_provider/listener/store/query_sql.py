"""A selection as SQL: what both stores have in common."""

from __future__ import annotations

import json
from typing import Any

from thingspace_provider.listener.store.base import MessageQuery

MESSAGE_COLUMNS = "id, account, kind, devices, text, request_id, received, stored, duplicate_of, raw"
# The ids between which callbacks of a time lie: so few are looked at. Clocks are set back, and `received` decides.
# The zero keeps PostgreSQL from walking along all ids until it meets the time.
ID_RANGE_BY_TIME = "SELECT {}(id + 0) FROM {} WHERE received BETWEEN :received_from AND :received_until"
CONDITIONS = {"before": "id < :before", "account": "account = :account", "kind": "kind = :kind"}
MAX_TIME_US = 2**62


def build_query(query: MessageQuery, table: str, database_conditions: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """The query, newest first when `last` is asked for, and its values.

    `own` has the conditions that a database writes in its own way: `device`, `named` (kind and id, as they stand in
    the JSON of the devices) and `contains`. There `{span}` becomes what every id that is looked for fulfils.
    """
    device = None if query.device is None else fold_ascii_case(query.device)
    kind = query.device_kind
    values = {
        **vars(query),
        "account": query.account and replace_nul(query.account),
        "device": device,
        "named": device and kind and fold_ascii_case(json.dumps((kind, query.device), ensure_ascii=False)),
        "contains": query.contains and fold_ascii_case(query.contains),
    }
    span = "> :after"
    predicates = []
    if query.received_from is not None or query.received_until is not None:
        values["received_from"] = query.received_from or 0
        values["received_until"] = MAX_TIME_US if query.received_until is None else query.received_until
        predicates.append("received BETWEEN :received_from AND :received_until")
        span = f"BETWEEN ({ID_RANGE_BY_TIME.format('min', table)}) AND ({ID_RANGE_BY_TIME.format('max', table)})"
        predicates.append(f"id {span}")
    conditions = {**CONDITIONS, **database_conditions}
    predicates += [
        "id > :after",
        *(conditions[name].format(span=span) for name in conditions if values[name] is not None),
    ]
    order = "ORDER BY id DESC" if query.newest else "ORDER BY id"
    return f"SELECT {MESSAGE_COLUMNS} FROM {table} WHERE {' AND '.join(predicates)} {order} LIMIT :limit", values  # noqa: S608  names only


def replace_nul(text: str) -> str:
    """With another character for NUL, which PostgreSQL does not take."""
    return text.replace("\0", "\ufffd")


def fold_ascii_case(text: str) -> str:
    """In lower case as databases do it, the letters of ASCII only, and without NUL."""
    text = replace_nul(text)
    return (
        text.lower()
        if text.isascii()
        else "".join(character.lower() if character.isascii() else character for character in text)
    )
