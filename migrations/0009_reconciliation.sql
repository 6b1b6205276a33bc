-- What each hop counts, by the hour in which a play was minted (protocol::tally), so that hops can be held against each other; and what became
-- of quarantined records that were merged again. Everything here is only ever added.
--
--   batches.report ─► buffer_reports, buffer_hours      what a buffer says of itself, frozen with the batch
--   merge          ─► batch_hours                       what the collector made of the batch
--   quarantine     ─► replayed                          what a replay made of a record
--
-- None of the tables refers to `batches`: that a batch's key, its counts and its report are there together is what reconciliation checks.

-- The hour a play was minted in, as hours since the epoch: the first 48 bits of its id are milliseconds (RFC 9562 section 5.7).
CREATE FUNCTION royalty.play_hour(play UUID) RETURNS BIGINT
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ('x' || substr(play::TEXT, 1, 8) || substr(play::TEXT, 10, 4))::BIT(48)::BIGINT / 3600000;

-- As `batch_counts`, by the hour. `part` is the part of a batch that came through a log (0010); empty for a whole one.
CREATE TABLE royalty.batch_hours (
    buffer      TEXT   NOT NULL,
    epoch       TEXT   NOT NULL,
    number      BIGINT NOT NULL,
    part        TEXT   NOT NULL DEFAULT '',
    hour        BIGINT NOT NULL,
    acked       BIGINT NOT NULL CHECK (acked > 0),
    counted     BIGINT NOT NULL CHECK (counted >= 0),
    duplicate   BIGINT NOT NULL CHECK (duplicate >= 0),
    quarantined BIGINT NOT NULL CHECK (quarantined >= 0),
    PRIMARY KEY (buffer, epoch, number, part, hour),
    CONSTRAINT nothing_is_lost CHECK (acked = counted + duplicate + quarantined)
);
CREATE INDEX batch_hours_hour ON royalty.batch_hours (hour);

-- What was merged before hours were kept is told under the first hour of its month.
INSERT INTO royalty.batch_hours (buffer, epoch, number, hour, acked, counted, duplicate, quarantined)
SELECT buffer, epoch, number, extract(epoch FROM (period || '-01')::DATE)::BIGINT / 3600, acked, counted, duplicate, quarantined
FROM royalty.batch_counts;

-- One row for each batch that carried a report. `since` is 'epoch' where the buffer acknowledges before it sends, so that every number it has used must
-- arrive, and 'batch' where nothing is acknowledged before the merge.
CREATE TABLE royalty.buffer_reports (
    buffer        TEXT     NOT NULL,
    epoch         TEXT     NOT NULL,
    number        BIGINT   NOT NULL,
    since         TEXT     NOT NULL CHECK (since IN ('epoch', 'batch')),
    posts_waiting BIGINT   NOT NULL CHECK (posts_waiting >= 0),
    set_aside     BIGINT[] NOT NULL,
    PRIMARY KEY (buffer, epoch, number)
);

-- Its figures: sums since the epoch began, or of this batch alone. Nothing here is checked: a buffer that miscounts must be found, not refused.
CREATE TABLE royalty.buffer_hours (
    buffer    TEXT   NOT NULL,
    epoch     TEXT   NOT NULL,
    number    BIGINT NOT NULL,
    hour      BIGINT NOT NULL,
    offered   BIGINT NOT NULL CHECK (offered >= 0),
    refused   BIGINT NOT NULL CHECK (refused >= 0),
    duplicate BIGINT NOT NULL CHECK (duplicate >= 0),
    stored    BIGINT NOT NULL CHECK (stored >= 0),
    frozen    BIGINT NOT NULL CHECK (frozen >= 0),
    PRIMARY KEY (buffer, epoch, number, hour)
);
CREATE INDEX buffer_hours_hour ON royalty.buffer_hours (hour, buffer, epoch, number);

-- Gaps are looked for in the epochs that sent something in a period.
CREATE INDEX batches_frozen ON royalty.batches USING brin (frozen_at_ms);

ALTER TABLE royalty.quarantine ADD COLUMN hour BIGINT;
UPDATE royalty.quarantine
SET hour = extract(epoch FROM date_trunc('month', to_timestamp(coalesce(royalty.play_hour(play) * 3600.0, CASE
        WHEN received_at_ms BETWEEN 1577836800000 AND batches.merged_at_ms + 300000 THEN received_at_ms / 1000.0
        ELSE batches.merged_at_ms / 1000.0 END)) AT TIME ZONE 'UTC'))::BIGINT / 3600
FROM royalty.batches
WHERE (batches.buffer, batches.epoch, batches.number) = (quarantine.buffer, quarantine.epoch, quarantine.number);
ALTER TABLE royalty.quarantine ALTER COLUMN hour SET NOT NULL;
CREATE INDEX quarantine_hour ON royalty.quarantine (hour, id);
CREATE INDEX quarantine_reason ON royalty.quarantine (reason, id);

-- A quarantined record that was merged after all, and as what. The key is the exactly-once point of a replay: a record is here once or not at all.
-- The record stays where it is and the counts of its batch stay as they are; both are read together with this table.
CREATE TABLE royalty.replayed (
    quarantine     BIGINT NOT NULL PRIMARY KEY REFERENCES royalty.quarantine,
    hour           BIGINT NOT NULL,
    counted        BIGINT NOT NULL CHECK (counted IN (0, 1)),
    duplicate      BIGINT NOT NULL CHECK (duplicate IN (0, 1)),
    replayed_at_ms BIGINT NOT NULL,
    CONSTRAINT it_is_one_thing CHECK (counted + duplicate = 1)
);
CREATE INDEX replayed_hour ON royalty.replayed (hour);

DO $$
DECLARE
    added TEXT;
BEGIN
    FOREACH added IN ARRAY ARRAY['batch_hours', 'buffer_reports', 'buffer_hours', 'replayed'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON royalty.%I
                        FOR EACH STATEMENT EXECUTE FUNCTION royalty.append_only()', added);
        EXECUTE format('GRANT SELECT, INSERT ON royalty.%I TO antiphon_royalty', added);
    END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION royalty.play_hour(UUID) TO antiphon_royalty;
