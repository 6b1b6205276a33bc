-- Players that report their state instead of intervals (CMCD in event mode): the state, the instant of it by the player's own clock, and
-- where in the track it was, if the player says so. Empty for events that carry an interval.
ALTER TABLE royalty.events
    ADD COLUMN clock_at_ms       BIGINT,
    ADD COLUMN clock_playing     BOOLEAN,
    ADD COLUMN clock_position_ms BIGINT,
    ADD CONSTRAINT events_clock_is_whole CHECK (
        (clock_at_ms IS NULL) = (clock_playing IS NULL) AND (clock_position_ms IS NULL OR clock_at_ms IS NOT NULL)
    );
