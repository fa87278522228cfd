import pytest

from genome.db import verify
from genome.db.connect import opened
from genome.decompose.wordnet import build_wordnet
from genome.errors import DamagedError, NotFoundError

NOUNS = (
    "  1 This is a licence line\r\n"
    '00001740 03 n 01 entity 0 000 | that which is; "it exists"\r\n'
    "00002000 18 n 02 Mother 0 female_parent 0 001 @ 00001740 n 0000 | "
    'a woman (who gave birth); "my mother"; "two"  \r\n'
)
VERBS = "00003000 41 v 01 mother 0 001 + 00002000 n 0101 01 + 08 00 | care for like a mother\r\n"


@pytest.fixture
def folder(tmp_path):
    files = {
        "data.noun": NOUNS, "data.verb": VERBS, "data.adj": "", "data.adv": "",
        "index.sense": (
            "entity%1:03:00:: 00001740 1 11\r\nmother%1:18:00:: 00002000 1 59\r\n"
            "female_parent%1:18:00:: 00002000 1 0\r\nmother%2:41:00:: 00003000 1 1\r\n"
        ),
        "lexnames": "03\tnoun.Tops\t1\r\n18\tnoun.person\t1\r\n41\tverb.social\t2\r\n",
        "noun.exc": "mothers_in_law mother_in_law\r\n",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    return tmp_path


def test_a_small_wordnet(folder, tmp_path):
    build_wordnet(folder, tmp_path / "small.db", source="toy")
    with opened(tmp_path / "small.db") as db:
        senses = list(db.execute("SELECT key, pos, domain, definition, examples FROM sense ORDER BY id"))
        words = list(
            db.execute("SELECT lemma, sense_id, pos_rank, tag_count FROM word_sense JOIN word ON id = word_id")
        )
        relations = list(db.execute("SELECT * FROM relation"))
        forms = list(db.execute("SELECT * FROM form"))
    assert senses == [
        ("entity.n.01", "n", "noun.Tops", "that which is", '["it exists"]'),
        ("mother.n.01", "n", "noun.person", "a woman (who gave birth)", '["my mother", "two"]'),
        ("mother.v.01", "v", "verb.social", "care for like a mother", "[]"),
    ]
    assert sorted(words) == [
        ("Mother", 2, 1, 59),
        ("entity", 1, 1, 11),
        ("female parent", 2, 1, 0),
        ("mother", 3, 1, 1),
    ]
    assert sorted(relations) == [(2, 1, "hypernym"), (3, 2, "derivation")]
    assert forms == [("mothers in law", "n", "mother in law")]
    assert verify(tmp_path / "small.db") == []


def test_a_broken_line_is_named(folder, tmp_path):
    with (folder / "data.verb").open("a", encoding="latin-1") as file:
        file.write("00004000 41 v zz broken\r\n")
    with pytest.raises(DamagedError, match=r"data\.verb, line 2 is no synset"):
        build_wordnet(folder, tmp_path / "small.db")
    assert not (tmp_path / "small.db").exists()


def test_a_folder_without_wordnet(tmp_path):
    with pytest.raises(NotFoundError, match=r"lacks data\.noun"):
        build_wordnet(tmp_path, tmp_path / "small.db")


def test_princeton_s_own_counts(workbench):
    """WordNet 3.0 has 117,659 synsets and 206,941 pairs of word and sense (wnstats(7WN))."""
    with opened(workbench.path("wordnet")) as db:
        assert db.execute("SELECT count(*) FROM sense").fetchall() == [(117_659,)]
        distinct = "SELECT DISTINCT lower(lemma), sense_id FROM word_sense JOIN word ON id = word_id"
        pairs = f"SELECT count(*) FROM ({distinct})"
        assert db.execute(pairs).fetchall() == [(206_941,)]
        hypernyms = "SELECT count(DISTINCT source_id) FROM relation WHERE type IN ('hypernym', 'instance_hypernym')"
        assert db.execute(hypernyms).fetchall() == [(95_322,)]
