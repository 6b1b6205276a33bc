-- Segment receipts (protocol::receipt): which parts of its track a play is proven to have fetched, in ms, and whether the listen rule finds
-- the listen corroborated by them. A set of ranges is the same whatever the order, the repetition and the batches its receipts came in.
ALTER TABLE royalty.plays
    ADD COLUMN proven       INT8MULTIRANGE NOT NULL DEFAULT '{}',
    ADD COLUMN corroborated BOOLEAN        NOT NULL DEFAULT FALSE;

-- What a deployment that pays for uncorroborated listens after all has to judge again.
CREATE INDEX plays_uncorroborated ON royalty.plays (play) WHERE state = 'void' AND reason = 'uncorroborated';

-- What became of the receipts of each batch that had any. A receipt is evidence and no record: one that proves nothing is dropped, and told here.
CREATE TABLE royalty.receipt_counts (
    buffer  TEXT   NOT NULL,
    epoch   TEXT   NOT NULL,
    number  BIGINT NOT NULL,
    echoed  BIGINT NOT NULL CHECK (echoed > 0),
    believed BIGINT NOT NULL CHECK (believed >= 0),
    dropped BIGINT NOT NULL CHECK (dropped >= 0),
    PRIMARY KEY (buffer, epoch, number),
    FOREIGN KEY (buffer, epoch, number) REFERENCES royalty.batches,
    CHECK (echoed = believed + dropped)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON royalty.receipt_counts
    FOR EACH STATEMENT EXECUTE FUNCTION royalty.append_only();
GRANT SELECT, INSERT ON royalty.receipt_counts TO antiphon_royalty;
