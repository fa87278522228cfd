-- The tokens whose text begins with some characters, in the order of their bytes: one range of an index.
--
-- roles:   model
-- :prefix  text          how the text begins, blanks included
-- :limit   count = 50    at most so many rows
-- example: prefix=" moth"

SELECT token.id AS token, text(bytes) AS text, hex(bytes) AS bytes, type, score
FROM model.token
-- No text holds the byte FF, so that whatever text goes on from the prefix sorts before the prefix and FF.
WHERE token.bytes >= CAST(:prefix AS BLOB) AND token.bytes < CAST(:prefix || x'FF' AS BLOB)
ORDER BY token.bytes, token.id
LIMIT :limit
