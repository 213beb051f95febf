"""Schema of the PostgreSQL store: tables, functions that change several rows, and migrations.

Appends and changes of entries hold one lock, `lock_writes`, during their one statement and its commit. So ids become
visible in ascending order, replicas see each other's duplicates, and the invariant of the outbox holds. No transaction
has two statements, so a replica that ends or loses its connection does not keep the lock.
"""

from __future__ import annotations

from typing import Any

import psycopg

from thingspace_provider.listener.store.base import StoreOpenError

MIGRATION_LOCK_ID = 7_264_107_351_262_008  # of an advisory lock of the database
VERSION_1 = """
CREATE SCHEMA IF NOT EXISTS thingspace;
CREATE TABLE thingspace.schema_version (version integer NOT NULL);
INSERT INTO thingspace.schema_version VALUES (1);
CREATE TABLE thingspace.messages (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account      text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('text', 'sent', 'confirmation', 'fault', 'other')),
    devices      text NOT NULL,    -- JSON [["iccid", "8914…"], …]
    device_ids   text[] NOT NULL,  -- in lower case
    text         text CHECK ((text IS NULL) = (kind <> 'text')),  -- with U+FFFD for NUL
    request_id   text,
    dedup_key    uuid NOT NULL,    -- hash that duplicates share
    received_at  bigint NOT NULL,  -- microseconds after 1970
    stored_at    bigint NOT NULL,
    duplicate_of bigint,
    body         bytea NOT NULL,   -- without user name and password
    trace_context text             -- JSON {"traceparent": …}, NULL without tracing
);
CREATE INDEX messages_dedup_key ON thingspace.messages (dedup_key, id) WHERE duplicate_of IS NULL;
CREATE INDEX messages_received_at ON thingspace.messages (received_at, id);
CREATE INDEX messages_device_ids ON thingspace.messages USING gin (device_ids) WITH (gin_pending_list_limit = 256);
CREATE TABLE thingspace.outbox (
    message_id      bigint NOT NULL,
    sink            text NOT NULL,
    ordering_key    bigint NOT NULL,  -- hash of account and device
    state           text NOT NULL DEFAULT 'pending'
                    CHECK (state IN ('pending', 'delivered', 'dead_letter', 'discarded')),
    next_attempt_at bigint CHECK (next_attempt_at IS NULL OR state = 'pending'),  -- of the active entry of its key
    lease_token     bigint,           -- of the current or last lease
    attempts        integer NOT NULL DEFAULT 0,
    last_error      text,
    updated_at      bigint,
    PRIMARY KEY (message_id, sink)
);
CREATE INDEX outbox_due ON thingspace.outbox (sink, next_attempt_at, message_id) WHERE next_attempt_at IS NOT NULL;
CREATE UNIQUE INDEX outbox_active ON thingspace.outbox (sink, ordering_key) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX outbox_pending ON thingspace.outbox (sink, ordering_key, message_id) WHERE state = 'pending';
CREATE INDEX outbox_dead_letters ON thingspace.outbox (sink, message_id) WHERE state = 'dead_letter';
CREATE TABLE thingspace.coordination (name text PRIMARY KEY, value bigint NOT NULL);
CREATE TABLE thingspace.write_check (writes bigint NOT NULL);
INSERT INTO thingspace.write_check VALUES (0);
"""
MIGRATIONS = (VERSION_1,)
FUNCTIONS = """
-- Microseconds after 1970.
CREATE OR REPLACE FUNCTION thingspace.clock_time() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;

-- Start of the statement. It is constant in a statement, so that an index can be used for comparisons with it.
CREATE OR REPLACE FUNCTION thingspace.statement_time() RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint
$$;

CREATE OR REPLACE FUNCTION thingspace.lock_writes() RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock('thingspace.messages'::regclass::bigint)
$$;

-- A duplicate has the key of an earlier message, received within dedup_window_us unless that is null.
CREATE OR REPLACE FUNCTION thingspace.append(batch json, sinks text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    incoming record;
    original record;
    new_id bigint;
    new_ids bigint[] := '{}';
    ordering_keys bigint[] := '{}';
    start_time bigint;
BEGIN
    SET LOCAL synchronous_commit = on;  -- also if a pooler has mixed up the sessions
    PERFORM thingspace.lock_writes();
    start_time := thingspace.clock_time();
    FOR incoming IN SELECT * FROM json_to_recordset(batch) AS row (
        account text, kind text, devices text, device_ids text[], text text, request_id text, dedup_key uuid,
        dedup_window_us bigint, received_at bigint, body text, ordering_key bigint, duplicate_of bigint,
        trace_context text)
    LOOP
        SELECT id, received_at INTO original FROM thingspace.messages
        WHERE dedup_key = incoming.dedup_key AND duplicate_of IS NULL ORDER BY id DESC LIMIT 1;
        IF abs(incoming.received_at - original.received_at) > incoming.dedup_window_us THEN
            original.id := NULL;
        END IF;
        INSERT INTO thingspace.messages (account, kind, devices, device_ids, text, request_id, dedup_key, received_at,
                                         stored_at, duplicate_of, body, trace_context)
        VALUES (incoming.account, incoming.kind, incoming.devices, incoming.device_ids, incoming.text,
                incoming.request_id, incoming.dedup_key, incoming.received_at, start_time,
                coalesce(original.id, incoming.duplicate_of), decode(incoming.body, 'hex'), incoming.trace_context)
        RETURNING id INTO new_id;
        new_ids := new_ids || new_id;
        ordering_keys := ordering_keys || incoming.ordering_key;
    END LOOP;
    -- Once for the batch: for each message it would take twice as long as all else.
    INSERT INTO thingspace.outbox (message_id, sink, ordering_key, next_attempt_at)
    SELECT stored.id, new_entry.sink, stored.ordering_key, CASE WHEN stored.is_first AND NOT EXISTS (
        SELECT FROM thingspace.outbox AS active
        WHERE active.sink = new_entry.sink AND active.ordering_key = stored.ordering_key
        AND active.next_attempt_at IS NOT NULL) THEN 0 END
    FROM (SELECT id, ordering_key, id = min(id) OVER (PARTITION BY ordering_key) AS is_first
          FROM unnest(new_ids, ordering_keys) AS row (id, ordering_key)) AS stored
    CROSS JOIN unnest(sinks) AS new_entry (sink);
END $$;

CREATE OR REPLACE FUNCTION thingspace.activate_next(for_sink text, ordering_keys bigint[]) RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE thingspace.outbox SET next_attempt_at = 0
    FROM unnest(ordering_keys) AS changed (ordering_key) CROSS JOIN LATERAL (
        SELECT message_id AS id FROM thingspace.outbox AS entry
        WHERE entry.sink = for_sink AND entry.ordering_key = changed.ordering_key AND entry.state = 'pending'
        ORDER BY message_id LIMIT 1) AS next
    WHERE sink = for_sink AND message_id = next.id AND NOT EXISTS (
        SELECT FROM thingspace.outbox AS active
        WHERE active.sink = for_sink AND active.ordering_key = changed.ordering_key
        AND active.next_attempt_at IS NOT NULL)
$$;

-- The first update activates no entry: a key must not have two active ones, not even for a moment.
-- The commit waits for no disk, because outcomes that a crash loses only repeat deliveries.
CREATE OR REPLACE FUNCTION thingspace.record_outcomes(
    for_sink text, token bigint, updates json, ordering_keys bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    recorded_ids bigint[];
    start_time bigint;
BEGIN
    SET LOCAL synchronous_commit = off;
    PERFORM thingspace.lock_writes();
    start_time := thingspace.clock_time();
    WITH recorded AS (
        UPDATE thingspace.outbox SET state = entry.state, next_attempt_at = NULL, lease_token = NULL,
               attempts = attempts + entry.attempt_increment,
               last_error = coalesce(entry.last_error, outbox.last_error),
               updated_at = CASE entry.attempt_increment WHEN 1 THEN start_time ELSE updated_at END
        FROM json_to_recordset(updates) AS entry (id bigint, state text, attempt_increment integer, last_error text)
        WHERE message_id = entry.id AND sink = for_sink AND lease_token = token
        RETURNING message_id)
    SELECT coalesce(array_agg(message_id), '{}') INTO recorded_ids FROM recorded;
    UPDATE thingspace.outbox SET next_attempt_at = start_time + failed.retry_delay_us
    FROM json_to_recordset(updates) AS failed (id bigint, retry_delay_us bigint)
    WHERE message_id = failed.id AND sink = for_sink AND failed.retry_delay_us IS NOT NULL
    AND message_id = ANY (recorded_ids);
    PERFORM thingspace.activate_next(for_sink, ordering_keys);
END $$;

-- Changes at most max_entries and returns their number. The states are literals, so that each query uses its index.
CREATE OR REPLACE FUNCTION thingspace.change_state(
    for_sink text, selected_ids bigint[], from_state text, to_state text, max_entries integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    changed_ids bigint[];
    ordering_keys bigint[];
BEGIN
    PERFORM thingspace.lock_writes();
    IF from_state = 'dead_letter' THEN
        SELECT array_agg(message_id) INTO changed_ids FROM (
            SELECT message_id FROM thingspace.outbox WHERE sink = for_sink AND state = 'dead_letter'
            AND (selected_ids IS NULL OR message_id = ANY (selected_ids)) ORDER BY message_id LIMIT max_entries
        ) AS selected;
    ELSE
        SELECT array_agg(message_id) INTO changed_ids FROM (
            SELECT message_id FROM thingspace.outbox WHERE sink = for_sink AND state = 'pending'
            AND (selected_ids IS NULL OR message_id = ANY (selected_ids)) LIMIT max_entries
        ) AS selected;
    END IF;
    WITH changed AS (
        UPDATE thingspace.outbox SET state = to_state, next_attempt_at = NULL, lease_token = NULL,
               updated_at = thingspace.clock_time(),
               attempts = CASE to_state WHEN 'pending' THEN 0 ELSE attempts END
        WHERE sink = for_sink AND message_id = ANY (changed_ids) RETURNING ordering_key)
    SELECT array_agg(DISTINCT ordering_key) INTO ordering_keys FROM changed;
    PERFORM thingspace.activate_next(for_sink, ordering_keys);
    RETURN coalesce(cardinality(changed_ids), 0);
END $$;
"""


def migrate(connection: psycopg.Connection[Any]) -> None:
    """Apply all missing migrations in one transaction, also if several replicas start at the same time.

    Raises StoreOpenError for the database of a newer version.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK_ID,))
        version = 0
        if connection.execute("SELECT to_regclass('thingspace.schema_version')").fetchone() != (None,):
            [(version,)] = connection.execute("SELECT version FROM thingspace.schema_version").fetchall()
        if version > len(MIGRATIONS):
            raise StoreOpenError(f"it was written by a newer version (schema {version}, known is {len(MIGRATIONS)})")
        if version < len(MIGRATIONS):
            for migration in MIGRATIONS[version:]:
                connection.execute(migration)
            connection.execute(FUNCTIONS)  # replicas of the previous version call them in the same way
            connection.execute("UPDATE thingspace.schema_version SET version = %s", (len(MIGRATIONS),))
