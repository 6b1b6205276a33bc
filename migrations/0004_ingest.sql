-- From an upload to a published track. The ingest service alone writes here. Once a track is published the catalogue owns it.
--
--   POST /v1/ingest/upload ─► uploads (pending) ─► object event: uploaded ─► jobs (lease): processing ─► published | rejected | held
--
-- Instants are BIGINT milliseconds since the epoch.

CREATE SCHEMA ingest;

CREATE TABLE ingest.uploads (
    id              UUID    PRIMARY KEY,
    track_id        UUID    NOT NULL UNIQUE,
    owner_account   UUID    NOT NULL,
    title           TEXT    NOT NULL CHECK (title <> ''),
    artist          TEXT    NOT NULL CHECK (artist <> ''),
    album           TEXT,
    isrc            TEXT    CHECK (isrc ~ '^[A-Z]{2}[A-Z0-9]{3}[0-9]{7}$'),
    genre           TEXT,
    explicit        BOOLEAN NOT NULL,
    territories     TEXT[]  CHECK (cardinality(territories) > 0),
    release_at_ms   BIGINT,
    file_name       TEXT    NOT NULL,
    content_type    TEXT    NOT NULL,
    -- What the artist declared; the bytes that arrive must be these.
    size_bytes      BIGINT  NOT NULL CHECK (size_bytes > 0),
    sha256          BYTEA   NOT NULL CHECK (octet_length(sha256) = 32),
    state           TEXT    NOT NULL CHECK (state IN ('pending', 'uploaded', 'processing', 'published', 'rejected', 'held', 'taken_down')),
    reason_code     TEXT,
    reason_detail   TEXT,
    -- The newest object event seen. An older one is ignored.
    sequencer       TEXT,
    etag            TEXT,
    version         BYTEA   CHECK (octet_length(version) = 16),
    created_at_ms   BIGINT  NOT NULL,
    updated_at_ms   BIGINT  NOT NULL,
    published_at_ms BIGINT,
    CHECK ((reason_code IS NULL) = (reason_detail IS NULL)),
    CHECK ((state IN ('rejected', 'held')) = (reason_code IS NOT NULL)),
    CHECK (state <> 'published' OR (version IS NOT NULL AND published_at_ms IS NOT NULL))
);
CREATE INDEX uploads_of_owner ON ingest.uploads (owner_account, track_id DESC);
CREATE INDEX uploads_under_way ON ingest.uploads (updated_at_ms) WHERE state IN ('uploaded', 'processing');

-- Who works on an upload. `fence` is the message's fencing number: only its holder may change the upload, and the catalogue compares
-- it once more. `percents` follows the ladder, smallest rung first.
CREATE TABLE ingest.jobs (
    upload_id      UUID       PRIMARY KEY REFERENCES ingest.uploads,
    message_id     BIGINT     NOT NULL,
    fence          BIGINT     NOT NULL,
    lease_until_ms BIGINT     NOT NULL,
    attempts       INTEGER    NOT NULL CHECK (attempts > 0),
    percents       SMALLINT[] NOT NULL
);

CREATE TABLE ingest.idempotency (
    scope          TEXT     NOT NULL,
    key            TEXT     NOT NULL,
    request_sha256 BYTEA    NOT NULL,
    started_at_ms  BIGINT   NOT NULL,
    status         SMALLINT,
    content_type   TEXT,
    body           BYTEA,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_age ON ingest.idempotency (started_at_ms);

GRANT USAGE ON SCHEMA ingest TO antiphon_ingest;
GRANT SELECT, INSERT, UPDATE ON ingest.uploads, ingest.jobs TO antiphon_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON ingest.idempotency TO antiphon_ingest;
