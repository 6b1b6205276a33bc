-- What can be heard, by whom it is, and who likes it. The catalogue service alone writes here; everyone else keeps copies fed by
-- the outbox.
--
--   artists ─┬► releases ─► tracks ─► recordings ─► media_versions
--            └► credits        └► deals (where, from when)
--   likes, follows ─► counter_changes ─► counters            every change of a track ─► outbox ─► search, royalty, recommend
--
-- Instants are BIGINT milliseconds since the epoch. A `*_key` column is the folded name by which a thing is found again.

CREATE SCHEMA catalog;

-- An account's artist of one name. Memberships (who else acts for it) are identity's.
CREATE TABLE catalog.artists (
    id            UUID   PRIMARY KEY,
    owner_account UUID   NOT NULL,
    name          TEXT   NOT NULL CHECK (name <> ''),
    name_key      TEXT   NOT NULL,
    created_at_ms BIGINT NOT NULL,
    UNIQUE (owner_account, name_key)
);

CREATE TABLE catalog.releases (
    id            UUID   PRIMARY KEY,
    artist_id     UUID   NOT NULL REFERENCES catalog.artists,
    title         TEXT   NOT NULL CHECK (title <> ''),
    title_key     TEXT   NOT NULL,
    created_at_ms BIGINT NOT NULL,
    UNIQUE (artist_id, title_key)
);

-- The audio itself. It may stand on several tracks; `current_version` is what is played now.
CREATE TABLE catalog.recordings (
    id              UUID    PRIMARY KEY,
    artist_id       UUID    NOT NULL REFERENCES catalog.artists,
    isrc            TEXT    CHECK (isrc ~ '^[A-Z]{2}[A-Z0-9]{3}[0-9]{7}$'),
    genre           TEXT,
    explicit        BOOLEAN NOT NULL,
    current_version BYTEA   NOT NULL,
    created_at_ms   BIGINT  NOT NULL
);
CREATE INDEX recordings_isrc ON catalog.recordings (isrc) WHERE isrc IS NOT NULL;

-- One encoding of a recording, named by its content. Immutable.
CREATE TABLE catalog.media_versions (
    recording_id     UUID    NOT NULL REFERENCES catalog.recordings,
    version          BYTEA   NOT NULL CHECK (octet_length(version) = 16),
    source_sha256    TEXT    NOT NULL,
    packager         TEXT    NOT NULL,
    duration_ms      BIGINT  NOT NULL CHECK (duration_ms > 0),
    integrated_clufs INTEGER NOT NULL,
    true_peak_cdbtp  INTEGER NOT NULL,
    rungs            JSONB   NOT NULL,
    fence            BIGINT  NOT NULL,
    published_at_ms  BIGINT  NOT NULL,
    PRIMARY KEY (recording_id, version)
);
ALTER TABLE catalog.recordings ADD CONSTRAINT recordings_current_version
    FOREIGN KEY (id, current_version) REFERENCES catalog.media_versions (recording_id, version) DEFERRABLE INITIALLY DEFERRED;

-- A recording as it stands on a release. `publish_fence` is the highest fencing number that has published it.
CREATE TABLE catalog.tracks (
    id               UUID    PRIMARY KEY,
    recording_id     UUID    NOT NULL REFERENCES catalog.recordings,
    artist_id        UUID    NOT NULL REFERENCES catalog.artists,
    release_id       UUID    REFERENCES catalog.releases,
    owner_account    UUID    NOT NULL,
    title            TEXT    NOT NULL CHECK (title <> ''),
    state            TEXT    NOT NULL CHECK (state IN ('published', 'taken_down')),
    publish_fence    BIGINT  NOT NULL,
    published_at_ms  BIGINT  NOT NULL,
    taken_down_at_ms BIGINT,
    CHECK ((state = 'taken_down') = (taken_down_at_ms IS NOT NULL))
);
CREATE INDEX tracks_recording ON catalog.tracks (recording_id);
CREATE INDEX tracks_artist ON catalog.tracks (artist_id);
CREATE INDEX tracks_release ON catalog.tracks (release_id) WHERE release_id IS NOT NULL;

-- Where and from when a track or a whole release may be heard. No row, or NULL: no limit.
CREATE TABLE catalog.deals (
    id            UUID   PRIMARY KEY,
    track_id      UUID   UNIQUE REFERENCES catalog.tracks,
    release_id    UUID   UNIQUE REFERENCES catalog.releases,
    territories   TEXT[] CHECK (cardinality(territories) > 0),
    release_at_ms BIGINT,
    created_at_ms BIGINT NOT NULL,
    CHECK ((track_id IS NULL) <> (release_id IS NULL))
);

-- Who did what on a recording.
CREATE TABLE catalog.credits (
    recording_id UUID     NOT NULL REFERENCES catalog.recordings,
    artist_id    UUID     NOT NULL REFERENCES catalog.artists,
    role         TEXT     NOT NULL CHECK (role IN ('main', 'featured', 'writer', 'producer', 'remixer')),
    position     SMALLINT NOT NULL CHECK (position >= 0),
    PRIMARY KEY (recording_id, artist_id, role)
);
CREATE INDEX credits_artist ON catalog.credits (artist_id);

CREATE TABLE catalog.likes (
    account_id  UUID   NOT NULL,
    track_id    UUID   NOT NULL REFERENCES catalog.tracks,
    liked_at_ms BIGINT NOT NULL,
    PRIMARY KEY (account_id, track_id)
);
CREATE INDEX likes_newest ON catalog.likes (account_id, liked_at_ms DESC, track_id DESC);

CREATE TABLE catalog.follows (
    account_id     UUID   NOT NULL,
    artist_id      UUID   NOT NULL REFERENCES catalog.artists,
    followed_at_ms BIGINT NOT NULL,
    PRIMARY KEY (account_id, artist_id)
);

-- A like appends a change beside itself; a job sums changes into counters and deletes them in the same transaction. So a hit
-- has no hot row, and a counter equals the likes behind it once the changes are drained.
CREATE TABLE catalog.counter_changes (
    id      BIGINT   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind    TEXT     NOT NULL CHECK (kind IN ('track_likes', 'artist_follows')),
    subject UUID     NOT NULL,
    delta   SMALLINT NOT NULL CHECK (delta IN (-1, 1))
);

CREATE TABLE catalog.counters (
    kind    TEXT   NOT NULL,
    subject UUID   NOT NULL,
    value   BIGINT NOT NULL,
    PRIMARY KEY (kind, subject)
);

-- What happened to tracks, in commit order: whoever inserts holds an advisory lock from taking `seq` until the commit, so a
-- reader that has seen N has seen everything below N. Append-only.
CREATE TABLE catalog.outbox (
    seq      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind     TEXT   NOT NULL CHECK (kind IN ('track_published', 'track_taken_down')),
    track_id UUID   NOT NULL,
    at_ms    BIGINT NOT NULL,
    track    JSONB  NOT NULL
);

GRANT USAGE ON SCHEMA catalog TO antiphon_catalog;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA catalog TO antiphon_catalog;
GRANT UPDATE ON catalog.recordings, catalog.tracks, catalog.deals, catalog.counters TO antiphon_catalog;
GRANT DELETE ON catalog.likes, catalog.follows, catalog.counter_changes TO antiphon_catalog;
