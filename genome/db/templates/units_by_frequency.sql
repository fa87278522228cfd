-- Units of a kind, those first that stand most often in the lexicon's sense-tagged texts; 0 where nobody counted.
-- No index knows frequencies: the whole table is read, once.
--
-- roles:   genome
-- :kind    word|sense|token = 'word'  the kind of unit
-- :limit   count = 50                 at most so many rows
-- example: limit=20

SELECT unit.label, unit.frequency, path(unit.id) AS path, unit.id, unit.origin, unit.method
FROM genome.unit
WHERE +unit.kind = :kind  -- the + keeps SQLite from reading the same rows through an index, one by one
ORDER BY unit.frequency DESC, unit.id
LIMIT :limit
