-- What an activity touched, as templates see it: a table in memory, filled from the journal when a query asks for it.
-- Reads of the same rows that happened long ago are added up to one row: then `times` is more than 1, and what the
-- sum has forgotten (its step; far later its rows, its activity) is NULL.

CREATE TABLE access (
    activity   TEXT,                         -- the activity's name; one inside another: session/probe
    step       INTEGER,                      -- 1.. ; 0 for what belongs to no step
    database   TEXT NOT NULL,                -- the database's name
    object     TEXT NOT NULL,                -- a tensor's name, or the table that was read: token, unit, composition
    row        INTEGER,                      -- the first row: a tensor's row, a token's number, a unit's genome ID
    rows       INTEGER,                      -- how many rows from there on
    bytes      INTEGER NOT NULL,             -- of all times together
    source     TEXT NOT NULL,                -- disk, memory
    times      INTEGER NOT NULL
) STRICT;
