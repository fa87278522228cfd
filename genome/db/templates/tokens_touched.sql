-- The tokens that were looked up, with their text and genome IDs where they have one, the most frequent first.
--
-- roles:   journal, model, genome
-- :activity text = null     only this activity and those inside it; else all
-- :limit    count = 100     at most so many rows
-- example: limit=20

SELECT token.id AS token, text(token.bytes) AS text, path(unit.id) AS path, unit.id, sum(access.times) AS reads
FROM journal.access AS access
CROSS JOIN model.token AS token  -- CROSS: the accesses first, not every token
    ON token.id >= access.row AND token.id < access.row + access.rows
LEFT JOIN genome.unit AS unit
    ON unit.kind = 'token' AND unit.origin = (SELECT value FROM genome.meta WHERE key = 'model') AND unit.ref = token.id
WHERE access.object = 'token'
  AND access.database = database('model')
  AND (:activity IS NULL OR instr(access.activity || '/', :activity || '/') = 1)
GROUP BY token.id
ORDER BY reads DESC, token.id
LIMIT :limit
