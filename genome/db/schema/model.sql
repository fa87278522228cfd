-- A language model: the files it came from, hyper-parameters, tensors in row blocks, tokens and merges.

-- The files, in the order of their set; what they hold beside tensors, so that each goes out byte for byte.
CREATE TABLE file (
    id         INTEGER PRIMARY KEY,          -- 0..
    name       TEXT NOT NULL UNIQUE,         -- within its folder: model-00001-of-00002.safetensors
    format     TEXT NOT NULL,                -- gguf, safetensors; plain for what holds no tensors (tokenizer.json)
    size_bytes INTEGER NOT NULL,
    sha256     TEXT NOT NULL,
    layout     TEXT NOT NULL,                -- JSON, what the format leaves open. gguf: version, alignment; byte_order
                                             -- where it is big; padding where bytes that belong to no tensor are not
                                             -- zeros, or the file ends elsewhere than its last tensor and the padding
                                             -- after it: {"size_bytes": the file's size, "bytes": {"offset": hexadecimal}}
    head       BLOB                          -- Zstandard, what the tables below do not say. safetensors: the bytes before
                                             -- the first tensor's; plain: all; gguf: header and metadata of a part after
                                             -- the first
) STRICT;

-- Key-value metadata in the order and with the types of the source file; of a model from safetensors what its
-- configuration and tokenizer say, under GGUF's keys.
-- A value that has tables of its own (tokens, scores, token types, merges) is NULL here; scores that the table
-- cannot keep (NaN, -0.0, integers) are a blob as well.
CREATE TABLE hyperparameter (
    position   INTEGER PRIMARY KEY,          -- 0.. in the source
    key        TEXT NOT NULL UNIQUE,         -- bytes that are not UTF-8 as U+10FF80 to U+10FFFF
    type       TEXT NOT NULL,                -- the source's own name: uint32, float32, string, array[string] ...
    value      ANY                           -- integer, real, text; arrays as JSON; little-endian bytes as a blob
                                             -- where those would change it (NaN, 2**63 and more, not UTF-8);
                                             -- of an array of arrays with its type and count before them
) STRICT;

CREATE TABLE tensor (
    id         INTEGER PRIMARY KEY,          -- 0.. in the source's order
    name       TEXT NOT NULL UNIQUE,         -- as in the source: blk.0.attn_q.weight; other bytes as in a key
    role       TEXT NOT NULL,                -- the name without its layer: attn_q, token_embd, attn_q.bias
    layer      INTEGER,                      -- NULL outside the layers
    dtype      TEXT NOT NULL,                -- the source's own name: F32, Q4_1 ...; F32_BE where big-endian
    shape      TEXT NOT NULL,                -- JSON, rows first (NumPy's order)
    row_count  INTEGER NOT NULL,             -- product of all dimensions but the last
    row_bytes  INTEGER NOT NULL,             -- bytes of one row as stored
    file_id    INTEGER NOT NULL REFERENCES file (id),
    offset     INTEGER NOT NULL              -- where its data began in that file, in bytes
) STRICT;

-- A tensor's bytes, cut between rows, at most 64 KiB each; an attention head or an expert shares none with another.
CREATE TABLE block (
    id         INTEGER PRIMARY KEY,
    array      INTEGER NOT NULL REFERENCES tensor (id),
    first_row  INTEGER NOT NULL,
    row_count  INTEGER NOT NULL,
    checksum   INTEGER NOT NULL,             -- XXH3-64 of data, as a signed integer
    data       BLOB NOT NULL,
    UNIQUE (array, first_row)
) STRICT;

CREATE TABLE token (
    id         INTEGER PRIMARY KEY,          -- the number that the model uses
    piece      ANY NOT NULL,                 -- as the source spells it (byte-level BPE: 'Ġthe'); a blob if not UTF-8
    bytes      BLOB NOT NULL,                -- what it stands for in text (b' the')
    type       INTEGER NOT NULL,             -- GGUF's: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
    score      REAL                          -- SentencePiece's log probability, else NULL
) STRICT;
CREATE INDEX token_by_piece ON token (piece);
CREATE INDEX token_by_bytes ON token (bytes);
CREATE INDEX token_by_type ON token (type) WHERE type <> 1;

-- Parts of merges that are no tokens; none in most models. Numbered -1, -2 ... so that a part has one number.
CREATE TABLE fragment (
    id         INTEGER PRIMARY KEY CHECK (id < 0),
    piece      ANY NOT NULL UNIQUE
) STRICT;

-- Byte-pair merges, most frequent first. Parts by the number of a token or a fragment, so that a pair is one
-- look-up in an index that holds the answer.
CREATE TABLE merge (
    rank       INTEGER PRIMARY KEY,          -- 0.. ; a lower rank merges first
    left_id    INTEGER NOT NULL,
    right_id   INTEGER,                      -- NULL: the source's line has no second part, and merges nothing
    result_id  INTEGER
) STRICT;
CREATE INDEX merge_by_pair ON merge (left_id, right_id, result_id);

-- The deltas that were applied in place, in order; none in a model as it was built.
CREATE TABLE applied (
    id         INTEGER PRIMARY KEY,          -- 0..
    name       TEXT NOT NULL,                -- the delta's
    checksum   TEXT NOT NULL,                -- the delta's
    result     TEXT NOT NULL,                -- the model's checksum afterwards
    created    TEXT NOT NULL,                -- when it was applied, UTC
    earlier    TEXT NOT NULL                 -- JSON, what undo restores beside rows: facts of meta, rows of contents,
                                             -- and of tensors that changed their type [id, dtype, row_bytes]
) STRICT;

-- The rows that an applied delta changed, as they were: patches (see delta.sql) that lead back.
CREATE TABLE inverse (
    applied_id INTEGER NOT NULL REFERENCES applied (id),
    block_id   INTEGER NOT NULL REFERENCES block (id),
    first_row  INTEGER NOT NULL,
    row_count  INTEGER NOT NULL,
    rows       BLOB,
    encoding   TEXT NOT NULL,
    element_bytes INTEGER NOT NULL,
    result     INTEGER NOT NULL,
    checksum   INTEGER NOT NULL,
    data       BLOB NOT NULL,
    PRIMARY KEY (applied_id, block_id)
) WITHOUT ROWID, STRICT;
