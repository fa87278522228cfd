-- Units with much of one primitive in their composition, those with most of it first.
-- Looks at every composition of the kind: no index knows single weights. The beginning of an ID does, where the
-- primitive leads: `tokens_by_id_prefix`, `genome units`.
--
-- roles:     genome
-- :primitive text                       a primitive's key: KNOW, LONG_TIME
-- :kind      word|sense|token = 'word'  the kind of unit
-- :at_least  real = 0.5                 the smallest weight, from 0 to 1
-- :limit     count = 50                 at most so many rows
-- example:   primitive=KNOW at_least=0.6

SELECT unit.label, weight(composition.weights, :primitive) AS weight, path(unit.id) AS path, unit.id, unit.frequency
FROM genome.unit AS unit
CROSS JOIN genome.composition AS composition ON composition.unit_id = unit.id  -- CROSS: the kind is looked at first
WHERE +unit.kind = :kind  -- the + keeps SQLite from an index that holds the units in another order
  AND weight(composition.weights, :primitive) >= :at_least
ORDER BY weight DESC, unit.id
LIMIT :limit
