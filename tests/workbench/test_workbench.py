"""The workbench on small databases made here: the catalogue, the roles of an envelope, names and refusals."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

import genome
from genome.db import building, header
from genome.decompose.lexicon import Sense, WordSense, write_lexicon
from genome.errors import DamagedError, Error, NotFoundError
from genome.workbench import Workbench
from genome.workbench.naming import valid


def lexicon(folder: Path, name: str, words: str) -> str:
    """A lexicon that knows some words; gives its uuid."""
    path = folder / f"{name}.db"
    with building(path, "lexicon", source=f"{name} source", licence="free") as db:
        lemmas = words.split()
        senses = [
            Sense(n, f"{lemma}.n.01", "n", None, f"what {lemma} means", "[]") for n, lemma in enumerate(lemmas, 1)
        ]
        links = [WordSense(lemma, n, 1, 0) for n, lemma in enumerate(lemmas, 1)]
        write_lexicon(db, senses, links, [], [])
    return header(path)["uuid"]


def model(folder: Path, name: str) -> str:
    path = folder / f"{name}.db"
    with building(path, "model", source=name) as db:
        db.execute("INSERT INTO token VALUES (0, ?, ?, 1, NULL)", (name, name.encode()))
    return header(path)["vocabulary"]


def genome_of(folder: Path, name: str, lexicons: list[str], model: str = "", **facts: str) -> None:
    facts |= {"vocabulary": model} if model else {}
    names = json.dumps([f"lexicon {n}" for n in range(len(lexicons))])
    with building(
        folder / f"{name}.db", "genome", lexicon_names=names, lexicon_uuids=json.dumps(lexicons), **facts
    ):
        pass


@pytest.fixture
def bench(tmp_path) -> Workbench:
    """Two models, two lexicons, and a genome database for one model and one lexicon."""
    animals = lexicon(tmp_path, "animals", "cat dog mouse")
    lexicon(tmp_path, "plants", "oak rose mouse tree")
    llm = model(tmp_path, "llm")
    model(tmp_path, "other-llm")
    genome_of(tmp_path, "fauna", [animals], llm)
    return Workbench(tmp_path)


def test_a_copy_that_was_not_at_its_end_is_found_at_its_end(bench):
    whole = bench.path("fauna").read_bytes()
    bench.path("fauna").unlink()
    with (bench.folder / "copy.db").open("wb") as copy:
        copy.write(whole[: len(whole) // 2])
        copy.flush()
        with bench.envelope("llm") as envelope:
            assert envelope.names == ("llm",)
        copy.write(whole[len(whole) // 2 :])
    with bench.envelope("llm") as envelope:
        assert envelope.names == ("llm", "copy")


def test_the_catalogue_comes_from_the_headers(bench):
    frame = bench.databases()
    assert frame.columns == ["name", "kind", "size_bytes", "source", "licence", "created", "checksum"]
    assert dict(frame.select("name", "kind").iter_rows()) == {
        "animals": "lexicon", "fauna": "genome", "llm": "model", "other-llm": "model", "plants": "lexicon",
    }  # fmt: skip
    row = frame.row(by_predicate=pl.col("name") == "animals", named=True)
    assert row["size_bytes"] == bench.path("animals").stat().st_size
    assert (row["source"], row["licence"]) == ("animals source", "free")
    assert row["checksum"] == header(bench.path("animals"))["checksum"]


def test_an_empty_folder_is_an_empty_workbench(tmp_path):
    bench = Workbench(tmp_path / "not yet")
    assert bench.names() == []
    assert bench.databases().is_empty()
    with pytest.raises(NotFoundError, match="genome lab --build-only"):
        bench.envelope()


def test_a_file_is_no_workbench(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Error, match="is a file"):
        Workbench(tmp_path / "file")


def test_the_folder_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("GENOME_HOME", str(tmp_path / "home"))
    assert genome.open().folder == tmp_path / "home"


def test_info_counts_rows(bench):
    facts = bench.info("animals")
    assert facts["kind"] == "lexicon"
    assert facts["rows"]["word"] == 3


def test_verify_finds_no_damage(bench):
    assert bench.verify("plants") == []


def test_an_unknown_name_is_told_what_is_there(bench):
    with pytest.raises(NotFoundError, match="animals, fauna, llm, other-llm, plants"):
        bench.info("birds")
    with pytest.raises(NotFoundError, match="`genome pull wordnet` makes it"):
        bench.envelope("wordnet")


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "not a database"), (b"SQLite format 3\0" + bytes(200), "not a database")]
)
def test_a_strangers_file_is_listed_as_unreadable(bench, content, reason):
    (bench.folder / "strange.db").write_bytes(content)
    kinds = dict(bench.databases().select("name", "kind").iter_rows())
    assert kinds["strange"] == "unreadable"
    assert len(kinds) == 6
    with pytest.raises(DamagedError, match=reason):
        bench.info("strange")


def roles(envelope) -> tuple:
    r = envelope.roles
    return (r.model and r.model.name, tuple(d.name for d in r.lexicons), r.genome and r.genome.name)


def test_roles_come_from_kinds_and_the_genome_that_fits_is_added(bench):
    assert roles(bench.envelope("animals", "llm")) == ("llm", ("animals",), "fauna")
    assert roles(bench.envelope("llm")) == ("llm", (), "fauna")


def test_several_lexicons_keep_their_order(bench):
    assert roles(bench.envelope("plants", "animals", "plants")) == (None, ("plants", "animals"), None)


def test_a_genome_of_another_vocabulary_is_not_added_and_refused_by_name(bench):
    assert roles(bench.envelope("other-llm", "animals")) == ("other-llm", ("animals",), None)
    with pytest.raises(Error, match=r"fauna addresses the tokens of another model, not those of other-llm"):
        bench.envelope("other-llm", "fauna")
    with pytest.raises(Error, match="fauna was not built from plants"):
        bench.envelope("plants", "fauna")


def test_of_genomes_that_fit_the_one_with_the_fewest_others_is_added(bench):
    uuids = [header(bench.path(name))["uuid"] for name in ("animals", "plants")]
    genome_of(bench.folder, "everything", uuids)
    assert roles(bench.envelope("plants")) == (None, ("plants",), "everything")
    genome_of(bench.folder, "zoo", uuids[:1])
    assert roles(bench.envelope("animals")) == (None, ("animals",), "zoo")


def test_two_databases_for_one_role_are_refused(bench):
    with pytest.raises(Error, match="one model, got llm and other-llm"):
        bench.envelope("llm", "other-llm")


def test_a_swap_replaces_the_role_and_what_no_longer_fits(bench):
    with bench.envelope("llm", "animals") as envelope:
        envelope.swap("other-llm")
        assert roles(envelope) == ("other-llm", ("animals",), None)
        envelope.swap("llm")
        assert roles(envelope) == ("llm", ("animals",), "fauna")
        envelope.swap("plants")
        assert roles(envelope) == ("llm", ("plants",), None)
        with pytest.raises(Error, match="was not built from plants"):
            envelope.swap("fauna")
        assert roles(envelope) == ("llm", ("plants",), None)


def test_a_swap_keeps_what_is_open_and_stays(bench):
    with bench.envelope("llm", "animals") as envelope:
        opened = envelope._open.model()
        envelope.swap("plants")
        assert envelope._open.model() is opened


def test_a_closed_envelope_stays_closed(bench):
    with bench.envelope("llm", "animals") as envelope:
        pass
    for ask in (envelope.lexicons, lambda: envelope.encode("cat"), lambda: envelope.swap("plants")):
        with pytest.raises(Error, match="this envelope is closed"):
            ask()
    assert "animals" in repr(envelope)
    envelope.close()


def test_what_an_envelope_lacks_is_named_with_its_repair(bench):
    with bench.envelope("plants") as envelope:
        with pytest.raises(Error, match="genome pull smollm2"):
            envelope.encode("oak")
        with pytest.raises(Error, match="no genome database goes with plants"):
            envelope.units("KNOW")


def test_a_text_chooses_the_lexicons_that_know_its_words(bench):
    assert bench.coverage("The cat and the mouse").rows() == [
        ("animals", 4, 2, 0.5),
        ("plants", 4, 1, 0.25),
    ]
    assert roles(bench.assemble("a cat, a dog")) == ("llm", ("animals",), "fauna")
    bench.path("fauna").unlink()
    assert roles(bench.assemble("an oak tree and a mouse")) == (None, ("plants", "animals"), None)
    with pytest.raises(NotFoundError, match="knows a word of 'xyzzy'"):
        bench.assemble("xyzzy")


def test_pull_refuses_what_it_cannot_make(bench, tmp_path):
    with pytest.raises(NotFoundError, match="neither a file nor a named source"):
        bench.pull("wordnett")
    with pytest.raises(Error, match=r"holds no \.safetensors file"):
        bench.pull(tmp_path)
    with pytest.raises(Error, match="`genome lab --build-only` does it"):
        bench.pull("nsm65")
    with pytest.raises(Error, match="test data and becomes no database"):
        bench.pull("similarity")
    with pytest.raises(Error, match="cannot name a database"):
        bench.pull("wordnet", name="../wordnet")


def test_pull_does_not_replace_a_database_of_another_source(bench):
    before = bench.path("animals").read_bytes()
    with pytest.raises(Error, match="comes from animals source, not from wordnet"):
        bench.pull("wordnet", name="animals")
    assert bench.path("animals").read_bytes() == before


def test_pull_builds_again_what_is_damaged_or_old_and_touches_no_stranger(tmp_path, monkeypatch):
    """The source is a stand-in: which builder runs is not the question, but whether it runs."""
    from dataclasses import replace

    from genome import sources

    bench = Workbench(tmp_path / "home")
    wordnet = replace(sources.find("wordnet"))
    monkeypatch.setattr(sources, "fetch", lambda name, progress: wordnet)
    built = []

    def build(folder, database, progress, **facts):
        built.append(database.name)
        with building(database, "lexicon", **facts):
            pass

    monkeypatch.setattr("genome.decompose.build_wordnet", build)
    path = bench.pull("wordnet")
    whole = path.read_bytes()
    assert bench.pull("wordnet") == path
    assert built == ["wordnet.db"]

    for harm in (whole[:-5000], whole[:60] + bytes(4) + whole[64:]):  # truncated; schema version 0
        path.write_bytes(harm)
        bench.pull("wordnet")
        assert bench.info("wordnet")["source"] == wordnet.requirement
    assert built == ["wordnet.db"] * 3

    for stranger in (b"my diary", whole[:60] + b"\0\0\0\x63" + whole[64:]):  # no database; of schema version 99
        path.write_bytes(stranger)
        with pytest.raises(Error):
            bench.pull("wordnet")
        assert path.read_bytes() == stranger


def test_a_build_that_is_cut_off_goes_on_where_it_was(tmp_path, monkeypatch):
    """Stand-ins for the four steps; the third is interrupted the first time."""
    bench = Workbench(tmp_path)
    steps = []

    def step(name: str, *, cut: bool = False) -> None:
        steps.append(name)
        with building(tmp_path / f"{name}.db", "model" if name == "smollm2" else "lexicon", source=name):
            if cut:
                raise KeyboardInterrupt

    monkeypatch.setattr(bench, "pull", lambda name, progress: step(name, cut=name == "webster"))
    monkeypatch.setattr(bench, "_build_genome", lambda parts, progress: steps.append("nsm65"))
    with pytest.raises(KeyboardInterrupt):
        bench.build_default()
    assert bench.names() == ["smollm2", "wordnet"]
    assert steps == ["smollm2", "wordnet", "webster"]

    monkeypatch.setattr(bench, "pull", lambda name, progress: step(name))
    assert bench.build_default() == ["webster", "nsm65"]
    assert steps[3:] == ["webster", "nsm65"]


def test_a_genome_of_other_lexicons_is_built_again(tmp_path, monkeypatch):
    llm = model(tmp_path, "smollm2")
    lexicons = [lexicon(tmp_path, name, words) for name, words in (("wordnet", "cat dog"), ("webster", "you"))]
    genome_of(tmp_path, "nsm65", lexicons, llm, source="smollm2 + wordnet + webster")
    bench, built = Workbench(tmp_path), []
    monkeypatch.setattr(bench, "_build_genome", lambda parts, progress: built.append([d.name for d in parts]))
    assert bench.build_default() == []
    lexicon(tmp_path, "webster", "you something")
    assert bench.build_default() == ["nsm65"]
    assert built == [["smollm2", "wordnet", "webster"]]


def test_the_default_names_are_kept_for_the_default_databases(bench, tmp_path):
    for name in ("nsm65", "wordnet", "WordNet", "similarity"):
        (tmp_path / f"{name}.gguf").touch()
        with pytest.raises(Error, match=f"the name {name} is kept .* --name"):
            bench.pull(tmp_path / f"{name}.gguf")
    with pytest.raises(Error, match="the name smollm2 is kept"):
        bench.pull("wordnet", name="smollm2")


def test_names_that_some_machines_take_for_one_or_for_a_device(bench, tmp_path):
    (tmp_path / "file.gguf").touch()
    with pytest.raises(Error, match="differs from the database animals only in case"):
        bench.pull(tmp_path / "file.gguf", name="Animals")
    for name in ("con", "NUL", "com1", "lpt9.x"):
        with pytest.raises(Error, match="cannot name a database"):
            bench.pull(tmp_path / "file.gguf", name=name)
    assert valid("console") == "console"


def test_the_default_build_overwrites_nothing_of_another_kind_or_origin(tmp_path, monkeypatch):
    bench = Workbench(tmp_path)
    model(tmp_path, "smollm2")
    lexicon(tmp_path, "wordnet", "cat")
    model(tmp_path, "webster")
    with pytest.raises(Error, match="the database webster exists"):
        bench.build_default()
    lexicon(tmp_path, "webster", "dog")
    for make in (model, genome_of):
        make(tmp_path, "nsm65", *([[]] if make is genome_of else []))
        before = bench.path("nsm65").read_bytes()
        with pytest.raises(Error, match="the database nsm65 exists"):
            bench.build_default()
        assert bench.path("nsm65").read_bytes() == before


def test_a_workbench_stays_where_it_was_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENOME_HOME", "home")
    benches = [Workbench(), Workbench("home")]
    monkeypatch.chdir(tmp_path.parent)
    assert [b.folder for b in benches] == [tmp_path / "home"] * 2


# The default workbench, with real data


def test_building_again_builds_nothing(workbench):
    assert set(workbench.names()) >= {"smollm2", "wordnet", "webster", "nsm65"}
    stamps = {name: workbench.path(name).stat().st_mtime_ns for name in workbench.names()}
    assert workbench.build_default() == []
    assert {name: workbench.path(name).stat().st_mtime_ns for name in workbench.names()} == stamps


def test_every_default_database_says_where_it_comes_from(workbench):
    for row in workbench.databases().iter_rows(named=True):
        assert row["source"]
        assert row["licence"]
        assert len(row["checksum"]) == 64


def test_names_and_the_genome_of_their_lineage(workbench):
    with workbench.envelope("smollm2", "wordnet") as envelope:
        assert envelope.names == ("smollm2", "wordnet", "nsm65")
    with workbench.envelope() as envelope:
        assert envelope.names == ("smollm2", "wordnet", "webster", "nsm65")


def test_a_word_and_a_text(envelope):
    mother = envelope.decompose("mother")
    assert mother.path[0] == "SOMEONE"
    assert mother.weights.shape == (65,)
    assert mother.weights.sum() == pytest.approx(1, abs=1e-5)
    frame = envelope.decompose_text("My mother sang, xyzzy!")
    assert frame["word"].to_list() == ["My", "mother", "sang", "xyzzy"]
    assert frame["leading"].to_list()[1:] == ["SOMEONE", "HEAR", None]


def test_neighbours_leave_the_word_itself_out(envelope):
    frame = envelope.neighbours("mother", k=5)
    assert frame.height == 5
    assert "mother" not in frame["label"].to_list()
    assert frame["similarity"].is_sorted(descending=True)


def test_units_lie_under_their_prefix_in_order(envelope):
    frame = envelope.units("KNOW.SAY", limit=50)
    assert frame.height == 50
    assert frame["id"].is_sorted()
    assert frame["path"].str.starts_with("KNOW.SAY").all()
    with pytest.raises(NotFoundError, match="no primitive is called 'KNWO'"):
        envelope.units("KNWO")


def test_every_token_has_an_id_of_its_own(envelope):
    frame = envelope.tokens(contains="moth")
    assert frame["text"].str.contains("moth").all()
    assert frame["id"].null_count() == 0
    assert frame.filter(pl.col("text") == " mother")["path"].item().startswith("SOMEONE")
    exact = envelope.tokens(exact=" mother")
    assert exact["id"].item() == frame.filter(pl.col("text") == " mother")["id"].item()
    assert envelope.tokens(prefix=" moth").height < frame.height


def test_encode_and_decode(envelope):
    ids = envelope.encode("My mother sang.")
    assert envelope.decode(ids) == "My mother sang."


def test_a_step_has_the_id_of_its_token(envelope):
    before = envelope.journal.steps  # the envelope is shared by the session
    steps = list(envelope.generate("The capital of France is", max_tokens=3))
    assert steps[0].text == " Paris"
    ids = dict(envelope.tokens(exact=" Paris").select("token", "id").iter_rows())
    assert {steps[0].token: int(steps[0].id)} == ids
    accesses = envelope.accesses()
    assert accesses["step"].max() == before + 3
    read = accesses.filter(step=before + 1, object="token").select("database", "row", "source").rows()
    assert read == [("smollm2", steps[0].token, read[0][2])]
    units = accesses.filter(step=before + 1, object="unit").select("database", "row").rows()
    assert units == [("nsm65", int(steps[0].id))]


@pytest.fixture
def twin(workbench, tmp_path) -> Workbench:
    """The default workbench by links, and its model under a second name."""
    for name in ("smollm2", "wordnet", "webster", "nsm65"):
        (tmp_path / f"{name}.db").symlink_to(workbench.path(name).resolve())
    (tmp_path / "twin.db").symlink_to(workbench.path("smollm2").resolve())
    return Workbench(tmp_path)


def test_what_is_in_flight_goes_on_through_swaps(twin):
    with twin.envelope() as envelope:
        whole = [step.token for step in envelope.generate("Once upon a time", max_tokens=6)]
        flight = envelope.generate("Once upon a time", max_tokens=6)
        begun = [next(flight).token, next(flight).token]
        envelope.swap("twin")
        envelope.swap("wordnet")
        assert envelope.names == ("twin", "wordnet", "nsm65")
        other = [step.token for step in envelope.generate("Once upon a time", max_tokens=6)]
        assert begun + [step.token for step in flight] == whole == other


def test_threads_share_an_envelope(workbench):
    """One generates, reading the weights meanwhile; the others ask what the databases hold."""
    with workbench.envelope() as envelope, ThreadPoolExecutor(4) as pool:
        flight = pool.submit(
            lambda: [step.text for step in envelope.generate("The capital of France is", max_tokens=2)]
        )
        texts = [f"My mother sang {number}" for number in range(40)]
        encoded = pool.map(envelope.encode, texts)
        found = pool.map(lambda text: envelope.decompose_text(text)["word"].to_list(), texts)
        tokens = pool.map(lambda _: envelope.tokens(" moth").height, texts)
        assert [envelope.decode(ids) for ids in encoded] == texts
        assert all(words[:2] == ["My", "mother"] for words in found)
        assert len(set(tokens)) == 1
        assert flight.result()[0] == " Paris"


def test_an_envelope_generates_with_all_options_of_its_model():
    from inspect import signature

    from genome.envelope import Envelope
    from genome.model import LanguageModel

    own, models = (list(signature(c.generate).parameters.values())[2:] for c in (Envelope, LanguageModel))
    assert [(p.name, p.default) for p in own] == [(p.name, p.default) for p in models]


def test_a_generation_ends_with_its_envelope(workbench):
    with workbench.envelope("smollm2") as envelope:
        flight = envelope.generate("Once upon a time", max_tokens=5)
        next(flight)
    with pytest.raises(Error, match="this envelope is closed"):
        next(flight)


def test_a_decomposition_outlives_a_swap(twin):
    with twin.envelope() as envelope:
        mother = envelope.decompose("mother")
        envelope.swap("webster")
        assert mother.explain().reasons[0].chains[0].definition


def test_a_prompt_assembles_its_envelope(workbench):
    with workbench.assemble("because you and I") as envelope:
        assert set(envelope.names) == {"smollm2", "wordnet", "webster", "nsm65"}
        assert envelope.roles.lexicons[0].name == "webster"  # WordNet lacks the four function words
