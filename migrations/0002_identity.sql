-- Who people are to the service, how they prove it, and whom they act for. The identity service alone reads and writes here.
--
--   accounts ─► credentials
--       ├─────► families ─► refresh_tokens      (one family a log-in, one unspent token a family)
--       └─────► memberships ◄─ artists
--
-- Instants are BIGINT milliseconds since the epoch.

CREATE SCHEMA identity;

CREATE TABLE identity.accounts (
    id            UUID   PRIMARY KEY,
    email         TEXT   NOT NULL,
    -- The address as it is compared: lower case.
    email_key     TEXT   NOT NULL UNIQUE,
    name          TEXT   NOT NULL CHECK (name <> ''),
    role          TEXT   NOT NULL CHECK (role IN ('listener', 'artist', 'admin')),
    plan          TEXT   NOT NULL CHECK (plan IN ('free', 'premium')),
    country       TEXT   NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    created_at_ms BIGINT NOT NULL
);

-- Apart from the account, so that a list of accounts cannot show a hash.
CREATE TABLE identity.credentials (
    account_id    UUID   PRIMARY KEY REFERENCES identity.accounts,
    -- argon2id in PHC string format: the parameters travel with the hash and can be raised later.
    password_phc  TEXT   NOT NULL CHECK (password_phc LIKE '$argon2id$%'),
    changed_at_ms BIGINT NOT NULL
);

-- A log-in and all refresh tokens that descend from it.
CREATE TABLE identity.families (
    id            UUID   PRIMARY KEY,
    account_id    UUID   NOT NULL REFERENCES identity.accounts,
    started_at_ms BIGINT NOT NULL,
    ends_at_ms    BIGINT NOT NULL,
    revoked_at_ms BIGINT,
    revoked_for   TEXT   CHECK (revoked_for IN ('logged_out', 'reused')),
    CHECK ((revoked_at_ms IS NULL) = (revoked_for IS NULL))
);
CREATE INDEX families_account ON identity.families (account_id);
CREATE INDEX families_end ON identity.families (ends_at_ms);

-- The SHA-256 of a refresh token, never the token: 256 random bits need no slow hash.
CREATE TABLE identity.refresh_tokens (
    sha256       BYTEA  PRIMARY KEY CHECK (octet_length(sha256) = 32),
    family_id    UUID   NOT NULL REFERENCES identity.families ON DELETE CASCADE,
    issued_at_ms BIGINT NOT NULL,
    spent_at_ms  BIGINT
);
-- A family has one token that can be used.
CREATE UNIQUE INDEX refresh_tokens_unspent ON identity.refresh_tokens (family_id) WHERE spent_at_ms IS NULL;
CREATE INDEX refresh_tokens_family ON identity.refresh_tokens (family_id);

CREATE TABLE identity.artists (
    id            UUID   PRIMARY KEY,
    name          TEXT   NOT NULL CHECK (name <> ''),
    created_at_ms BIGINT NOT NULL
);

-- Accounts act for artists: a band has several owners, a label many artists.
CREATE TABLE identity.memberships (
    account_id    UUID   NOT NULL REFERENCES identity.accounts,
    artist_id     UUID   NOT NULL REFERENCES identity.artists,
    role          TEXT   NOT NULL CHECK (role IN ('owner', 'editor', 'viewer')),
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (account_id, artist_id)
);
CREATE INDEX memberships_artist ON identity.memberships (artist_id);

-- Answers kept under an Idempotency-Key.
CREATE TABLE identity.idempotency (
    scope          TEXT   NOT NULL,
    key            TEXT   NOT NULL,
    request_sha256 BYTEA  NOT NULL,
    started_at_ms  BIGINT NOT NULL,
    status         SMALLINT,
    content_type   TEXT,
    body           BYTEA,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_age ON identity.idempotency (started_at_ms);

GRANT USAGE ON SCHEMA identity TO antiphon_identity;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA identity TO antiphon_identity;
GRANT DELETE ON identity.families, identity.refresh_tokens, identity.idempotency TO antiphon_identity;
