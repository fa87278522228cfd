"""What the default workbench's genome database answers."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from genome.db import Journal
from genome.db.connect import opened
from genome.decompose import GenomeSpace, queries, split_words
from genome.errors import Error, NotFoundError
from genome.ids import GenomeID, prefix_range
from genome.primitives import PRIMITIVES

EVERYDAY = [
    (word, accepted.split())
    for word, accepted in (
        line.split("\t")
        for line in (Path(__file__).parent / "data" / "everyday.tsv").read_text("utf-8").splitlines()
        if not line.startswith("#")
    )
]
FIRST_GOALS = dict(EVERYDAY[-8:])


@pytest.fixture(scope="module")
def db(workbench):
    with opened(workbench.path("nsm65")) as connection:
        yield connection


@pytest.mark.parametrize("word", FIRST_GOALS)
def test_the_leading_primitive_is_one_that_a_person_accepts(envelope, word):
    assert envelope.decompose(word).leading[0][0] in FIRST_GOALS[word]


def test_everyday_words(envelope):
    """A list of 135 words written before any result was seen: 80 % of the three leading ones is the later goal."""
    leading = {word: [key for key, _ in envelope.decompose(word).leading[:3]] for word, _ in EVERYDAY}
    first = sum(leading[word][0] in accepted for word, accepted in EVERYDAY)
    three = sum(not set(leading[word]).isdisjoint(accepted) for word, accepted in EVERYDAY)
    assert first / len(EVERYDAY) >= 0.85
    assert three / len(EVERYDAY) >= 0.95


def test_weights_are_a_composition(envelope):
    for word in ("mother", "I", "running", "Paris", "mother.n.01"):
        weights = envelope.decompose(word).weights
        assert weights.shape == (65,)
        assert (weights >= 0).all()
        assert weights.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "label"),
    [("mother", "mother"), ("Mother", "mother"), ("mothers", "mother"), ("mice", "mouse"), ("sang", "sing"),
     ("because", "because"), ("hot_dog", "hot dog"), ("Paris", "Paris"), ("mother.n.01", "mother.n.01")],
)  # fmt: skip
def test_words_are_found_as_people_write_them(envelope, text, label):
    assert envelope.decompose(text).label == label


@pytest.mark.parametrize("text", ["", " ", "zzxqv", "mother.n.99", "'; zzxqv zzqvx; --", "x" * 10_000, "\x00"])
def test_nonsense_is_one_line(envelope, text):
    with pytest.raises(NotFoundError) as error:
        envelope.decompose(text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_a_text_is_the_mean_of_its_words(envelope):
    """`the` says nothing and does not count; a word that nobody knows is left out and said so."""
    told = envelope.decompose("the old teacher zzxqv")
    parts = [envelope.decompose(word).weights for word in ("old", "teacher")]
    assert told.weights == pytest.approx(np.mean(parts, axis=0), abs=1e-6)
    assert told.source == "mean of 2 of 4 words"
    assert told.id.leaf == 0
    assert told.neighbours(3).height == 3
    for reason in told.explain().reasons:
        assert sum(chain.share for chain in reason.chains) + reason.rest == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("primitive", PRIMITIVES, ids=lambda p: p.key)
def test_every_primitive_and_exponent_is_led_by_itself(envelope, primitive):
    for name in (primitive.key, primitive.prime, *primitive.exponents):
        for spelled in (name, name.lower()):
            told = envelope.decompose(spelled)
            assert told.leading[0][0] == primitive.key
            assert told.explain().reasons[0].primitive == primitive.key


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("mother's", "mother"),
        ("It\u2019s", "it"),
        ("won't", "not"),
        ("mother,", "mother"),
        ("\u201csing\u201d", "sing"),
    ],
)
def test_contractions_and_punctuation(envelope, text, label):
    assert envelope.decompose(text).label == label


def test_no_unit_has_the_id_of_a_bare_path(db):
    assert db.execute("SELECT count(*) FROM unit WHERE id & 16383 = 0").fetchall() == [(0,)]


def test_suggestions_come_from_the_index_on_labels(db):
    plan = [row[3] for row in db.execute("EXPLAIN QUERY PLAN " + queries.SPELLED_LIKE, ("a", "b", 1))]
    assert "unit_by_label (label>? AND label<?)" in plan[0]


def test_an_explanation_has_at_least_one_primitive(envelope):
    with pytest.raises(Error, match="at least 1"):
        envelope.decompose("mother").explain(-1)


def test_a_misspelling_is_helped(envelope):
    with pytest.raises(NotFoundError, match="mother"):
        envelope.decompose("mothrr")


def test_a_prefix_is_one_range_scan(db):
    told = {"first": 0, "last": 1, "kind": None, "pos": "", "least": 0, "limit": 1}
    plan = [row[3] for row in db.execute("EXPLAIN QUERY PLAN " + queries.UNITS_IN_RANGE, told)]
    assert plan == ["SEARCH u USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"]


def test_the_empty_prefix_is_everything(db, envelope):
    assert envelope.units("", limit=3).height == 3
    assert envelope.units().height == db.execute("SELECT count(*) FROM unit").fetchall()[0][0]


def test_a_prefix_holds_exactly_its_units(db, envelope):
    first, beyond = prefix_range("SOMEONE.KNOW")
    found = envelope.units("SOMEONE.KNOW")["id"].to_list()
    assert found == sorted(found)
    every = [i for (i,) in db.execute("SELECT id FROM unit") if GenomeID(i).path.startswith("SOMEONE.KNOW")]
    under = [i for i in every if GenomeID(i).names[:2] == ("SOMEONE", "KNOW")]
    assert sorted(under) == found
    assert all(first <= i < beyond for i in found)


def test_every_token_has_an_id_of_its_own(db):
    counts = dict(db.execute("SELECT method, count(*) FROM unit WHERE kind = 'token' GROUP BY method"))
    assert sum(counts.values()) == 49_152
    assert set(counts) == {"structure", "dictionary", "embedding"}
    bare = "SELECT count(*) FROM unit LEFT JOIN composition ON unit_id = id WHERE unit_id IS NULL"
    assert db.execute(bare + " AND method != 'structure'").fetchall() == [(0,)]


def test_special_tokens_stand_under_their_codon(db, envelope):
    (number,) = envelope.encode("<|im_start|>")
    assert GenomeID(queries.unit_of(db, "token", "smollm2", number).id).names[0] == "SPECIAL"
    (number,) = envelope.encode(" were")
    assert GenomeID(queries.unit_of(db, "token", "smollm2", number).id).names[0] == "BE_SOMEONE"
    (number,) = envelope.encode(" mother")
    token = queries.unit_of(db, "token", "smollm2", number)
    assert token.method == "dictionary"
    assert queries.composition(db, token.id) == pytest.approx(envelope.decompose("mother").weights, abs=1e-6)


def test_every_word_and_sense_of_the_lexicon_has_an_id(db, workbench):
    with opened(workbench.path("wordnet")) as lexicon:
        for kind, table in (("word", "word"), ("sense", "sense")):
            (count,) = lexicon.execute(f"SELECT count(*) FROM {table}").fetchall()[0]
            sql = "SELECT count(DISTINCT ref) FROM unit WHERE kind = ? AND origin = 'wordnet'"
            assert db.execute(sql, (kind,)).fetchall() == [(count,)]


def test_the_map_from_embeddings_foretells_words_that_it_has_not_seen(workbench):
    assert float(workbench.info("nsm65")["token_map_r2"]) > 0.1


def test_neighbours_equal_brute_force(db, envelope):
    """The index against all inner products, in NumPy."""
    rows = list(
        db.execute("SELECT unit_id, label, weights FROM composition JOIN unit ON id = unit_id WHERE kind = 'word'")
    )
    vectors = np.sqrt(np.stack([queries.unpack(weights) for *_, weights in rows]))
    own = envelope.decompose("teacher")
    similarity = vectors @ np.sqrt(own.weights)
    best = np.sort(similarity[[identity != own.id for identity, *_ in rows]])[::-1][:10]
    found = envelope.neighbours("teacher", k=10)
    assert found["similarity"].to_numpy() == pytest.approx(best, abs=2e-4)
    assert "teacher" not in found["label"].to_list()


def _parts(branch):
    """Every branch below one, itself too, where ways part."""
    return [branch, *(part for further in branch.branches for part in _parts(further))] if branch.branches else []


def test_shares_of_an_explanation_add_up(db, envelope):
    """Within 1e-6: over all leaves, and wherever ways part."""
    drawn = np.random.default_rng(65).permutation(
        db.execute("SELECT label FROM unit WHERE kind = 'word'").fetchall()
    )
    for word in ("mother", "teacher", "can", "I", "because", "running", *drawn[:40, 0].tolist()):
        for reason in envelope.decompose(word).explain().reasons:
            shares = [branch.share for branch in reason.branches]
            assert sum(shares) == pytest.approx(1, abs=1e-6)
            assert sum(leaf.share for b in reason.branches for leaf in b.leaves) == pytest.approx(1, abs=1e-6)
            for part in (part for branch in reason.branches for part in _parts(branch)):
                assert sum(b.share for b in part.branches) == pytest.approx(part.share, abs=1e-6)
            shares = [chain.share for chain in reason.chains]
            assert shares == sorted(shares, reverse=True)
            assert sum(shares) + reason.rest == pytest.approx(1, abs=1e-6)
    assert "person.n.01" in str(envelope.decompose("teacher").explain())


def test_a_way_carries_what_the_walk_says(db, envelope):
    """Hypernymy from `teacher` to `person`, by hand: each step's stored share times what is met at its end."""
    ((_, start),) = db.execute("SELECT id, id FROM unit WHERE label = 'kill.v.01' AND kind = 'sense'").fetchall()
    row = queries.walk_row(db, unit_id=start)
    facts = queries.walk_facts(db)
    index = row.primitive - 1
    at_once = (1 - facts.look) * (1 - facts.keep) / row.absorbed.sum()
    explained = envelope.decompose("kill.v.01").explain().reasons[0]
    assert explained.primitive == PRIMITIVES[index].key
    ended = [b for b in explained.branches[0].branches if b.stop == "end"]
    assert ended[0].share == pytest.approx(at_once / row.met[index], rel=5e-3)  # stored as float16


def test_a_chain_is_in_the_dictionary(envelope):
    """Each link of a chain follows from the definition before it, or from a relation."""
    longest = 0
    for word in ("teacher", "mother", "king", "river", "promise", "sing", "happy", "clock", "prison", "learn"):
        for reason in envelope.decompose(word).explain().reasons:
            for chain in reason.chains:
                definition = chain.definition
                for link in chain.links:
                    assert link.relation or link.via in definition.lower()
                    definition = link.definition
                longest = max(longest, len(chain.links))
    assert longest >= 3


def test_a_text_is_one_row_a_word(envelope):
    frame = envelope.decompose_text("My mother sang to me, zzxqv!")
    assert frame["word"].to_list() == ["My", "mother", "sang", "to", "me", "zzxqv"]
    assert frame["unit"].to_list() == ["my", "mother", "sing", "to", "me", None]
    assert frame["leading"].to_list()[-2:] == ["I", None]


def test_json_is_what_the_design_says(envelope):
    told = json.loads(json.dumps(envelope.decompose("mother").as_json()))
    assert list(told) == ["text", "id", "path", "weights", "source"]
    assert told["path"][0] == "SOMEONE"
    assert GenomeID(told["id"]).names == tuple(told["path"])
    assert len(told["weights"]) == 65
    assert sum(told["weights"].values()) == pytest.approx(1, abs=1e-6)


@pytest.fixture
def told(db):
    """A space of its own, and what its journal was told since it was last asked."""
    journal, before = Journal(), []

    def since() -> list[tuple]:
        rows = journal.frame().select("object", "row", "rows", "bytes", "source").rows()
        new = rows[len(before) :]
        before[:] = rows
        return new

    return GenomeSpace(db, name="nsm65", journal=journal), since


def test_the_journal_tells_units_from_disk_and_from_memory(told, db):
    space, since = told
    mother = space.find("mother")
    assert since() == [("unit", mother.id, 1, 6, "disk")]
    space.find("mother")
    assert since() == [("unit", mother.id, 1, 6, "memory")]
    assert space.find("no such word at all") is None
    assert since() == []


def test_the_journal_tells_the_composition_and_the_senses_of_a_word(told, db):
    space, since = told
    space.decompose("mother")
    unit, composition, *senses = since()
    assert unit[0] == "unit"
    assert composition == ("composition", unit[1], 1, 130, "disk")  # 65 weights of two bytes
    wanted = [(sense.id, len(sense.label)) for sense, _ in queries.senses_of_word(db, unit[1])]
    assert senses == [("unit", number, 1, size, "disk") for number, size in wanted]


def test_a_range_of_units_is_one_access(told):
    space, since = told
    frame = space.units("KNOW.SAY", limit=20)
    size = sum(len(label.encode()) for label in frame["label"])
    assert since() == [("unit", frame["id"][0], 20, size, "disk")]


def test_the_journal_tells_neighbours_and_tokens(told, db):
    space, since = told
    frame = space.neighbours("mother", k=5)
    assert [row[1] for row in since()[-5:]] == frame["id"].to_list()
    identity = space.token_id("smollm2", 65)
    assert [row[:2] for row in since()] == [("unit", int(identity))]


def test_neighbours_through_prefixes_are_those_of_the_whole_index(envelope):
    """Nine of ten at least, over all words; what is found has the same similarity."""
    words = [
        "mother",
        "kill",
        "water",
        "happy",
        "computer",
        "run",
        "river",
        "because",
        "Paris",
        "red",
        "sing",
        "law",
    ]
    shared = 0
    for word in words:
        found, exact = envelope.neighbours(word), envelope.neighbours(word, exact=True)
        least = exact["similarity"].min() - 1e-3
        shared += (found["similarity"] >= least).sum()
    assert shared >= 0.95 * 10 * len(words)


def test_neighbours_inside_a_range_and_filters(db, envelope):
    """A prefix, a part of speech and a frequency: the vector index answers for what they leave."""
    path = envelope.decompose("sing").id.names[0]
    found = envelope.neighbours("sing", k=5, prefix=path, pos="v", min_frequency=3)
    assert found.height == 5
    first, beyond = prefix_range(path)
    assert all(first <= i < beyond for i in found["id"])
    left = envelope.units(path, kind="word", pos="v", min_frequency=3)
    assert set(left["pos"].str.contains("v")) == {True}
    assert left["frequency"].min() >= 3
    rows = {i: queries.composition(db, i) for i in left["id"]}
    root = np.sqrt(envelope.decompose("sing").weights)
    own = envelope.decompose("sing").id
    best = sorted((float(np.sqrt(w) @ root) for i, w in rows.items() if i != own), reverse=True)[:5]
    assert found["similarity"].to_numpy() == pytest.approx(best, abs=2e-4)


def test_filters_that_are_none(envelope):
    for told in ({"kind": "lemma"}, {"pos": "x"}, {"pos": "nv"}, {"min_frequency": -1}):
        with pytest.raises(Error, match="got"):
            envelope.units("KNOW", **told)


def test_words_found_together_are_those_found_alone(db, workbench):
    """Every word of 1,500 definitions, and odd ones: the batched look-up against the one of `decompose`."""
    with opened(workbench.path("wordnet")) as lexicon:
        definitions = [
            d for (d,) in lexicon.execute("SELECT definition FROM sense ORDER BY id % 83, id LIMIT 1500")
        ]
    words = set(split_words(" ".join(definitions))) | {
        "Mother's",
        "WON'T",
        "mice",
        "It\u2019s",
        "zzxqv",
        "Sang",
        "US",
    }
    assert len(words) > 1000
    together, alone = GenomeSpace(db), GenomeSpace(db)
    rows = together.decompose_text(" ".join(sorted(words)))
    assert rows.height == len(words)
    for word, unit in zip(rows["word"], rows["id"], strict=True):
        found = alone.find(word)
        assert unit == (None if found is None else found.id), word


def test_a_column_of_texts(envelope):
    """Each text as `decompose` has it: the mean of its words; one without words has nulls."""
    texts = ["the old teacher zzxqv", "", None, "zzxqv", "My mother sang to me"]
    told = envelope.decompose_texts(pl.Series("said", texts))
    assert told["text"].to_list() == texts
    assert told["words"].to_list() == [4, 0, 0, 1, 5]
    assert told["weights"].is_null().to_list() == [False, True, True, True, False]
    for row in (0, 4):
        one = envelope.decompose(texts[row])
        assert told["weights"][row].to_numpy() == pytest.approx(one.weights, abs=1e-6)
        assert told["id"][row] == int(one.id)
        assert told["leading"][row] == one.leading[0][0]
    assert envelope.decompose_texts(["mother"]).height == 1
    assert envelope.decompose_texts([]).height == 0


def test_a_mixture_finds_words(db, envelope):
    """The nearest of all words by their stored weights; parts count by their proportion."""
    mixture = {"SOMEONE": 0.5, "DIE": 0.3, "BECAUSE": 0.2}
    found = envelope.compose(mixture, k=5)
    assert found.columns == ["label", "similarity", "path", "id", "kind", "origin", "frequency"]
    rows = db.execute("SELECT weights FROM composition JOIN unit ON id = unit_id WHERE kind = 'word'").fetchall()
    root = np.zeros(65)
    for key, part in mixture.items():
        root[[p.key for p in PRIMITIVES].index(key)] = np.sqrt(part)
    similarity = np.sqrt(np.stack([queries.unpack(weights) for (weights,) in rows])) @ root
    assert found["similarity"].to_numpy() == pytest.approx(np.sort(similarity)[::-1][:5], abs=2e-4)
    assert envelope.compose({"someone": 5, "die": 3, "because": 2}, k=5).equals(found)
    assert envelope.compose({"DIE": 1}, k=1, kind="sense").height == 1


@pytest.mark.parametrize(
    "mixture", [{}, {"DIE": 0}, {"DIE": -1}, {"DIE": float("nan")}, {"DIE": "much"}, {"XYZ": 1}]
)
def test_a_mixture_that_is_none_is_one_line(envelope, mixture):
    with pytest.raises(Error) as error:
        envelope.compose(mixture)
    assert "\n" not in str(error.value)
