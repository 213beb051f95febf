"""A selection as SQL: what both stores have in common."""

from __future__ import annotations

import json
from typing import Any

from thingspace_provider.listener.store.base import MessageQuery

COLUMNS = "id, account, kind, devices, text, request_id, received, stored, duplicate_of, raw"
# The ids between which callbacks of a time lie: so few are looked at. Clocks are set back, and `received` decides.
# The zero keeps PostgreSQL from walking along all ids until it meets the time.
ID_RANGE_BY_TIME = "SELECT {}(id + 0) FROM {} WHERE received BETWEEN :received_from AND :received_until"
CONDITIONS = {"before": "id < :before", "account": "account = :account", "kind": "kind = :kind"}
FOREVER = 2**62


def build_query(selection: MessageQuery, table: str, own: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """The query, newest first when `last` is asked for, and its values.

    `own` has the conditions that a database writes in its own way: `device`, `named` (kind and id, as they stand in
    the JSON of the devices) and `contains`. There `{span}` becomes what every id that is looked for fulfils.
    """
    device = None if selection.device is None else fold_ascii_case(selection.device)
    kind = selection.device_kind
    values = {
        **vars(selection),
        "account": selection.account and replace_nul(selection.account),
        "device": device,
        "named": device and kind and fold_ascii_case(json.dumps((kind, selection.device), ensure_ascii=False)),
        "contains": selection.contains and fold_ascii_case(selection.contains),
    }
    span = "> :after"
    tests = []
    if selection.received_from is not None or selection.received_until is not None:
        values["received_from"] = selection.received_from or 0
        values["received_until"] = FOREVER if selection.received_until is None else selection.received_until
        tests.append("received BETWEEN :received_from AND :received_until")
        span = f"BETWEEN ({ID_RANGE_BY_TIME.format('min', table)}) AND ({ID_RANGE_BY_TIME.format('max', table)})"
        tests.append(f"id {span}")
    conditions = {**CONDITIONS, **own}
    tests += ["id > :after", *(conditions[name].format(span=span) for name in conditions if values[name] is not None)]
    order = "ORDER BY id DESC" if selection.newest else "ORDER BY id"
    return f"SELECT {COLUMNS} FROM {table} WHERE {' AND '.join(tests)} {order} LIMIT :limit", values  # noqa: S608  names only


def replace_nul(text: str) -> str:
    """With another character for NUL, which PostgreSQL does not take."""
    return text.replace("\0", "\ufffd")


def fold_ascii_case(text: str) -> str:
    """In lower case as databases do it, the letters of ASCII only, and without NUL."""
    text = replace_nul(text)
    return text.lower() if text.isascii() else "".join(one.lower() if one.isascii() else one for one in text)
