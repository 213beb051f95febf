-- The schema as version 1 made it.
CREATE SCHEMA IF NOT EXISTS thingspace;
CREATE TABLE thingspace.version (version integer NOT NULL);
INSERT INTO thingspace.version VALUES (1);
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
    lane     bigint NOT NULL,      -- account and devices, hashed: these go in order
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

CREATE FUNCTION thingspace.now() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;

-- When the statement came: the same throughout, so that an index can be asked with it.
CREATE FUNCTION thingspace.asked() RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint
$$;

CREATE FUNCTION thingspace.turn() RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock('thingspace.callbacks'::regclass::bigint)
$$;

-- The rule of duplicates.py: the newest first of the same hash, within `span` microseconds unless that is null.
CREATE FUNCTION thingspace.append(batch json, sinks text[]) RETURNS void LANGUAGE plpgsql AS $$
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
        received bigint, raw text, lane bigint)
    LOOP
        SELECT id, received INTO first, heard FROM thingspace.callbacks
        WHERE same = one.same AND duplicate_of IS NULL ORDER BY id DESC LIMIT 1;
        IF abs(one.received - heard) > one.span THEN
            first := NULL;
        END IF;
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

CREATE FUNCTION thingspace.promote(for_sink text, lanes bigint[]) RETURNS void LANGUAGE sql VOLATILE AS $$
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
CREATE FUNCTION thingspace.report(for_sink text, token bigint, changes json, lanes bigint[]) RETURNS void
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
               attempts = attempts + change.tried, reason = coalesce(change.reason, outbox.reason),
               changed = CASE change.tried WHEN 1 THEN moment ELSE changed END
        FROM json_to_recordset(changes) AS change (id bigint, state text, tried integer, reason text)
        WHERE callback = change.id AND sink = for_sink AND taken = token
        RETURNING callback)
    SELECT coalesce(array_agg(callback), '{}') INTO ours FROM changed;
    UPDATE thingspace.outbox SET due = moment + change.wait
    FROM json_to_recordset(changes) AS change (id bigint, wait bigint)
    WHERE callback = change.id AND sink = for_sink AND change.wait IS NOT NULL AND callback = ANY (ours);
    PERFORM thingspace.promote(for_sink, lanes);
END $$;

-- Moves at most `most` from one state to another; how many there were.
CREATE FUNCTION thingspace.move(for_sink text, wanted bigint[], from_state text, to_state text, most integer)
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
