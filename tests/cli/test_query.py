"""`genome query`: the program's templates on the default workbench, a user's own, and what is refused."""

import json
import shlex
from pathlib import Path

import pytest

from genome.cli import main
from genome.db import templates
from genome.ids import GenomeID, prefix_range


@pytest.fixture
def ask(answer):
    """`ask("nsm65", "tokens_near", "word=mother")`: the rows as dictionaries."""

    def asked(names: str, template: str, *values: str) -> list[dict]:
        return json.loads(answer("query", names, template, *values, "--json"))

    return asked


def test_tokens(ask, envelope):
    (mother,) = ask("smollm2", "tokens_by_text", "text= mother")
    assert mother == {"token": 3379, "text": " mother", "bytes": "206D6F74686572", "type": 1, "score": None}
    assert ask("smollm2", "tokens_by_bytes", "bytes=206d6f74686572") == [mother]
    assert ask("smollm2", "tokens_by_text", "text=no token has this text") == []
    begun = ask("smollm2", "tokens_by_prefix", "prefix= moth")
    assert {t["token"] for t in begun} == set(envelope.tokens(prefix=" moth")["token"])
    assert mother in begun
    within = ask("smollm2", "tokens_containing", "text=moth")
    assert [t["token"] for t in within] == envelope.tokens(contains="moth")["token"].to_list()


def test_tokens_by_their_meaning(ask, envelope):
    first, beyond = prefix_range("KNOW.SAY")
    under = ask("nsm65", "tokens_by_id_prefix", "prefix=KNOW.SAY", "limit=10")
    assert len(under) == 10
    assert all(first <= t["id"] < beyond and GenomeID(t["id"]).path == t["path"] for t in under)
    near = ask("nsm65", "tokens_near", "word=mother", "limit=7")
    told = envelope.neighbours("mother", 7, "token")
    assert [t["similarity"] for t in near] == pytest.approx(told["similarity"].to_list(), abs=1e-4)
    assert {t["text"].strip().lower() for t in near} >= {"mother", "mothers"}
    assert ask("nsm65", "tokens_near", "word=no such word") == []


def test_units(ask, envelope):
    """What the template finds under a prefix is what the vector index finds there, among the thousand nearest."""
    near = ask("nsm65", "units_near_in_range", "word=teacher", "prefix=SOMEONE.KNOW", "limit=3")
    first, beyond = prefix_range("SOMEONE.KNOW")
    nearest = envelope.neighbours("teacher", 1000).rows(named=True)
    told = [unit for unit in nearest if first <= unit["id"] < beyond][:3]
    assert [u["similarity"] for u in near] == pytest.approx([u["similarity"] for u in told], abs=1e-4)
    often = ask("nsm65", "units_by_frequency", "limit=3")
    assert often == sorted(often, key=lambda u: -u["frequency"])
    known = ask("nsm65", "units_by_weight", "primitive=KNOW", "at_least=0.6", "kind=sense", "limit=20")
    assert all(u["weight"] >= 0.6 for u in known)
    weights = envelope.decompose(known[-1]["label"]).weights
    assert known[-1]["weight"] == pytest.approx(float(weights.max()), abs=1e-3)


def test_tensors(ask):
    (q,) = ask("smollm2", "tensors", "role=attn_q", "layer=0")
    assert (q["name"], q["shape"], q["size_bytes"]) == ("blk.0.attn_q.weight", "[576, 576]", 576 * 360)
    assert len(ask("smollm2", "tensors")) == 272  # 30 layers of 9 tensors, the embedding, the last norm
    assert len(ask("smollm2", "tensors", "name=blk.7.*")) == 9
    large = ask("smollm2", "tensors", "min_bytes=1000000")
    assert [t["name"] for t in large] == ["token_embd.weight"]
    sizes = ask("smollm2", "tensor_sizes")
    assert sum(t["share"] for t in sizes) == pytest.approx(1)
    assert sizes[0]["role"] == "token_embd"


def test_words(ask):
    """WordNet 3.0: mother has five senses as a noun and two as a verb; its first one's hypernym is parent."""
    senses = ask("wordnet", "senses_of_word", "word=Mother")
    assert sorted(s["pos"] for s in senses) == ["n"] * 5 + ["v"] * 2
    assert (senses[0]["key"], senses[0]["synonyms"]) == ("mother.n.01", "female parent")
    related = ask("wordnet", "relations_of_word", "word=mother", "type=hypernym")
    assert {"sense": "mother.n.01", "target": "parent.n.01"}.items() <= related[0].items()
    assert {r["type"] for r in ask("wordnet", "relations_of_word", "word=mother")} > {"hypernym", "hyponym"}


def test_two_databases_are_compared(ask):
    """A database agrees with itself."""
    assert ask("nsm65,nsm65", "composition_differences", "kind=token") == []


def test_the_examples_run(workbench, ask):
    """Each template's example as a command, where a command has its databases."""
    databases = {"model": "smollm2", "genome": "nsm65", "lexicon": "wordnet"}
    for name in templates.files():
        template = workbench.template(name)
        if all(str(role) in databases for role in template.roles):
            named = ",".join(databases[role.kind] for role in template.roles)
            assert ask(named, name, *shlex.split(template.example))


# Listing, showing, one's own


def test_the_list(answer, workbench):
    text = answer("query", "--list")
    told = json.loads(answer("query", "--list", "--json"))
    assert [one["name"] for one in told] == sorted(templates.files())
    for one in told:
        assert one["fault"] is None
        assert one["answers"]
        assert one["name"] in text
    assert str(workbench.folder / "templates") in text


def test_a_template_is_shown(answer):
    shown = answer("query", "--show", "tensors")
    assert shown.startswith("-- Tensors by role")
    assert "FROM model.tensor" in shown


@pytest.fixture
def own(home) -> Path:
    """The folder of one's own templates in an empty workbench."""
    folder = home / "templates"
    folder.mkdir(parents=True)
    (folder / "good.sql").write_text("-- Counts tokens.\n-- roles: model\nSELECT count(*) AS n FROM model.token\n")
    (folder / "bad.sql").write_text("-- Counts tokens.\n-- roles: model\nSELECT count(*) AS n FROM model.tokens\n")
    return folder


def test_ones_own_are_listed_with_their_faults(own, capsys):
    assert main(["query", "--list", "--json"]) == 0
    told = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert told["good"]["fault"] is None
    assert told["good"]["file"] == str(own / "good.sql")
    assert "no table model.tokens; near it are model.token" in told["bad"]["fault"]
    assert main(["query", "--list"]) == 0
    assert "no table model.tokens" in " ".join(capsys.readouterr().out.split())


# What is refused


def test_wrong_input(own, refused):
    assert "--list" in refused("query")
    assert "--list" in refused("query", "smollm2")
    assert "near it are tensors" in refused("query", "smollm2", "tensor")
    assert "'role' is no value" in refused("query", "smollm2", "tensors", "role")
    assert "role is given twice" in refused("query", "smollm2", "tensors", "role=a", "role=b")
    assert "takes no value 'rle'; near it is role" in refused("query", "smollm2", "tensors", "rle=a")
    assert "layer is a whole number" in refused("query", "smollm2", "tensors", "layer=first")
    assert "no database is called 'smollm2'" in refused("query", "smollm2", "tensors")
    assert "names no database" in refused("query", ",", "tensors")
    assert "a session touched" in refused("query", "smollm2", "accesses_by_tensor")
    assert "seconds above 0" in refused("query", "smollm2", "tensors", "--seconds", "0")


def test_roles_that_are_not_filled(workbench, refused):
    home = ("--home", workbench.folder)
    assert "asks a model" in refused(*home, "query", "wordnet", "tensors")
    assert "asks a delta" in refused(*home, "query", "smollm2", "delta_tensors")
    assert "another genome database" in refused(*home, "query", "nsm65", "composition_differences")
    assert "'KNWO'" in refused(*home, "query", "nsm65", "tokens_by_id_prefix", "prefix=KNWO")
    assert "'KNWO'" in refused(*home, "query", "nsm65", "units_by_weight", "primitive=KNWO")


def test_time_is_up(workbench, refused):
    told = refused(
        "--home", workbench.folder, "query", "nsm65,nsm65", "composition_differences", "--seconds", "0.05"
    )
    assert "took longer than 0.05 seconds" in told
