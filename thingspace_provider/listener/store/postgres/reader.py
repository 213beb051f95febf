"""Reading from the PostgreSQL store: what is selected, and how a row becomes what it was."""

from __future__ import annotations

import json
import re
from typing import Any

from thingspace_provider.listener.callback_parser import Device, reparse
from thingspace_provider.listener.store.base import MessageQuery, StoredMessage
from thingspace_provider.listener.store.postgres.connections import ConnectionPool
from thingspace_provider.listener.store.query_sql import build_query

CONDITIONS = {
    "device": "named @> ARRAY[:device]",
    "named": 'strpos(lower(devices COLLATE "C"), :named) > 0',
    "contains": 'strpos(lower(text COLLATE "C"), :contains) > 0',
}
PLACEHOLDER = re.compile(r":(\w+)")
REPLACEMENT_CHARACTER = "\ufffd"


def find_messages(links: ConnectionPool, selection: MessageQuery) -> list[StoredMessage]:
    """Stored callbacks in the order of storage. Raises StoreFailed."""
    query, values = build_query(selection, "thingspace.callbacks", CONDITIONS)
    found = [message_from_row(row) for row in links.rows(PLACEHOLDER.sub(r"%(\1)s", query), values)]
    return found[::-1] if selection.newest else found


def message_from_row(row: tuple[Any, ...]) -> StoredMessage:
    """A row of COLUMNS. What had a NUL, which PostgreSQL does not take, is read once more from the body."""
    number, account, kind, devices, text, request_id, received, stored, duplicate_of, raw = row
    if REPLACEMENT_CHARACTER in (text or "") or REPLACEMENT_CHARACTER in (request_id or ""):
        said = reparse(kind, raw)
        text, request_id = said.text, said.request_id
    named = tuple(Device(*entry) for entry in json.loads(devices))
    return StoredMessage(number, account, kind, named, text, request_id, received, stored, duplicate_of, raw)
