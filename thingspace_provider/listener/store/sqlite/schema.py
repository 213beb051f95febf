"""Schema of the SQLite store, and its migrations."""

from __future__ import annotations

import apsw

from thingspace_provider.listener.store.base import StoreOpenError

VERSION_1 = """
CREATE TABLE messages (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,  -- no id is reused: it is the cursor of readers
    account      TEXT NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('text', 'sent', 'confirmation', 'fault', 'other')),
    devices      TEXT NOT NULL,                      -- JSON [["iccid", "8914…"], …]
    text         TEXT CHECK ((text IS NULL) = (kind <> 'text')),
    request_id   TEXT,
    dedup_key    TEXT,                               -- NULL if DuplicateWindow finds the duplicates
    received_at  INTEGER NOT NULL,                   -- microseconds after 1970
    stored_at    INTEGER NOT NULL,
    duplicate_of INTEGER,
    body         BLOB NOT NULL,                      -- without user name and password
    trace_context TEXT                               -- JSON {"traceparent": …}, NULL without tracing
) STRICT;
CREATE INDEX messages_dedup_key ON messages (account, dedup_key) WHERE dedup_key IS NOT NULL;
CREATE INDEX messages_received_at ON messages (received_at);
CREATE TABLE devices (
    device_id  TEXT NOT NULL,                        -- in lower case
    message_id INTEGER NOT NULL,
    PRIMARY KEY (device_id, message_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE device_index_position (message_id INTEGER NOT NULL) STRICT;  -- later messages are not yet in `devices`
INSERT INTO device_index_position VALUES (0);
CREATE TABLE outbox (
    message_id      INTEGER NOT NULL,
    sink            TEXT NOT NULL,
    ordering_key    INTEGER NOT NULL,                -- hash of account and device
    state           TEXT NOT NULL DEFAULT 'pending'
                    CHECK (state IN ('pending', 'delivered', 'dead_letter', 'discarded')),
    next_attempt_at INTEGER CHECK (next_attempt_at IS NULL OR state = 'pending'),  -- of the active entry of its key
    lease_token     INTEGER,                         -- of the current or last lease
    attempts        INTEGER NOT NULL DEFAULT 0,
    last_error      TEXT,
    updated_at      INTEGER,
    PRIMARY KEY (message_id, sink)
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_due ON outbox (sink, next_attempt_at, message_id) WHERE next_attempt_at IS NOT NULL;
CREATE UNIQUE INDEX outbox_active ON outbox (sink, ordering_key) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX outbox_pending ON outbox (sink, ordering_key, message_id) WHERE state = 'pending';
CREATE INDEX outbox_dead_letters ON outbox (sink, message_id) WHERE state = 'dead_letter';
CREATE TABLE coordination (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE write_check (writes INTEGER NOT NULL) STRICT;
INSERT INTO write_check VALUES (0);
"""
MIGRATIONS = (VERSION_1,)


def migrate(connection: apsw.Connection) -> None:
    """Apply all missing migrations in one transaction. Raises StoreOpenError for the file of a newer version."""
    version = connection.pragma("user_version")
    if version > len(MIGRATIONS):
        raise StoreOpenError(f"it was written by a newer version (schema {version}, known is {len(MIGRATIONS)})")
    if version < len(MIGRATIONS):
        with connection:
            for migration in MIGRATIONS[version:]:
                connection.execute(migration)
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
