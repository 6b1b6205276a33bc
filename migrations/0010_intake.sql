-- A log in front of the merge splits a batch, so that all of an account's events take one way through it: each part has a key of its own.
-- `part` is empty for a batch that was merged whole, else SLOT/SLOTS, with .CHUNK for the later ones of a slot too large for one record.

ALTER TABLE royalty.batches ADD COLUMN part TEXT NOT NULL DEFAULT '';
ALTER TABLE royalty.batch_counts ADD COLUMN part TEXT NOT NULL DEFAULT '';
ALTER TABLE royalty.quarantine ADD COLUMN part TEXT NOT NULL DEFAULT '';
ALTER TABLE royalty.receipt_counts ADD COLUMN part TEXT NOT NULL DEFAULT '';

ALTER TABLE royalty.batch_counts DROP CONSTRAINT batch_counts_buffer_epoch_number_fkey, DROP CONSTRAINT batch_counts_pkey;
ALTER TABLE royalty.quarantine DROP CONSTRAINT quarantine_buffer_epoch_number_fkey;
ALTER TABLE royalty.receipt_counts DROP CONSTRAINT receipt_counts_buffer_epoch_number_fkey, DROP CONSTRAINT receipt_counts_pkey;
ALTER TABLE royalty.batches DROP CONSTRAINT batches_pkey, ADD PRIMARY KEY (buffer, epoch, number, part);
ALTER TABLE royalty.batch_counts
    ADD PRIMARY KEY (buffer, epoch, number, part, period),
    ADD FOREIGN KEY (buffer, epoch, number, part) REFERENCES royalty.batches;
ALTER TABLE royalty.quarantine ADD FOREIGN KEY (buffer, epoch, number, part) REFERENCES royalty.batches;
ALTER TABLE royalty.receipt_counts
    ADD PRIMARY KEY (buffer, epoch, number, part),
    ADD FOREIGN KEY (buffer, epoch, number, part) REFERENCES royalty.batches;

-- Records of a log that cannot be merged: unreadable, a batch's name with other bytes, or gone before they were read. A record is kept whole
-- with its reason, and the reading goes on behind it. The place in each log (`royalty.cursors`) moves in the same transaction.
CREATE TABLE royalty.refused_records (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source        TEXT   NOT NULL,
    position      BIGINT NOT NULL,
    reason        TEXT   NOT NULL,
    detail        TEXT   NOT NULL,
    payload       BYTEA  NOT NULL,
    refused_at_ms BIGINT NOT NULL
);
GRANT SELECT, INSERT ON royalty.refused_records TO antiphon_royalty;
