-- The tokens that stand for exactly these bytes: one look-up in an index, no other token is read.
-- A byte that is half of a character is a token of its own in most vocabularies; it has bytes, but no text.
--
-- roles:   model
-- :bytes   bytes    the whole token, as hexadecimal digits
-- example: bytes=206d6f74686572

SELECT token.id AS token, text(bytes) AS text, hex(bytes) AS bytes, type, score
FROM model.token
WHERE token.bytes = :bytes
ORDER BY token.id
