-- The tokens that stand for exactly this text: one look-up in an index, no other token is read.
-- Models may have several tokens for one text, and none for most. A blank before a word belongs to it: " mother".
--
-- roles:   model
-- :text    text    the whole text of a token
-- example: text=" mother"

SELECT token.id AS token, text(bytes) AS text, hex(bytes) AS bytes, type, score
FROM model.token
WHERE bytes = CAST(:text AS BLOB)  -- the column holds bytes, and no text is ever equal to bytes
ORDER BY token.id
