-- What must not go on although its token or session is still good: plays, accounts, tracks. Identity alone reads and writes here; gateways
-- and edges hold copies, which they keep up to date by a feed in the order of `seq`.
--
--   administrator ─────────► revocations ─► /internal/revocations ─► gateways ─► edges
--   catalogue's outbox ─────────┘ (a track is taken down)
--
-- Instants are BIGINT milliseconds since the epoch.

-- One row for each thing that was ever revoked; a change of it moves it to a new place in the feed.
CREATE TABLE identity.revocations (
    kind         TEXT   NOT NULL CHECK (kind IN ('play', 'account', 'track')),
    id           UUID   NOT NULL,
    seq          BIGINT NOT NULL UNIQUE,
    reason       TEXT   NOT NULL CHECK (reason <> ''),
    -- The administrator; NULL: the catalogue, whose track was taken down.
    revoked_by   UUID   REFERENCES identity.accounts,
    at_ms        BIGINT NOT NULL,
    -- When it was lifted: what began before stays refused.
    lifted_at_ms BIGINT CHECK (lifted_at_ms >= at_ms),
    -- When nothing is alive any more that it could refuse. A suspended account is kept until it is lifted, however long that is.
    until_ms     BIGINT NOT NULL CHECK (until_ms > at_ms),
    PRIMARY KEY (kind, id)
);
CREATE INDEX revocations_end ON identity.revocations (until_ms);

-- Where the feed ends, and how far the catalogue's outbox has been read. One row, which whoever changes revocations locks first: so places
-- become visible in order, and a reader that has one has all before it.
CREATE TABLE identity.revocation_feed (
    only_row         BOOLEAN PRIMARY KEY DEFAULT true CHECK (only_row),
    seq              BIGINT  NOT NULL,
    catalog_position BIGINT  NOT NULL
);
INSERT INTO identity.revocation_feed (seq, catalog_position) VALUES (0, 0);

-- A revoked account's log-ins end with it.
ALTER TABLE identity.families
    DROP CONSTRAINT families_revoked_for_check,
    ADD CONSTRAINT families_revoked_for_check CHECK (revoked_for IN ('logged_out', 'reused', 'suspended'));

GRANT SELECT, INSERT, UPDATE, DELETE ON identity.revocations TO antiphon_identity;
GRANT SELECT, UPDATE ON identity.revocation_feed TO antiphon_identity;
