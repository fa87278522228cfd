-- Units by genome ID. The row ID is the genome ID: neighbours in meaning are neighbours on disk.

CREATE TABLE unit (
    id         INTEGER PRIMARY KEY,          -- the genome ID
    kind       TEXT NOT NULL,                -- word, sense, token
    label      TEXT NOT NULL,                -- mother; mother.n.01; the token's text
    ref        INTEGER NOT NULL,             -- its row in the database that it comes from
    origin     TEXT NOT NULL,                -- that database's name
    method     TEXT NOT NULL,                -- walk, senses, dictionary, embedding, structure
    frequency  INTEGER NOT NULL,             -- how often tagged in the lexicon's corpus; 0 where unknown
    pos        TEXT NOT NULL                 -- parts of speech, one letter each: nv; empty for a token
) STRICT;
CREATE INDEX unit_by_label ON unit (label, kind);
CREATE INDEX unit_by_folded_label ON unit (label COLLATE NOCASE, kind);
CREATE INDEX unit_by_ref ON unit (kind, origin, ref);

-- 65 non-negative weights that sum to 1, in the order of the primitives, float16 little-endian.
-- Structural units (special tokens, bytes, digits ...) have none.
CREATE TABLE composition (
    unit_id    INTEGER PRIMARY KEY REFERENCES unit (id),
    weights    BLOB NOT NULL
) STRICT;

-- The square roots of the weights: of length 1, so that their inner product is at once the cosine and the
-- Bhattacharyya coefficient of two compositions. That is what "near in meaning" means here.
CREATE VIRTUAL TABLE composition_index USING vec0 (
    unit_id    INTEGER PRIMARY KEY,
    kind       TEXT PARTITION KEY,
    vector     FLOAT[65] DISTANCE_METRIC=cosine
);

-- Units of one kind whose IDs follow each other, with the mean direction of their vectors: neighbours are looked for
-- in the cells whose centres are nearest.
CREATE TABLE cell (
    id         INTEGER PRIMARY KEY,          -- 1.. , in the order of kinds and IDs
    kind       TEXT NOT NULL,
    first      INTEGER NOT NULL,             -- the first unit's ID
    size       INTEGER NOT NULL,
    centre     BLOB NOT NULL                 -- 65 float16 of length 1
) STRICT;

-- What a cell holds, apart from its centre, so that reading all centres reads nothing else.
CREATE TABLE cell_units (
    cell       INTEGER PRIMARY KEY REFERENCES cell (id),
    ids        BLOB NOT NULL,                -- int64 little-endian
    vectors    BLOB NOT NULL                 -- 65 bytes a unit: the square roots of its weights, times 255
) STRICT;

-- The walk that made the compositions, one row a sense: what explanations are read from.
CREATE TABLE walk (
    sense      INTEGER PRIMARY KEY,          -- 0.. , the number that steps name
    unit_id    INTEGER NOT NULL UNIQUE REFERENCES unit (id),
    primitive  INTEGER,                      -- 1..65 where this sense ends walks, else NULL
    absorbed   BLOB NOT NULL,                -- 65 float16: the share of walks from here that ends in each primitive
    words      BLOB NOT NULL,                -- (uint32 form, float32 share): the definition's words
    relations  BLOB NOT NULL,                -- (uint32 sense, float32 share, uint32 type): related senses
    met        BLOB NOT NULL,                -- 65 float16: the same shares for walks that look around first
    around     BLOB NOT NULL                 -- (uint32 sense, float32 share, uint32 type): what surrounds it
) STRICT;

-- Words in definitions, by what stands before them, and the senses that they may mean there.
CREATE TABLE gloss_form (
    id         INTEGER PRIMARY KEY,          -- 0.. , the number that words name
    word       TEXT NOT NULL,
    context    TEXT NOT NULL,                -- 'to', 'nominal' (after an article or preposition), or ''
    primitive  INTEGER,                      -- 1..65 where this word ends walks, else NULL
    meanings   BLOB NOT NULL                 -- (uint32 sense, float32 share)
) STRICT;

-- What a word's composition is mixed from.
CREATE TABLE word_sense (
    word_id    INTEGER NOT NULL REFERENCES unit (id),
    sense_id   INTEGER NOT NULL REFERENCES unit (id),
    share      REAL NOT NULL,
    PRIMARY KEY (word_id, sense_id)
) WITHOUT ROWID, STRICT;

-- Irregular forms, so that a text's words find their lemmas: mice -> mouse.
CREATE TABLE form (
    form       TEXT NOT NULL,
    pos        TEXT NOT NULL,
    lemma      TEXT NOT NULL,
    PRIMARY KEY (form, pos, lemma)
) WITHOUT ROWID, STRICT;
