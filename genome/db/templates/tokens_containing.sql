-- The tokens whose text contains some characters, in the order of their numbers.
-- Looks at every token until it has found enough. Where the beginning is known, `tokens_by_prefix` looks at a few only.
--
-- roles:   model
-- :text    text          what stands anywhere in a token
-- :limit   count = 50    at most so many rows
-- example: text=moth

SELECT token.id AS token, text(bytes) AS text, hex(bytes) AS bytes, type, score
FROM model.token
WHERE instr(token.bytes, CAST(:text AS BLOB)) > 0
ORDER BY token.id
LIMIT :limit
