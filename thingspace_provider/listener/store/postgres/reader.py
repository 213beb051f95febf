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


def find_messages(pool: ConnectionPool, query: MessageQuery) -> list[StoredMessage]:
    """Stored callbacks in the order of storage. Raises StoreFailed."""
    sql, values = build_query(query, "thingspace.callbacks", CONDITIONS)
    messages = [message_from_row(row) for row in pool.fetch_rows(PLACEHOLDER.sub(r"%(\1)s", sql), values)]
    return messages[::-1] if query.newest else messages


def message_from_row(row: tuple[Any, ...]) -> StoredMessage:
    """A row of COLUMNS. What had a NUL, which PostgreSQL does not take, is read once more from the body."""
    message_id, account, kind, devices, text, request_id, received_at, stored_at, duplicate_of, body = row
    if REPLACEMENT_CHARACTER in (text or "") or REPLACEMENT_CHARACTER in (request_id or ""):
        callback = reparse(kind, body)
        text, request_id = callback.text, callback.request_id
    parsed_devices = tuple(Device(*entry) for entry in json.loads(devices))
    return StoredMessage(
        message_id, account, kind, parsed_devices, text, request_id, received_at, stored_at, duplicate_of, body
    )
