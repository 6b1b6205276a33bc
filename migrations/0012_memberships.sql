-- More than one account acts for an artist. An owner invites, the invited account accepts: until then the row gives no right, so that nobody
-- is made a member of anything against their will. Tracks remember the artist they were uploaded for, and rights over them follow its members.
--
--   owner ─► memberships (invited) ─► the invited account: accepted ─► ingest, catalogue, royalty ask identity
--
-- Instants are BIGINT milliseconds since the epoch.

ALTER TABLE identity.memberships
    -- NULL: invited, without any right yet.
    ADD COLUMN accepted_at_ms BIGINT,
    -- The address as the owner typed it, when it was an address.
    ADD COLUMN invited_as     TEXT;
UPDATE identity.memberships SET accepted_at_ms = created_at_ms;
-- Who leaves or is removed.
GRANT DELETE ON identity.memberships TO antiphon_identity;

-- An account that was made an artist by the deployment has had none to act for. Its id is a UUIDv7 that no artist has.
INSERT INTO identity.artists (id, name, created_at_ms)
SELECT account.id, account.name, account.created_at_ms
  FROM identity.accounts account
 WHERE NOT EXISTS (SELECT FROM identity.memberships membership WHERE membership.account_id = account.id)
   AND (account.role = 'artist' OR EXISTS (SELECT FROM ingest.uploads upload WHERE upload.owner_account = account.id));
INSERT INTO identity.memberships (account_id, artist_id, role, created_at_ms, accepted_at_ms)
SELECT artist.id, artist.id, 'owner', artist.created_at_ms, artist.created_at_ms
  FROM identity.artists artist
  JOIN identity.accounts account ON account.id = artist.id;

-- `owner_account` stays who is paid unless a split says otherwise; `acts_for` is whose members may do what.
ALTER TABLE ingest.uploads
    ADD COLUMN acts_for    UUID,
    ADD COLUMN uploaded_by UUID;
UPDATE ingest.uploads upload
   SET uploaded_by = upload.owner_account,
       acts_for    = (SELECT membership.artist_id FROM identity.memberships membership WHERE membership.account_id = upload.owner_account);
-- An upload whose account is gone altogether belongs to nobody who could ask.
UPDATE ingest.uploads SET acts_for = owner_account WHERE acts_for IS NULL;
ALTER TABLE ingest.uploads
    ALTER COLUMN acts_for    SET NOT NULL,
    ALTER COLUMN uploaded_by SET NOT NULL;
DROP INDEX ingest.uploads_of_owner;
CREATE INDEX uploads_of_artist ON ingest.uploads (acts_for, track_id DESC);

-- When the file that the artist sent was removed, once nobody needed it any more.
ALTER TABLE ingest.uploads ADD COLUMN raw_removed_at_ms BIGINT;
CREATE INDEX uploads_with_raw ON ingest.uploads (updated_at_ms) WHERE raw_removed_at_ms IS NULL AND state IN ('published', 'rejected', 'taken_down');

-- NULL: its owner alone.
ALTER TABLE catalog.tracks ADD COLUMN acts_for UUID;
UPDATE catalog.tracks track SET acts_for = (SELECT upload.acts_for FROM ingest.uploads upload WHERE upload.track_id = track.id);

ALTER TABLE royalty.tracks ADD COLUMN acts_for UUID;
UPDATE royalty.tracks track SET acts_for = (SELECT upload.acts_for FROM ingest.uploads upload WHERE upload.track_id = track.id);
