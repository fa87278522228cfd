-- The tensors of the model of which no row was read.
--
-- roles:   journal, model
-- :activity text = null     by this activity and those inside it; else by any
-- example: activity=session

WITH touched AS (
    SELECT DISTINCT object FROM journal.access
    WHERE database = database('model')
      AND (:activity IS NULL OR instr(activity || '/', :activity || '/') = 1)
)
SELECT name, role, layer, dtype, row_count, row_count * row_bytes AS size_bytes
FROM model.tensor
WHERE name NOT IN (SELECT object FROM touched)
ORDER BY id
