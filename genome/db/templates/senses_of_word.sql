-- The senses of a word in a dictionary, in capitals or not, the most frequent first.
--
-- roles:   lexicon
-- :word    text    the word; its base form, blanks between several: open up
-- example: word=mother

SELECT
    word.lemma, sense.key, sense.pos, word_sense.pos_rank, word_sense.tag_count, sense.definition,
    (SELECT group_concat(other.lemma, ', ')  -- the other words of the sense
     FROM lexicon.word_sense AS its JOIN lexicon.word AS other ON other.id = its.word_id
     WHERE its.sense_id = sense.id AND other.id <> word.id) AS synonyms
FROM lexicon.word
JOIN lexicon.word_sense ON word_sense.word_id = word.id
JOIN lexicon.sense ON sense.id = word_sense.sense_id
WHERE word.lemma = :word COLLATE NOCASE
ORDER BY word_sense.tag_count DESC, word_sense.pos_rank, sense.id
