-- Units by genome ID. The row ID is the genome ID: neighbours in meaning are neighbours on disk.

CREATE TABLE unit (
    id         INTEGER PRIMARY KEY,          -- the genome ID
    kind       TEXT NOT NULL,                -- word, sense, token
    label      TEXT NOT NULL,                -- mother; mother.n.01; the token's text
    ref        INTEGER NOT NULL,             -- row in the database it comes from
    origin     TEXT NOT NULL,                -- that database's name
    method     TEXT NOT NULL,                -- walk, dictionary, embedding, structure
    frequency  INTEGER NOT NULL              -- how often tagged in the lexicon's corpus; 0 where unknown
) STRICT;
CREATE INDEX unit_by_label ON unit (label, kind);
CREATE INDEX unit_by_ref ON unit (kind, origin, ref);

-- 65 non-negative weights that sum to 1, float32, in the order of the primitives.
-- Structural units (special tokens, bytes, digits ...) have none.
CREATE TABLE composition (
    unit_id    INTEGER PRIMARY KEY REFERENCES unit (id),
    weights    BLOB NOT NULL
) STRICT;

-- The same weights' square roots, whose inner product is the Bhattacharyya coefficient (and, all having
-- length 1, the cosine): what "near in meaning" means here.
CREATE VIRTUAL TABLE composition_index USING vec0 (
    unit_id    INTEGER PRIMARY KEY,
    kind       TEXT PARTITION KEY,
    vector     FLOAT[65] DISTANCE_METRIC=cosine
);
