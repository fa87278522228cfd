-- What a delta changes, tensor by tensor: how many rows, how they are encoded, and how many bytes that takes.
--
-- roles:   delta

SELECT
    change.tensor, change.dtype, change.row_count,
    (SELECT sum(coalesce(bits(patch.rows), patch.row_count)) FROM delta.patch WHERE change_id = change.id)
        AS changed_rows,
    (SELECT group_concat(DISTINCT patch.encoding) FROM delta.patch WHERE change_id = change.id) AS encodings,
    coalesce((SELECT sum(length(patch.data)) FROM delta.patch WHERE change_id = change.id), 0)
        + coalesce((SELECT sum(length(factor.data)) FROM delta.factor WHERE change_id = change.id), 0)
        AS stored_bytes,
    change.row_count * change.row_bytes AS size_bytes
FROM delta.change
ORDER BY change.id
