-- How often each tensor of the model was read, and how many rows and bytes; the most bytes first.
--
-- roles:   journal, model
-- :activity text = null     only this activity and those inside it; else all
-- :step     count = null    only this step; 0 is what belongs to no step
-- example: step=1

SELECT
    tensor.name, tensor.role, tensor.layer,
    sum(access.times) AS reads,
    sum(access.rows * access.times) AS rows,
    sum(access.bytes) AS bytes,
    coalesce(sum(access.bytes) FILTER (WHERE access.source = 'disk'), 0) AS disk_bytes
FROM journal.access AS access
JOIN model.tensor AS tensor ON tensor.name = access.object
WHERE access.database = database('model')  -- another model of the session may have tensors of the same names
  AND (:activity IS NULL OR instr(access.activity || '/', :activity || '/') = 1)  -- session: session/probe as well
  AND (:step IS NULL OR access.step = :step)
GROUP BY tensor.id
ORDER BY bytes DESC, tensor.id
