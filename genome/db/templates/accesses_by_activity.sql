-- What each activity touched in each database: reads, rows and bytes, from the disk and from memory.
--
-- roles:   journal

SELECT
    activity, database,
    max(step) AS steps,
    sum(times) AS reads,
    sum(rows * times) AS rows,
    sum(bytes) AS bytes,
    coalesce(sum(bytes) FILTER (WHERE source = 'disk'), 0) AS disk_bytes,
    coalesce(sum(bytes) FILTER (WHERE source = 'memory'), 0) AS memory_bytes
FROM journal.access
GROUP BY activity, database
ORDER BY bytes DESC, activity, database
