-- Tensors by role, layer, type and size, in the order of the source; without any value all of them.
-- No weights are read: what is told here stands in one small table.
--
-- roles:   model
-- :name    text = '*'       the name, with * for any characters: blk.0.*
-- :role    text = null      the name without its layer: attn_q, token_embd
-- :layer   count = null     the layer
-- :dtype   text = null      the type as the source names it: F32, Q4_1
-- :min_bytes count = 0      only tensors of at least so many bytes
-- example: role=attn_q layer=0

SELECT id, name, role, layer, dtype, shape, row_count, row_bytes, row_count * row_bytes AS size_bytes
FROM model.tensor
WHERE name GLOB :name
  AND (:role IS NULL OR role = :role)
  AND (:layer IS NULL OR layer = :layer)
  AND (:dtype IS NULL OR dtype = :dtype)
  AND row_count * row_bytes >= :min_bytes
ORDER BY id
