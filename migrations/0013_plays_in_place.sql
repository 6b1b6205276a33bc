-- A heartbeat changes the row of its play. PostgreSQL leaves the indexes of a row alone when no column that any of them speaks of changes and
-- its page has room (a heap-only tuple). `events` changes with every heartbeat and `folded` follows it, and an index spoke of both: every
-- heartbeat was written into every index, twice. What waits to be folded is found by its account instead, which `royalty.dirty_accounts` names.
DROP INDEX royalty.plays_unfolded;

-- As in 0005, with room in the pages of plays for the next version of their rows.
CREATE OR REPLACE FUNCTION royalty.ensure_day(day DATE) RETURNS BOOLEAN
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parent TEXT;
    part   TEXT;
    floor  UUID := royalty.play_floor((extract(epoch FROM day) * 1000)::BIGINT);
    ceil   UUID := royalty.play_floor((extract(epoch FROM day + 1) * 1000)::BIGINT);
    made   BOOLEAN := FALSE;
BEGIN
    IF to_regclass('royalty.plays_' || to_char(day, 'YYYYMMDD')) IS NOT NULL THEN
        RETURN FALSE;
    END IF;
    IF day < DATE '2020-01-01' OR day > DATE '2200-01-01' THEN
        RAISE EXCEPTION 'no play was minted on %', day;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('royalty.ensure_day', 0));
    FOREACH parent IN ARRAY ARRAY['events', 'plays'] LOOP
        part := parent || '_' || to_char(day, 'YYYYMMDD');
        IF to_regclass('royalty.' || part) IS NULL THEN
            EXECUTE format('CREATE TABLE royalty.%I (LIKE royalty.%I INCLUDING ALL) WITH (fillfactor = %s)', part, parent,
                           CASE parent WHEN 'plays' THEN 70 ELSE 100 END);
            EXECUTE format('ALTER TABLE royalty.%I ATTACH PARTITION royalty.%I FOR VALUES FROM (%L) TO (%L)', parent, part, floor, ceil);
            made := TRUE;
        END IF;
    END LOOP;
    RETURN made;
END $$;

DO $$
DECLARE
    part REGCLASS;
BEGIN
    FOR part IN SELECT inhrelid::REGCLASS FROM pg_inherits WHERE inhparent = 'royalty.plays'::REGCLASS LOOP
        EXECUTE format('ALTER TABLE %s SET (fillfactor = 70)', part);
    END LOOP;
END $$;
