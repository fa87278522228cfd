-- The tokens nearest in meaning to a word, through the vector index.
-- Similarity is the cosine of the weights' square roots, from 0 to 1. A word that is not there as written gives no row.
--
-- roles:   genome
-- :word    text          a word of the genome database
-- :limit   count = 10    at most so many rows, up to 4096
-- example: word=mother

WITH asked AS (
    SELECT unit.id FROM genome.unit
    WHERE unit.label = :word AND unit.kind = 'word'
    ORDER BY unit.frequency DESC, unit.id
    LIMIT 1
)
SELECT unit.ref AS token, unit.label AS text, 1 - near.distance AS similarity, path(unit.id) AS path, unit.id
FROM asked
CROSS JOIN genome.composition_index AS near  -- CROSS: the word first, then the index
JOIN genome.unit AS unit ON unit.id = near.unit_id
WHERE near.vector MATCH (SELECT vector FROM genome.composition_index WHERE unit_id = (SELECT id FROM asked))
  AND near.k = :limit
  AND near.kind = 'token'
ORDER BY near.distance, unit.id
