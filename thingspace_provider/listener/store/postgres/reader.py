"""Reading from the PostgreSQL store: what is selected, and how a row becomes what it was."""

from __future__ import annotations

import json
import re
from typing import Any

from thingspace_provider.listener.callback_parser import Device, reread
from thingspace_provider.listener.store.base import Selection, Stored
from thingspace_provider.listener.store.postgres.connections import Links
from thingspace_provider.listener.store.query_sql import select

CONDITIONS = {
    "device": "named @> ARRAY[:device]",
    "named": 'strpos(lower(devices COLLATE "C"), :named) > 0',
    "contains": 'strpos(lower(text COLLATE "C"), :contains) > 0',
}
PLACE = re.compile(r":(\w+)")
REPLACED = "\ufffd"


def selected(links: Links, selection: Selection) -> list[Stored]:
    """Stored callbacks in the order of storage. Raises StoreFailed."""
    query, values = select(selection, "thingspace.callbacks", CONDITIONS)
    found = [stored_of(row) for row in links.rows(PLACE.sub(r"%(\1)s", query), values)]
    return found[::-1] if selection.last else found


def stored_of(row: tuple[Any, ...]) -> Stored:
    """A row of COLUMNS. What had a NUL, which PostgreSQL does not take, is read once more from the body."""
    number, account, kind, devices, text, request_id, received, stored, duplicate_of, raw = row
    if REPLACED in (text or "") or REPLACED in (request_id or ""):
        said = reread(kind, raw)
        text, request_id = said.text, said.request_id
    named = tuple(Device(*entry) for entry in json.loads(devices))
    return Stored(number, account, kind, named, text, request_id, received, stored, duplicate_of, raw)
