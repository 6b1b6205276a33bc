-- Heartbeats become plays, plays become listens, listens become money. The royalty service alone writes here.
--
--   batches ─► events ─► plays ─► settlement_inputs ─► settlements ─► statements ─► statement_lines
--      └─► quarantine     ▲                                 └─► entries ─► transfers ◄─ accounts
--                 dirty_accounts (fold queue)     revenue ─────────┘
--
-- Instants are BIGINT milliseconds since the epoch, money is BIGINT millionths of the currency's unit, digests are 32 bytes.

CREATE SCHEMA royalty;

-- Merging ------------------------------------------------------------------------------------------------------------

-- One row per merged batch. The key is the exactly-once point: a batch that is here has been merged whole.
CREATE TABLE royalty.batches (
    buffer       TEXT    NOT NULL,
    epoch        TEXT    NOT NULL,
    number       BIGINT  NOT NULL,
    sha256       BYTEA   NOT NULL CHECK (octet_length(sha256) = 32),
    frozen_at_ms BIGINT  NOT NULL,
    merged_at_ms BIGINT  NOT NULL,
    PRIMARY KEY (buffer, epoch, number)
);

-- What became of every record of a batch, by the month of its play (of its receipt, when its ticket names no play).
-- The identity of the whole system is a constraint here: no row can say that a record went nowhere.
CREATE TABLE royalty.batch_counts (
    buffer      TEXT    NOT NULL,
    epoch       TEXT    NOT NULL,
    number      BIGINT  NOT NULL,
    period      TEXT    NOT NULL CHECK (period ~ '^\d{4}-(0[1-9]|1[0-2])$'),
    acked       BIGINT  NOT NULL CHECK (acked > 0),
    counted     BIGINT  NOT NULL CHECK (counted >= 0),
    duplicate   BIGINT  NOT NULL CHECK (duplicate >= 0),
    quarantined BIGINT  NOT NULL CHECK (quarantined >= 0),
    PRIMARY KEY (buffer, epoch, number, period),
    FOREIGN KEY (buffer, epoch, number) REFERENCES royalty.batches,
    CONSTRAINT nothing_is_lost CHECK (acked = counted + duplicate + quarantined)
);
CREATE INDEX batch_counts_period ON royalty.batch_counts (period);

-- Records that cannot be counted, each with its reason. The record is kept as JSON text: jsonb refuses \u0000.
CREATE TABLE royalty.quarantine (
    id             BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    buffer         TEXT    NOT NULL,
    epoch          TEXT    NOT NULL,
    number         BIGINT  NOT NULL,
    reason         TEXT    NOT NULL,
    play           UUID,
    received_at_ms BIGINT  NOT NULL,
    record         TEXT    NOT NULL,
    FOREIGN KEY (buffer, epoch, number) REFERENCES royalty.batches
);
CREATE INDEX quarantine_batch ON royalty.quarantine (buffer, epoch, number);

-- Events by name. `received_at_ms` is the earliest receipt of any copy, so that the row does not depend on the order of arrival.
CREATE TABLE royalty.events (
    play           UUID    NOT NULL,
    sender         TEXT    NOT NULL,
    seq            BIGINT  NOT NULL,
    kind           TEXT    NOT NULL,
    from_ms        BIGINT  NOT NULL,
    to_ms          BIGINT  NOT NULL,
    muted          BOOLEAN NOT NULL,
    background     BOOLEAN NOT NULL,
    received_at_ms BIGINT  NOT NULL,
    PRIMARY KEY (play, sender, seq)
) PARTITION BY RANGE (play);

-- One row per play that has reported anything, and what the listen rule made of it.
CREATE TABLE royalty.plays (
    play                UUID    NOT NULL PRIMARY KEY,
    pseudonym           UUID    NOT NULL,
    track               UUID    NOT NULL,
    version             UUID    NOT NULL,
    territory           TEXT    NOT NULL,
    plan                TEXT    NOT NULL,
    duration_ms         BIGINT  NOT NULL,
    minted_at_ms        BIGINT  NOT NULL,
    last_received_at_ms BIGINT  NOT NULL,
    events              BIGINT  NOT NULL CHECK (events >= 0),
    folded              BIGINT  NOT NULL DEFAULT 0,
    state               TEXT    NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'provisional', 'final', 'void')),
    reason              TEXT,
    played_ms           BIGINT  NOT NULL DEFAULT 0 CHECK (played_ms >= 0),
    rule_version        INTEGER,
    settled_in          TEXT,
    CHECK ((state = 'void') = (reason IS NOT NULL)),
    CHECK ((state = 'final') = (settled_in IS NOT NULL)),
    CHECK (folded BETWEEN 0 AND events)
) PARTITION BY RANGE (play);
CREATE INDEX plays_account ON royalty.plays (pseudonym, play);
CREATE INDEX plays_unsettled ON royalty.plays (play) WHERE state = 'provisional';
CREATE INDEX plays_unfolded ON royalty.plays (play) WHERE folded <> events;

-- Accounts whose plays must be folded again. A merge locks its accounts' rows first and a fold holds the row while it works, so
-- that the two never see half of each other.
CREATE TABLE royalty.dirty_accounts (
    pseudonym   UUID   NOT NULL PRIMARY KEY,
    earliest    UUID   NOT NULL,
    latest      UUID   NOT NULL,
    since_ms    BIGINT NOT NULL
);
CREATE INDEX dirty_accounts_since ON royalty.dirty_accounts (since_ms);

-- What a late event would change about a listen that is already final. Money is never edited: this is what a person reads.
CREATE TABLE royalty.late_findings (
    play         UUID    NOT NULL,
    settled_in   TEXT    NOT NULL,
    rule_version INTEGER NOT NULL,
    reason       TEXT    NOT NULL,
    found_at_ms  BIGINT  NOT NULL,
    PRIMARY KEY (play, reason)
);

-- The smallest UUIDv7 of an instant: its 48 bits of milliseconds, then zeros (RFC 9562 section 5.7).
CREATE FUNCTION royalty.play_floor(at_ms BIGINT) RETURNS UUID
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN rpad(lpad(to_hex(at_ms), 12, '0'), 32, '0')::UUID;

-- Makes the partitions that hold the plays of one UTC day; says whether it had to. The table is made apart and attached, which
-- lets readers and writers of other days go on (CREATE TABLE ... PARTITION OF would stop them all).
CREATE FUNCTION royalty.ensure_day(day DATE) RETURNS BOOLEAN
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parent TEXT;
    part   TEXT;
    floor  UUID := royalty.play_floor((extract(epoch FROM day) * 1000)::BIGINT);
    ceil   UUID := royalty.play_floor((extract(epoch FROM day + 1) * 1000)::BIGINT);
    made   BOOLEAN := FALSE;
BEGIN
    IF to_regclass('royalty.plays_' || to_char(day, 'YYYYMMDD')) IS NOT NULL THEN
        RETURN FALSE;
    END IF;
    IF day < DATE '2020-01-01' OR day > DATE '2200-01-01' THEN
        RAISE EXCEPTION 'no play was minted on %', day;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('royalty.ensure_day', 0));
    FOREACH parent IN ARRAY ARRAY['events', 'plays'] LOOP
        part := parent || '_' || to_char(day, 'YYYYMMDD');
        IF to_regclass('royalty.' || part) IS NULL THEN
            EXECUTE format('CREATE TABLE royalty.%I (LIKE royalty.%I INCLUDING ALL)', part, parent);
            EXECUTE format('ALTER TABLE royalty.%I ATTACH PARTITION royalty.%I FOR VALUES FROM (%L) TO (%L)', parent, part, floor, ceil);
            made := TRUE;
        END IF;
    END LOOP;
    RETURN made;
END $$;
REVOKE ALL ON FUNCTION royalty.ensure_day(DATE) FROM PUBLIC;

-- Copies of other services' facts ------------------------------------------------------------------------------------

-- How far each outbox has been read; moved in the transaction that stores what was read.
CREATE TABLE royalty.cursors (
    source   TEXT   NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL
);

-- The catalogue's tracks: whom to pay when nothing else is said, and what to print on a statement.
CREATE TABLE royalty.tracks (
    id          UUID   NOT NULL PRIMARY KEY,
    owner       UUID   NOT NULL,
    title       TEXT   NOT NULL,
    artist_id   UUID   NOT NULL,
    artist_name TEXT   NOT NULL,
    album       TEXT,
    isrc        TEXT,
    state       TEXT   NOT NULL,
    seq         BIGINT NOT NULL
);

-- Who shares a track's money, from an instant on. Append-only: of two rows for one instant the newer one holds.
CREATE FUNCTION royalty.sum_of(numbers INTEGER[]) RETURNS BIGINT
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (SELECT sum(number) FROM unnest(numbers) AS number);

CREATE TABLE royalty.splits (
    id                BIGINT    GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    track             UUID      NOT NULL,
    effective_from_ms BIGINT    NOT NULL,
    payees            UUID[]    NOT NULL,
    basis_points      INTEGER[] NOT NULL,
    set_by            UUID      NOT NULL,
    set_at_ms         BIGINT    NOT NULL,
    CHECK (cardinality(payees) BETWEEN 1 AND 100 AND cardinality(payees) = cardinality(basis_points)),
    CHECK (0 < ALL (basis_points)),
    CONSTRAINT splits_add_up CHECK (royalty.sum_of(basis_points) = 10000)
);
CREATE INDEX splits_of_track ON royalty.splits (track, effective_from_ms DESC, id DESC);

-- The ledger ---------------------------------------------------------------------------------------------------------

CREATE TABLE royalty.accounts (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind     TEXT   NOT NULL CHECK (kind IN ('listener_revenue', 'pool', 'carry', 'payee', 'held', 'unclaimed')),
    owner    TEXT   NOT NULL,
    currency TEXT   NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    UNIQUE (kind, owner, currency),
    UNIQUE (id, currency)
);

-- Why money moved. (source, source_id) names the cause, sha256 its content: the same cause twice is one entry.
CREATE TABLE royalty.entries (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source    TEXT   NOT NULL,
    source_id TEXT   NOT NULL,
    sha256    BYTEA  NOT NULL CHECK (octet_length(sha256) = 32),
    at_ms     BIGINT NOT NULL,
    posted_by XID8   NOT NULL DEFAULT pg_current_xact_id(),
    UNIQUE (source, source_id)
);

-- How it moved. Each row takes from one account exactly what it gives to another, in one currency: there is no way to write an
-- unbalanced entry.
CREATE TABLE royalty.transfers (
    entry         BIGINT  NOT NULL REFERENCES royalty.entries,
    line          INTEGER NOT NULL,
    debit         BIGINT  NOT NULL,
    credit        BIGINT  NOT NULL,
    currency      TEXT    NOT NULL,
    amount_micros BIGINT  NOT NULL CHECK (amount_micros > 0),
    PRIMARY KEY (entry, line),
    CHECK (debit <> credit),
    FOREIGN KEY (debit, currency) REFERENCES royalty.accounts (id, currency),
    FOREIGN KEY (credit, currency) REFERENCES royalty.accounts (id, currency)
);
CREATE INDEX transfers_debit ON royalty.transfers (debit) INCLUDE (amount_micros);
CREATE INDEX transfers_credit ON royalty.transfers (credit) INCLUDE (amount_micros);

-- An entry is complete when its transaction commits: nothing can be added to it afterwards.
CREATE FUNCTION royalty.entry_is_open() RETURNS TRIGGER LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM added JOIN royalty.entries ON entries.id = added.entry
               WHERE entries.posted_by <> pg_current_xact_id_if_assigned()) THEN
        RAISE EXCEPTION 'an entry that is posted takes no more transfers' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER entry_is_open AFTER INSERT ON royalty.transfers
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION royalty.entry_is_open();

CREATE VIEW royalty.balances AS
SELECT accounts.id, accounts.kind, accounts.owner, accounts.currency,
       coalesce((SELECT sum(amount_micros) FROM royalty.transfers WHERE credit = accounts.id), 0)
     - coalesce((SELECT sum(amount_micros) FROM royalty.transfers WHERE debit = accounts.id), 0) AS micros
FROM royalty.accounts;

-- Revenue and settlement ---------------------------------------------------------------------------------------------

CREATE TABLE royalty.revenue (
    source_id TEXT   NOT NULL PRIMARY KEY,
    pseudonym UUID   NOT NULL,
    period    TEXT   NOT NULL CHECK (period ~ '^\d{4}-(0[1-9]|1[0-2])$'),
    territory TEXT   NOT NULL,
    currency  TEXT   NOT NULL,
    micros    BIGINT NOT NULL CHECK (micros > 0),
    entry     BIGINT NOT NULL UNIQUE REFERENCES royalty.entries
);
CREATE INDEX revenue_period ON royalty.revenue (period, currency, pseudonym) INCLUDE (micros);

-- A settlement closes its period: that is one fact, so it is one row.
CREATE TABLE royalty.settlements (
    id               UUID    NOT NULL PRIMARY KEY,
    period           TEXT    NOT NULL CHECK (period ~ '^\d{4}-(0[1-9]|1[0-2])$'),
    currency         TEXT    NOT NULL,
    model            TEXT    NOT NULL CHECK (model IN ('pro_rata', 'user_centric')),
    rule_version     INTEGER NOT NULL,
    listens          BIGINT  NOT NULL CHECK (listens >= 0),
    carried_in_micros BIGINT NOT NULL CHECK (carried_in_micros >= 0),
    pool_micros      BIGINT  NOT NULL CHECK (pool_micros >= 0),
    paid_micros      BIGINT  NOT NULL CHECK (paid_micros >= 0),
    remainder_micros BIGINT  NOT NULL CHECK (remainder_micros >= 0),
    root             BYTEA   NOT NULL CHECK (octet_length(root) = 32),
    inputs_sha256    BYTEA   NOT NULL CHECK (octet_length(inputs_sha256) = 32),
    settled_at_ms    BIGINT  NOT NULL,
    UNIQUE (period, currency),
    CONSTRAINT pool_is_spent_to_the_unit CHECK (pool_micros = paid_micros + remainder_micros)
);

-- The listens a settlement was computed from, frozen with the split and the owner that applied to them.
CREATE TABLE royalty.settlement_inputs (
    settlement UUID   NOT NULL REFERENCES royalty.settlements,
    pseudonym  UUID   NOT NULL,
    track      UUID   NOT NULL,
    split      BIGINT REFERENCES royalty.splits,
    owner      UUID,
    listens    BIGINT NOT NULL CHECK (listens > 0)
);
CREATE INDEX settlement_inputs_of ON royalty.settlement_inputs (settlement, pseudonym);

-- One row per payee of a settlement, in the order of the sum tree's leaves. `payee` is an account, or the track when nobody is
-- known who could be paid for it.
CREATE TABLE royalty.statements (
    id         UUID    NOT NULL PRIMARY KEY,
    settlement UUID    NOT NULL REFERENCES royalty.settlements,
    leaf       INTEGER NOT NULL CHECK (leaf >= 0),
    kind       TEXT    NOT NULL CHECK (kind IN ('payee', 'unclaimed')),
    payee      UUID    NOT NULL,
    listens    BIGINT  NOT NULL CHECK (listens > 0),
    micros     BIGINT  NOT NULL CHECK (micros >= 0),
    salt       BYTEA   NOT NULL CHECK (octet_length(salt) = 16),
    UNIQUE (settlement, leaf),
    UNIQUE (settlement, kind, payee)
);
CREATE INDEX statements_of_payee ON royalty.statements (payee, id) WHERE kind = 'payee';

CREATE TABLE royalty.statement_lines (
    statement UUID   NOT NULL REFERENCES royalty.statements,
    track     UUID   NOT NULL,
    listens   BIGINT NOT NULL CHECK (listens > 0),
    micros    BIGINT NOT NULL CHECK (micros >= 0),
    PRIMARY KEY (statement, track)
);

-- Answers kept under an Idempotency-Key, for a day. --------------------------------------------------------------------

CREATE TABLE royalty.idempotency (
    scope          TEXT   NOT NULL,
    key            TEXT   NOT NULL,
    request_sha256 BYTEA  NOT NULL,
    started_at_ms  BIGINT NOT NULL,
    status         SMALLINT,
    content_type   TEXT,
    body           BYTEA,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_age ON royalty.idempotency (started_at_ms);

-- Append-only, twice: by trigger for everybody, the owner too, and by grant for the service. --------------------------

CREATE FUNCTION royalty.append_only() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on royalty.% is refused: money is only ever added', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

DO $$
DECLARE
    money TEXT;
BEGIN
    FOREACH money IN ARRAY ARRAY['accounts', 'entries', 'transfers', 'revenue', 'splits', 'settlements', 'settlement_inputs',
                                 'statements', 'statement_lines', 'batch_counts', 'late_findings'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON royalty.%I
                        FOR EACH STATEMENT EXECUTE FUNCTION royalty.append_only()', money);
        EXECUTE format('GRANT SELECT, INSERT ON royalty.%I TO antiphon_royalty', money);
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA royalty TO antiphon_royalty;
GRANT SELECT ON royalty.balances TO antiphon_royalty;
GRANT SELECT, INSERT ON royalty.batches, royalty.quarantine TO antiphon_royalty;
GRANT SELECT, INSERT, UPDATE ON royalty.events, royalty.plays, royalty.tracks, royalty.cursors TO antiphon_royalty;
GRANT SELECT, INSERT, UPDATE, DELETE ON royalty.dirty_accounts, royalty.idempotency TO antiphon_royalty;
GRANT EXECUTE ON FUNCTION royalty.ensure_day(DATE) TO antiphon_royalty;
