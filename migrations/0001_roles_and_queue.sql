-- The queue that services share: at-least-once, unordered, with leases, fencing numbers and dead letters.
--
--   send ─► messages ─► receive (lease, fence) ─► complete
--              ▲                   │
--              └── retry_later ────┤
--                                  └─► dead_letters (received too often, or buried with a reason)
--
-- The roles antiphon_<service> exist before the first migration runs. Instants are BIGINT milliseconds since the epoch.

REVOKE CREATE ON SCHEMA public FROM PUBLIC;

CREATE SCHEMA queue;

-- Fencing numbers: every receipt of any message gets a higher one than all before it.
CREATE SEQUENCE queue.fences;

CREATE TABLE queue.messages (
    id            BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue         TEXT    NOT NULL,
    -- Names the work. While a message with this key is alive, sending it again changes nothing.
    key           TEXT    NOT NULL,
    body          JSONB   NOT NULL,
    receive_count INTEGER NOT NULL DEFAULT 0,
    visible_at_ms BIGINT  NOT NULL DEFAULT 0,
    fence         BIGINT  NOT NULL DEFAULT 0,
    UNIQUE (queue, key)
);
CREATE INDEX messages_next ON queue.messages (queue, visible_at_ms, id);

CREATE TABLE queue.dead_letters (
    id            BIGINT  PRIMARY KEY,
    queue         TEXT    NOT NULL,
    key           TEXT    NOT NULL,
    body          JSONB   NOT NULL,
    receive_count INTEGER NOT NULL,
    reason        TEXT    NOT NULL,
    died_at_ms    BIGINT  NOT NULL
);
CREATE INDEX dead_letters_queue ON queue.dead_letters (queue, id);

GRANT USAGE ON SCHEMA queue TO antiphon_ingest, antiphon_store;
GRANT USAGE ON SEQUENCE queue.fences TO antiphon_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON queue.messages TO antiphon_ingest;
GRANT SELECT, INSERT, DELETE ON queue.dead_letters TO antiphon_ingest;
GRANT SELECT, INSERT ON queue.messages TO antiphon_store;
