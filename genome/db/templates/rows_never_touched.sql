-- The rows of the model's tensors that were never read, as ranges: the gaps between the rows that were.
-- Reads that happened so long ago that the journal has forgotten their rows count as reads of the whole tensor.
--
-- roles:   journal, model
-- :tensor   text = '*'      the tensors' name, with * for any characters
-- :whole    yes|no = 'yes'  whether a read of a whole tensor at once counts; `no` tells of rows read by their number
-- :activity text = null     by this activity and those inside it; else by any
-- example: tensor=token_embd.weight whole=no

WITH
span AS (  -- rows that were read, each range once
    SELECT DISTINCT
        tensor.id, coalesce(access.row, 0) AS first,
        coalesce(access.row + access.rows, tensor.row_count) AS beyond
    FROM journal.access AS access
    JOIN model.tensor AS tensor ON tensor.name = access.object
    WHERE access.database = database('model')
      AND tensor.name GLOB :tensor
      AND (:activity IS NULL OR instr(access.activity || '/', :activity || '/') = 1)
      AND (:whole = 'yes' OR access.rows < tensor.row_count)
    UNION ALL  -- the end of each tensor, so that what lies behind the last read is a gap, too
    SELECT id, row_count, row_count FROM model.tensor WHERE name GLOB :tensor
),
gap AS (  -- from the furthest row that the ranges before this one reach, to where this one begins
    SELECT
        id, first AS beyond,
        coalesce(max(beyond) OVER (
            PARTITION BY id ORDER BY first, beyond ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS first
    FROM span
)
SELECT
    tensor.name, tensor.role, tensor.layer, gap.first AS first_row, gap.beyond - gap.first AS rows,
    (gap.beyond - gap.first) * tensor.row_bytes AS bytes
FROM gap JOIN model.tensor AS tensor USING (id)
WHERE gap.beyond > gap.first
ORDER BY tensor.id, first_row
