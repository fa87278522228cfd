"""The tokenizer's measurements: what they work on is what they say."""

from genome.bench.tokenizers import encode_often, english
from genome.db.connect import opened


def test_english_is_of_the_models_words(tiny_db):
    """The tiny model's only words that begin with a blank are ` t`, ` the` and ` m`."""
    with opened(tiny_db) as db:
        text = english(db, 1000)
    assert len(text) == 1000
    assert set(text[:900].split()) <= {first + last for first in ("t", "the", "m") for last in ("", "the")}


def test_encoding_tells_speed_and_memory(tiny_db):
    told = encode_often(str(tiny_db), 1000)
    assert told["bytes_per_s"] > 0
    assert set(told) == {"bytes_per_s", "more_bytes"}
