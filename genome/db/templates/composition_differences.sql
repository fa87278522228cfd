-- Compositions that two genome databases disagree about: the same unit, made from the same source, and other weights.
-- Similarity is the cosine of the weights' square roots, from 0 to 1; the least similar first.
--
-- roles:   genome, other genome
-- :kind    word|sense|token = 'word'  the kind of unit
-- :below   real = 0.9                 only pairs that are less similar than this
-- :limit   count = 50                 at most so many rows
-- example: below=0.5

SELECT
    here.label, here.origin, similarity(mine.weights, theirs.weights) AS similarity,
    path(here.id) AS path, path(there.id) AS other_path, here.id, there.id AS other_id
FROM genome.unit AS here
JOIN other.unit AS there  -- through unit_by_ref: a row of a source has one unit in each of the databases
    ON there.kind = here.kind AND there.origin = here.origin AND there.ref = here.ref AND there.label = here.label
JOIN genome.composition AS mine ON mine.unit_id = here.id
JOIN other.composition AS theirs ON theirs.unit_id = there.id
WHERE here.kind = :kind
  AND mine.weights <> theirs.weights
  AND similarity(mine.weights, theirs.weights) < :below
ORDER BY similarity, here.id
LIMIT :limit
