"""The tables of the SQLite store, and how a file of an earlier version gets them."""

from __future__ import annotations

import apsw

from thingspace_provider.listener.store.base import StoreOpenError

VERSION_1 = """
CREATE TABLE callbacks (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,  -- an id is never given twice: it is a reader's cursor
    account      TEXT NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('text', 'sent', 'confirmation', 'fault', 'other')),
    devices      TEXT NOT NULL,                      -- JSON [["iccid", "8914…"], …]
    text         TEXT CHECK ((text IS NULL) = (kind <> 'text')),
    request_id   TEXT,
    request_key  TEXT,                               -- what repeated deliveries of one request share
    received     INTEGER NOT NULL,                   -- microseconds after 1970
    duplicate_of INTEGER,
    raw          BLOB NOT NULL                       -- the body without user name and password
) STRICT;
CREATE INDEX by_request ON callbacks (account, request_key) WHERE request_key IS NOT NULL;
CREATE TABLE proof (one INTEGER PRIMARY KEY CHECK (one = 1), written INTEGER NOT NULL) STRICT;
INSERT INTO proof VALUES (1, 0);
"""
VERSION_2 = """
ALTER TABLE callbacks ADD COLUMN stored INTEGER;     -- microseconds after 1970; NULL for what version 1 stored
CREATE INDEX by_received ON callbacks (received);
CREATE TABLE devices (
    device   TEXT NOT NULL,                          -- in lower case
    callback INTEGER NOT NULL,
    PRIMARY KEY (device, callback)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO devices
SELECT lower(entry.value->>1), callbacks.id FROM callbacks, json_each(callbacks.devices) AS entry;
CREATE TABLE outbox (
    callback INTEGER NOT NULL,
    sink     TEXT NOT NULL,
    lane     INTEGER NOT NULL,                       -- account and device, hashed: these go in order
    state    TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'dead', 'discarded')),
    due      INTEGER CHECK (due IS NULL OR state = 'waiting'),  -- NULL unless it is the head of its lane
    taken    INTEGER,                                -- token of the claim that has it, or had it last
    attempts INTEGER NOT NULL DEFAULT 0,
    reason   TEXT,
    changed  INTEGER,
    PRIMARY KEY (callback, sink)
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_due ON outbox (sink, due, callback) WHERE due IS NOT NULL;
CREATE UNIQUE INDEX outbox_head ON outbox (sink, lane) WHERE due IS NOT NULL;
CREATE INDEX outbox_waiting ON outbox (sink, lane, callback) WHERE state = 'waiting';
CREATE INDEX outbox_dead ON outbox (sink, callback) WHERE state = 'dead';
"""
VERSION_3 = """
CREATE TABLE devices_until (id INTEGER NOT NULL) STRICT;  -- devices of later callbacks are not yet in the table
INSERT INTO devices_until SELECT coalesce(max(id), 0) FROM callbacks;
"""
VERSION_4 = """
CREATE TABLE notes (name TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""
VERSIONS = (VERSION_1, VERSION_2, VERSION_3, VERSION_4)


def migrate(connection: apsw.Connection) -> None:
    """Take a file from its version to the newest, in one transaction. Raises StoreUnusable for a newer one."""
    version = connection.pragma("user_version")
    if version > len(VERSIONS):
        raise StoreOpenError(f"it was written by a newer version (schema {version}, known is {len(VERSIONS)})")
    if version < len(VERSIONS):
        with connection:
            for step in VERSIONS[version:]:
                connection.execute(step)
            connection.execute(f"PRAGMA user_version = {len(VERSIONS)}")
