-- The relations of a word's senses to other senses in a dictionary, sense by sense, the most frequent one first.
--
-- roles:   lexicon
-- :word    text           the word; its base form
-- :type    text = null    only this type: hypernym, hyponym, antonym, part_meronym, derivation …
-- :limit   count = 200    at most so many rows
-- example: word=mother type=hypernym

SELECT
    sense.key AS sense, relation.type, target.key AS target, target.definition,
    (SELECT group_concat(its.lemma, ', ')
     FROM lexicon.word_sense JOIN lexicon.word AS its ON its.id = word_sense.word_id
     WHERE word_sense.sense_id = target.id) AS words
FROM lexicon.word
JOIN lexicon.word_sense AS said ON said.word_id = word.id
JOIN lexicon.sense AS sense ON sense.id = said.sense_id
JOIN lexicon.relation ON relation.source_id = sense.id
JOIN lexicon.sense AS target ON target.id = relation.target_id
WHERE word.lemma = :word COLLATE NOCASE
  AND (:type IS NULL OR relation.type = :type)
ORDER BY said.tag_count DESC, said.pos_rank, sense.id, relation.type, target.id
LIMIT :limit
