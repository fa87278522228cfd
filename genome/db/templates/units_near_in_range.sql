-- Units under a prefix that are nearest in meaning to a word: a range of IDs and a similarity in one query.
-- The range is read from the table itself, and only its units are compared; a short prefix has many of them.
-- Similarity is the cosine of the weights' square roots, from 0 to 1. A word that is not there as written gives no row.
--
-- roles:   genome
-- :word    text                       a word of the genome database
-- :prefix  text                       names of primitives joined by dots: KNOW.SAY
-- :kind    word|sense|token = 'word'  the kind of unit
-- :limit   count = 10                 at most so many rows
-- example: word=teacher prefix=KNOW

WITH asked AS (
    SELECT unit.id, composition.weights
    FROM genome.unit JOIN genome.composition ON composition.unit_id = unit.id
    WHERE unit.label = :word AND unit.kind = 'word'
    ORDER BY unit.frequency DESC, unit.id
    LIMIT 1
)
SELECT
    unit.label, similarity(composition.weights, asked.weights) AS similarity, path(unit.id) AS path, unit.id,
    unit.origin, unit.frequency
FROM asked
CROSS JOIN genome.unit AS unit  -- CROSS: the word first, then the range
JOIN genome.composition AS composition ON composition.unit_id = unit.id
WHERE unit.id BETWEEN prefix_first(:prefix) AND prefix_last(:prefix)
  AND +unit.kind = :kind  -- the + keeps SQLite from an index that holds all units of a kind in another order
  AND unit.id <> asked.id
ORDER BY similarity DESC, unit.id
LIMIT :limit
