"""The tables of the PostgreSQL store, in a schema of their own, and the functions that change several at once.

Appends and reports take one lock, `turn`, for as long as their one statement and its commit last. So ids become
visible in their order, copies that arrive at two replicas see each other, and the heads of lanes stay consistent.
Nothing holds it between two statements: a replica that dies or is cut off keeps it from nobody.
"""

from __future__ import annotations

from typing import Any

import psycopg

from thingspace_provider.listener.store.base import StoreOpenError

SCHEMA_VERSION = 2
MIGRATION_LOCK_ID = (
    7_264_107_351_262_008  # an advisory lock of this database, for those who make the schema at the same time
)
TABLES = """
CREATE SCHEMA IF NOT EXISTS thingspace;
CREATE TABLE thingspace.version (version integer NOT NULL);
CREATE TABLE thingspace.proof (written bigint NOT NULL);
INSERT INTO thingspace.proof VALUES (0);
CREATE TABLE thingspace.notes (name text PRIMARY KEY, number bigint NOT NULL);
CREATE TABLE thingspace.callbacks (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account      text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('text', 'sent', 'confirmation', 'fault', 'other')),
    devices      text NOT NULL,    -- JSON [["iccid", "8914…"], …]
    named        text[] NOT NULL,  -- the ids of the devices in lower case, to search by
    text         text CHECK ((text IS NULL) = (kind <> 'text')),  -- U+FFFD for NUL, which PostgreSQL does not take
    request_id   text,
    same         uuid NOT NULL,    -- a hash that copies share
    received     bigint NOT NULL,  -- microseconds after 1970
    stored       bigint NOT NULL,
    duplicate_of bigint,
    raw          bytea NOT NULL    -- the body without user name and password
);
CREATE INDEX firsts ON thingspace.callbacks (same, id) WHERE duplicate_of IS NULL;
CREATE INDEX by_received ON thingspace.callbacks (received, id);
CREATE INDEX by_device ON thingspace.callbacks USING gin (named) WITH (gin_pending_list_limit = 256);
CREATE TABLE thingspace.outbox (
    callback bigint NOT NULL,
    sink     text NOT NULL,
    lane     bigint NOT NULL,      -- account and device, hashed: these go in order
    state    text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'dead', 'discarded')),
    due      bigint CHECK (due IS NULL OR state = 'waiting'),  -- NULL unless it is the head of its lane
    taken    bigint,               -- token of the claim that has it, or had it last
    attempts integer NOT NULL DEFAULT 0,
    reason   text,
    changed  bigint,
    PRIMARY KEY (callback, sink)
);
CREATE INDEX outbox_due ON thingspace.outbox (sink, due, callback) WHERE due IS NOT NULL;
CREATE UNIQUE INDEX outbox_head ON thingspace.outbox (sink, lane) WHERE due IS NOT NULL;
CREATE INDEX outbox_waiting ON thingspace.outbox (sink, lane, callback) WHERE state = 'waiting';
CREATE INDEX outbox_dead ON thingspace.outbox (sink, callback) WHERE state = 'dead';
"""
FUNCTIONS = """
CREATE OR REPLACE FUNCTION thingspace.now() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;

-- When the statement came: the same throughout, so that an index can be asked with it.
CREATE OR REPLACE FUNCTION thingspace.asked() RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint
$$;

CREATE OR REPLACE FUNCTION thingspace.turn() RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock('thingspace.callbacks'::regclass::bigint)
$$;

-- The rule of duplicates.py: the newest first of the same hash, within `span` microseconds unless that is null.
CREATE OR REPLACE FUNCTION thingspace.append(batch json, sinks text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one record;
    first bigint;
    heard bigint;
    number bigint;
    moment bigint;
BEGIN
    PERFORM thingspace.turn();
    moment := thingspace.now();
    FOR one IN SELECT * FROM json_to_recordset(batch) AS row (
        account text, kind text, devices text, named text[], text text, request_id text, same uuid, span bigint,
        received bigint, raw text, lane bigint, repeats bigint)
    LOOP
        SELECT id, received INTO first, heard FROM thingspace.callbacks
        WHERE same = one.same AND duplicate_of IS NULL ORDER BY id DESC LIMIT 1;
        IF abs(one.received - heard) > one.span THEN
            first := NULL;
        END IF;
        first := coalesce(first, one.repeats);
        INSERT INTO thingspace.callbacks (account, kind, devices, named, text, request_id, same, received, stored,
                                          duplicate_of, raw)
        VALUES (one.account, one.kind, one.devices, one.named, one.text, one.request_id, one.same, one.received,
                moment, first, decode(one.raw, 'hex'))
        RETURNING id INTO number;
        INSERT INTO thingspace.outbox (callback, sink, lane, due)
        SELECT number, sink, one.lane, CASE WHEN NOT EXISTS (
            SELECT FROM thingspace.outbox AS head
            WHERE head.sink = receiver.sink AND head.lane = one.lane AND head.due IS NOT NULL) THEN 0 END
        FROM unnest(sinks) AS receiver (sink);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION thingspace.promote(for_sink text, lanes bigint[]) RETURNS void LANGUAGE sql VOLATILE AS $$
    UPDATE thingspace.outbox SET due = 0
    FROM unnest(lanes) AS touched (lane) CROSS JOIN LATERAL (
        SELECT callback AS id FROM thingspace.outbox AS waiting
        WHERE waiting.sink = for_sink AND waiting.lane = touched.lane AND waiting.state = 'waiting'
        ORDER BY callback LIMIT 1) AS next
    WHERE sink = for_sink AND callback = next.id AND NOT EXISTS (
        SELECT FROM thingspace.outbox AS head
        WHERE head.sink = for_sink AND head.lane = touched.lane AND head.due IS NOT NULL)
$$;

-- No head is set at first, not even for a moment two of one lane: the failed ones become heads in a second step.
-- What a crash takes of a report is delivered again, as promised: its commit waits for no disk.
CREATE OR REPLACE FUNCTION thingspace.report(for_sink text, token bigint, changes json, lanes bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    ours bigint[];
    moment bigint;
BEGIN
    SET LOCAL synchronous_commit = off;
    PERFORM thingspace.turn();
    moment := thingspace.now();
    WITH changed AS (
        UPDATE thingspace.outbox SET state = change.state, due = NULL, taken = NULL,
               attempts = attempts + change.attempt_increment, reason = coalesce(change.reason, outbox.reason),
               changed = CASE change.attempt_increment WHEN 1 THEN moment ELSE changed END
        FROM json_to_recordset(changes) AS change (id bigint, state text, attempt_increment integer, reason text)
        WHERE callback = change.id AND sink = for_sink AND taken = token
        RETURNING callback)
    SELECT coalesce(array_agg(callback), '{}') INTO ours FROM changed;
    UPDATE thingspace.outbox SET due = moment + change.retry_delay_us
    FROM json_to_recordset(changes) AS change (id bigint, retry_delay_us bigint)
    WHERE callback = change.id AND sink = for_sink AND change.retry_delay_us IS NOT NULL AND callback = ANY (ours);
    PERFORM thingspace.promote(for_sink, lanes);
END $$;

-- Moves at most `most` from one state to another; how many there were.
CREATE OR REPLACE FUNCTION thingspace.move(for_sink text, wanted bigint[], from_state text, to_state text, most integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    part bigint[];
    lanes bigint[];
BEGIN
    PERFORM thingspace.turn();
    IF from_state = 'dead' THEN
        SELECT array_agg(callback) INTO part FROM (
            SELECT callback FROM thingspace.outbox WHERE sink = for_sink AND state = 'dead'
            AND (wanted IS NULL OR callback = ANY (wanted)) ORDER BY callback LIMIT most) AS found;
    ELSE
        SELECT array_agg(callback) INTO part FROM (
            SELECT callback FROM thingspace.outbox WHERE sink = for_sink AND state = 'waiting'
            AND (wanted IS NULL OR callback = ANY (wanted)) LIMIT most) AS found;
    END IF;
    WITH moved AS (
        UPDATE thingspace.outbox SET state = to_state, due = NULL, taken = NULL, changed = thingspace.now(),
               attempts = CASE to_state WHEN 'waiting' THEN 0 ELSE attempts END
        WHERE sink = for_sink AND callback = ANY (part) RETURNING lane)
    SELECT array_agg(DISTINCT lane) INTO lanes FROM moved;
    PERFORM thingspace.promote(for_sink, lanes);
    RETURN coalesce(cardinality(part), 0);
END $$;
"""


def migrate(connection: psycopg.Connection[Any]) -> None:
    """Make what is not there, once, however many replicas start at the same time. Raises StoreUnusable."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK_ID,))
        exists = connection.execute("SELECT to_regclass('thingspace.version') IS NOT NULL").fetchone()
        if exists != (True,):
            connection.execute(TABLES)
            connection.execute("INSERT INTO thingspace.version VALUES (%s)", (SCHEMA_VERSION,))
            connection.execute(FUNCTIONS)
            return
        row = connection.execute("SELECT version FROM thingspace.version").fetchone()
        if not row or row[0] > SCHEMA_VERSION:
            raise StoreOpenError(
                f"it was written by a newer version (schema {row and row[0]}, known is {SCHEMA_VERSION})"
            )
        if row[0] < SCHEMA_VERSION:  # replicas of the version before go on: it calls the functions in the same way
            connection.execute(FUNCTIONS)
            connection.execute("UPDATE thingspace.version SET version = %s", (SCHEMA_VERSION,))
