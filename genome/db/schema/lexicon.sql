-- A dictionary as a graph: words, their senses, the senses' definitions, and relations between senses.

CREATE TABLE word (
    id         INTEGER PRIMARY KEY,
    lemma      TEXT NOT NULL UNIQUE          -- lower case unless the source has capitals only; spaces, not underscores
) STRICT;
CREATE INDEX word_by_folded_lemma ON word (lemma COLLATE NOCASE);

-- A meaning that a definition describes (WordNet's synset, one entry of Webster's).
CREATE TABLE sense (
    id         INTEGER PRIMARY KEY,
    key        TEXT NOT NULL UNIQUE,         -- the name that people use: mother.n.01
    pos        TEXT NOT NULL,                -- n, v, a, r; c conjunction, d determiner, i interjection, o pronoun, p preposition
    domain     TEXT,                         -- the lexicographer's file: noun.person
    definition TEXT NOT NULL,
    examples   TEXT NOT NULL                 -- JSON list
) STRICT;

-- Which words can carry which senses; rank 1 is the word's most frequent sense in that part of speech.
CREATE TABLE word_sense (
    word_id    INTEGER NOT NULL REFERENCES word (id),
    sense_id   INTEGER NOT NULL REFERENCES sense (id),
    pos_rank   INTEGER NOT NULL,
    tag_count  INTEGER NOT NULL,             -- how often tagged in the sense-tagged corpus
    PRIMARY KEY (word_id, sense_id)
) WITHOUT ROWID, STRICT;
CREATE INDEX word_sense_by_sense ON word_sense (sense_id);

CREATE TABLE relation (
    source_id  INTEGER NOT NULL REFERENCES sense (id),
    target_id  INTEGER NOT NULL REFERENCES sense (id),
    type       TEXT NOT NULL,                -- hypernym, part_holonym, antonym, cause, derivation, similar ...
    PRIMARY KEY (source_id, target_id, type)
) WITHOUT ROWID, STRICT;

-- Irregular forms: mice -> mouse.
CREATE TABLE form (
    form       TEXT NOT NULL,
    pos        TEXT NOT NULL,
    lemma      TEXT NOT NULL,
    PRIMARY KEY (form, pos, lemma)
) WITHOUT ROWID, STRICT;
