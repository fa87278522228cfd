-- A delta: the rows in which a model differs from its base, laid over it when it is read, or applied in place.
-- `meta` adds base_name, base_uuid, base_checksum (the base with whatever is laid over it or applied to it already),
-- method (difference, lora, merge), and of a merge result_checksum, the state that its parts lead to, and parents.

-- The tensors that change, and how they are stored afterwards.
CREATE TABLE change (
    id         INTEGER PRIMARY KEY,          -- 0..
    tensor     TEXT NOT NULL UNIQUE,         -- its name in the base
    dtype      TEXT NOT NULL,                -- afterwards; where it is not the base's, every row changes
    row_count  INTEGER NOT NULL,             -- the base's
    row_bytes  INTEGER NOT NULL,             -- afterwards
    scale      REAL                          -- of the product of its factors; NULL without factors
) STRICT;

-- Changed rows. A patch lies within one block of the base, so that one row needs one block and one patch.
CREATE TABLE patch (
    change_id  INTEGER NOT NULL REFERENCES change (id),
    first_row  INTEGER NOT NULL,             -- the first and the last row of the span change
    row_count  INTEGER NOT NULL,
    rows       BLOB,                         -- which rows of the span change, a bit each, lowest bit first; NULL: all
    encoding   TEXT NOT NULL,                -- dense, dense_zstd, sparse, xor, low_rank
    element_bytes INTEGER NOT NULL,          -- of a number, or of a quantised block: the unit of sparse and xor
    result     INTEGER NOT NULL,             -- XXH3-64 of the changed rows' bytes afterwards
    checksum   INTEGER NOT NULL,             -- XXH3-64 of data
    data       BLOB NOT NULL,                -- never longer than the changed rows' bytes afterwards. low_rank: empty,
                                             -- or the xor of what the factors give and the bytes afterwards
    PRIMARY KEY (change_id, first_row)
) WITHOUT ROWID, STRICT;

-- The two factors of a low-rank change: a tensor's values + scale * (B A).
CREATE TABLE factor (
    change_id  INTEGER NOT NULL REFERENCES change (id),
    name       TEXT NOT NULL,                -- A: rank x columns; B: rows x rank
    dtype      TEXT NOT NULL,                -- F32, F16, BF16
    row_count  INTEGER NOT NULL,
    column_count INTEGER NOT NULL,
    checksum   INTEGER NOT NULL,             -- XXH3-64 of data
    data       BLOB NOT NULL,                -- Zstandard: the first bytes of all numbers, then the second ones ...
    PRIMARY KEY (change_id, name)
) WITHOUT ROWID, STRICT;
