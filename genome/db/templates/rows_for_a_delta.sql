-- The rows that a delta for what was read would have to hold: those that were touched, as ranges without overlap.
-- A dense model reads each matrix as a whole for every token. What differs from text to text are the rows that are
-- read by their number: those of the token embedding, and in a mixture of experts those of the experts in use.
--
-- roles:   journal, model
-- :whole    yes|no = 'yes'  whether a read of a whole tensor at once counts; `no` leaves rows read by their number
-- :activity text = null     by this activity and those inside it; else by any
-- example: whole=no

WITH
span AS (  -- rows that were read, each range once; where the journal has forgotten them, the whole tensor
    SELECT DISTINCT
        tensor.id, coalesce(access.row, 0) AS first,
        coalesce(access.row + access.rows, tensor.row_count) AS beyond
    FROM journal.access AS access
    JOIN model.tensor AS tensor ON tensor.name = access.object
    WHERE access.database = database('model')
      AND (:activity IS NULL OR instr(access.activity || '/', :activity || '/') = 1)
      AND (:whole = 'yes' OR access.rows < tensor.row_count)
),
reach AS (  -- how far the ranges before this one reach
    SELECT
        *,
        max(beyond) OVER (
            PARTITION BY id ORDER BY first, beyond ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
    FROM span
),
island AS (  -- a range that begins beyond all those before it begins a new island
    SELECT
        *, sum(reached IS NULL OR first > reached) OVER (PARTITION BY id ORDER BY first, beyond) AS number
    FROM reach
)
SELECT
    tensor.name, tensor.role, tensor.layer,
    min(island.first) AS first_row,
    max(island.beyond) - min(island.first) AS rows,
    (max(island.beyond) - min(island.first)) * tensor.row_bytes AS bytes
FROM island JOIN model.tensor AS tensor USING (id)
GROUP BY tensor.id, island.number
ORDER BY tensor.id, first_row
