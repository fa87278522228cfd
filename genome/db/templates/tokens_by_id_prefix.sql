-- The tokens whose genome ID begins with some primitives, in the order of their IDs.
-- A prefix is a range of integers, and the row ID of `unit` is the genome ID: one range of the table itself.
--
-- roles:   genome
-- :prefix  text          names of primitives joined by dots: KNOW.SAY
-- :limit   count = 50    at most so many rows
-- example: prefix=KNOW.SAY

SELECT unit.ref AS token, unit.label AS text, path(unit.id) AS path, unit.id, unit.method
FROM genome.unit
WHERE unit.id BETWEEN prefix_first(:prefix) AND prefix_last(:prefix)
  AND +unit.kind = 'token'  -- the + keeps SQLite from an index that holds all tokens in another order
ORDER BY unit.id
LIMIT :limit
