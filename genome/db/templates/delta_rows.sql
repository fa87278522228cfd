-- The rows that a delta changes, as patches: each within one block of the base, so that one row needs one patch.
-- The first and the last row of a patch change; of those between them, as many as `changed_rows` says.
--
-- roles:   delta
-- :tensor  text = '*'      the tensors' name, with * for any characters
-- :limit   count = 1000    at most so many rows
-- example: tensor=token_embd.weight

SELECT
    change.tensor, patch.first_row, patch.first_row + patch.row_count - 1 AS last_row,
    coalesce(bits(patch.rows), patch.row_count) AS changed_rows, patch.encoding, length(patch.data) AS stored_bytes
FROM delta.change
JOIN delta.patch ON patch.change_id = change.id
WHERE change.tensor GLOB :tensor
ORDER BY change.id, patch.first_row
LIMIT :limit
