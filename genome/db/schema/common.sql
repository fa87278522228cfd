-- What every reference database holds, whatever its kind. The header says the rest:
-- application_id 0x474E4F4D ("GNOM"), user_version = the schema version of the kind.

-- kind, name, uuid, source, source_sha256, licence, created, checksum, and what a kind adds.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID, STRICT;

-- A digest of each other table, written when the build ends and compared by `genome verify`.
-- Row blocks carry checksums of their own and enter here by those, not by their bytes.
CREATE TABLE contents (
    table_name TEXT PRIMARY KEY,
    row_count  INTEGER NOT NULL,
    sha256     TEXT NOT NULL
) WITHOUT ROWID, STRICT;
