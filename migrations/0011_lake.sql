-- The activity lake: every play, skip, like and unlike as Parquet in the object store. What is a file of the lake and how far each feed has
-- been written are rows here, and both change in one transaction: a reader sees whole commits, and a row is written once or not yet.
--
--   royalty.plays (revision) ──┐                       ┌─► objects: activity/kind=play/day=2026-11-25/….parquet
--                              ├─► lake: keys, cursors ┤
--   catalog.like_changes ──────┘                       └─► files, snapshot, hours   (one transaction)
--
-- Instants are BIGINT milliseconds since the epoch.

-- Feeds ---------------------------------------------------------------------------------------------------------------
-- A feed orders changes by the transaction that made them and shows only those older than every transaction still open
-- (pg_snapshot_xmin): what a reader has passed stays as it was, and no writer ever waits for another one.

-- The transaction in which what is told of a play last changed.
ALTER TABLE royalty.plays ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
ALTER TABLE royalty.plays ALTER COLUMN revision SET DEFAULT (pg_current_xact_id()::TEXT::BIGINT);
CREATE INDEX plays_revised ON royalty.plays (revision, play);

CREATE FUNCTION royalty.revise() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    NEW.revision := pg_current_xact_id()::TEXT::BIGINT;
    RETURN NEW;
END $$;
-- A merge that only counts events changes nothing that is told.
CREATE TRIGGER revise BEFORE UPDATE ON royalty.plays FOR EACH ROW
    WHEN ((OLD.state, OLD.reason, OLD.played_ms, OLD.corroborated, OLD.rule_version, OLD.settled_in)
          IS DISTINCT FROM (NEW.state, NEW.reason, NEW.played_ms, NEW.corroborated, NEW.rule_version, NEW.settled_in))
    EXECUTE FUNCTION royalty.revise();

-- Every like and every like taken back, appended by the statement that does it.
CREATE TABLE catalog.like_changes (
    revision       BIGINT  NOT NULL DEFAULT (pg_current_xact_id()::TEXT::BIGINT),
    seq            BIGINT  GENERATED ALWAYS AS IDENTITY,
    account_id     UUID    NOT NULL,
    track_id       UUID    NOT NULL,
    liked          BOOLEAN NOT NULL,
    happened_at_ms BIGINT  NOT NULL,
    PRIMARY KEY (revision, seq)
);
INSERT INTO catalog.like_changes (revision, account_id, track_id, liked, happened_at_ms)
SELECT 0, account_id, track_id, TRUE, liked_at_ms FROM catalog.likes ORDER BY liked_at_ms;
GRANT SELECT, INSERT ON catalog.like_changes TO antiphon_catalog;

-- The lake ------------------------------------------------------------------------------------------------------------

CREATE SCHEMA lake;

-- The number of the newest commit. Every commit raises it by one from what it was planned on, so of two at once one must begin again.
CREATE TABLE lake.snapshot (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    number   BIGINT  NOT NULL,
    at_ms    BIGINT  NOT NULL
);
INSERT INTO lake.snapshot (number, at_ms) VALUES (0, 0);

-- How far each feed is in the lake; the position is the feed's own word.
CREATE TABLE lake.cursors (
    source   TEXT NOT NULL PRIMARY KEY,
    position TEXT NOT NULL
);

-- The manifest. A file belongs to every snapshot from `added_in` until before `removed_in`; it never changes.
CREATE TABLE lake.files (
    object        TEXT     NOT NULL PRIMARY KEY,
    kind          TEXT     NOT NULL CHECK (kind IN ('play', 'like')),
    day           TEXT     NOT NULL CHECK (day ~ '^\d{4}-\d{2}-\d{2}$'),
    -- 0 as written, one more with each merge.
    level         SMALLINT NOT NULL CHECK (level >= 0),
    rows          BIGINT   NOT NULL CHECK (rows > 0),
    -- Older revisions that a merge left out.
    superseded    BIGINT   NOT NULL DEFAULT 0 CHECK (superseded >= 0),
    bytes         BIGINT   NOT NULL CHECK (bytes > 0),
    sha256        BYTEA    NOT NULL CHECK (octet_length(sha256) = 32),
    added_in      BIGINT   NOT NULL,
    added_at_ms   BIGINT   NOT NULL,
    removed_in    BIGINT,
    removed_at_ms BIGINT,
    CHECK ((removed_in IS NULL) = (removed_at_ms IS NULL)),
    CHECK (removed_in > added_in)
);
CREATE INDEX files_live ON lake.files (kind, day, level) WHERE removed_in IS NULL;
CREATE INDEX files_removed ON lake.files (removed_at_ms) WHERE removed_in IS NOT NULL;

-- Objects that are about to be written. What is still here long afterwards belongs to no snapshot and is removed; `condemned` comes first, so
-- that a writer that was merely slow cannot commit what is being removed.
CREATE TABLE lake.pending (
    object    TEXT    NOT NULL PRIMARY KEY,
    since_ms  BIGINT  NOT NULL,
    condemned BOOLEAN NOT NULL DEFAULT FALSE
);

-- The key by which an account's pseudonym in the lake is derived, by its pseudonym in the ledger. Deleting the row is what makes the account's
-- rows nobody's.
CREATE TABLE lake.keys (
    subject    UUID   NOT NULL PRIMARY KEY,
    key        BYTEA  NOT NULL CHECK (octet_length(key) = 32),
    made_at_ms BIGINT NOT NULL
);
-- What an account did before this instant is not written again, whenever it is told.
CREATE TABLE lake.forgotten (
    subject UUID   NOT NULL PRIMARY KEY,
    at_ms   BIGINT NOT NULL
);

-- What came from the feeds and what became of it, by the hour in which the play was minted or the like happened.
CREATE TABLE lake.hours (
    kind      TEXT   NOT NULL CHECK (kind IN ('play', 'like')),
    hour_ms   BIGINT NOT NULL CHECK (hour_ms % 3600000 = 0),
    rows_in   BIGINT NOT NULL,
    rows_out  BIGINT NOT NULL,
    forgotten BIGINT NOT NULL,
    PRIMARY KEY (kind, hour_ms),
    CONSTRAINT nothing_is_lost CHECK (rows_in = rows_out + forgotten)
);

GRANT USAGE ON SCHEMA lake TO antiphon_lake;
GRANT SELECT, UPDATE ON lake.snapshot TO antiphon_lake;
GRANT SELECT, INSERT, UPDATE ON lake.cursors, lake.forgotten, lake.hours TO antiphon_lake;
GRANT SELECT, INSERT, UPDATE, DELETE ON lake.files, lake.pending, lake.keys TO antiphon_lake;
