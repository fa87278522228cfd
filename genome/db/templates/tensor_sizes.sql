-- Where a model's bytes are: tensors added up by role and type, the largest first.
--
-- roles:   model

SELECT
    role, dtype, count(*) AS tensors, sum(row_count) AS row_count, sum(row_count * row_bytes) AS size_bytes,
    1.0 * sum(row_count * row_bytes) / sum(sum(row_count * row_bytes)) OVER () AS share
FROM model.tensor
GROUP BY role, dtype
ORDER BY size_bytes DESC, role, dtype
