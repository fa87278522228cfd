"""The goals of genome IDs: what prefixes mean, that they stay, and how fast they find; `genome bench ids`."""

import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import apsw
import numpy as np

from genome import sources
from genome.bench import codes
from genome.bench.area import Area
from genome.bench.codes import Judge
from genome.bench.rows import Row
from genome.db import building
from genome.db.connect import opened
from genome.decompose import GenomeSpace, queries
from genome.decompose.addresses import Addresses
from genome.decompose.build import write_units
from genome.decompose.codebook import codebook
from genome.decompose.fitting import fit
from genome.decompose.lexicon import domains
from genome.decompose.queries import Unit
from genome.decompose.tokens import held_out
from genome.errors import NotFoundError
from genome.model import embedding_rows
from genome.progress import Progress, silent
from genome.workbench import GENOME, LEXICONS, MODEL, Workbench

_WORDS, _ASKED, _PAIRS = 50_000, 1500, 200_000
_UNITS = 200_000
_TEXT_WORDS = 100_000


@dataclass(frozen=True)
class Given:
    """What is measured on: the words that the lexicon met most often, and open databases."""

    db: apsw.Connection
    lexicon: apsw.Connection
    model: Path
    words: list[str]
    weights: np.ndarray
    judge: Judge
    progress: Progress
    quick: bool


def prefixes(given: Given) -> Iterator[Row]:
    """What prefixes say of 50,000 words, beside by weight, matching pursuit, RQ-KMeans and a k-means tree."""
    weights, judge = given.weights, given.judge
    ours = codebook().paths(weights).astype(int)
    others = {
        "by weight": codes.by_weight(weights),
        "matching pursuit": codes.by_pursuit(weights),
        "RQ-KMeans 3 x 256": codes.by_residuals(judge.vectors),
        "k-means tree 65 x 65 x 65": codes.by_tree(judge.vectors, (65, 65, 65)),
    }
    own = judge.hear(ours)
    said = {name: judge.hear(code) for name, code in others.items()}

    def beside(what: str) -> str:
        return ", ".join(f"{name} {getattr(one, what):.3f}" for name, one in said.items())

    tree = said["k-means tree 65 x 65 x 65"]
    yield _row("prefix recall@10 of the ten nearest", ">= .25", own.recall, own.recall >= 0.25, "k-means tree",
               tree.recall, beside("recall"))  # fmt: skip
    yield _row("prefix distance against composition distance", "Spearman >= .40", own.spearman, own.spearman >= 0.4,
               "k-means tree", tree.spearman, beside("spearman"))  # fmt: skip
    yield _row("first codon's purity by WordNet category", ">= .50", own.purity, own.purity >= 0.5, "k-means tree",
               tree.purity, beside("purity"))  # fmt: skip
    told = _addressed(given.words, ours)
    same = codes.shared(np.array(told)[:, None])
    yield _row("words that share an ID", "0", same, same == 0, "RQ-KMeans 3 x 256",
               said["RQ-KMeans 3 x 256"].shared, "paths alone: " + beside("shared"))  # fmt: skip
    back = np.stack([codebook().composition(tuple(int(c) for c in row if c)) for row in ours[judge.asked]])
    cosine = float((codes.unit(back) * judge.vectors[judge.asked]).sum(1).mean())
    yield _row("cosine of a path's composition and its word's", "approximate", cosine, None)
    present = np.take_along_axis(weights, np.maximum(ours - 1, 0), 1)[ours > 0]
    yield _row("codons that name a primitive the word has", "all", (present > 0).mean(), bool((present > 0).all()))


def unseen(given: Given) -> Iterator[Row]:
    """The same, with a tree made of nine words of ten: what the words left out find among all."""
    left = np.arange(len(given.words)) % 10 == 0
    tree = fit(given.weights[~left])
    paths = tree.paths(given.weights).astype(int)
    held = left[given.judge.asked]
    judge = Judge(given.judge.vectors, given.judge.asked[held], given.judge.near[held], given.judge.pairs,
                  given.judge.categories)  # fmt: skip
    said = judge.hear(paths)
    note = f"Spearman {said.spearman:.3f}, purity {said.purity:.3f}"
    yield _row(
        "recall@10 of words that the tree was not made of", ">= .25", said.recall, said.recall >= 0.25, note=note
    )


def stays(given: Given) -> Iterator[Row]:
    """IDs that change when 10 % more words are added, and when everything is built again."""
    ours = codebook().paths(given.weights)
    later = np.arange(len(given.words)) % 11 == 10
    few = np.flatnonzero(~later)
    addresses = Addresses()
    before = [addresses.of_path("word", given.words[n], ours[n]) for n in few]
    added = [addresses.of_path("word", given.words[n], ours[n]) for n in np.flatnonzero(later)]
    grown = _addressed(given.words, ours, [*few.tolist(), *np.flatnonzero(later).tolist()])
    changed = sum(grown[n] != identity for n, identity in zip(few, before, strict=True)) + len(
        set(before) & set(added)
    )
    old, new = codes.by_residuals(given.judge.vectors[few]), codes.by_residuals(given.judge.vectors)[few]
    yield _row("IDs that change when 10 % more words are added", "0", changed / len(before), changed == 0,
               "RQ-KMeans 3 x 256", float((old != new).any(1).mean()))  # fmt: skip
    first, again = _addressed(given.words, ours), _addressed(given.words, codebook().paths(given.weights))
    moved = sum(one != other for one, other in zip(first, again, strict=True))
    yield _row("IDs that change when they are made again", "0", moved, moved == 0)
    moved = sum(one != other for one, other in zip(first, grown, strict=True))
    note = "two words of one path whose leaves collide; in a database that grows, the first keeps its ID"
    yield _row("words of which an ID changes when they come in another order", "few", moved, None, note=note)


def glove(given: Given) -> Iterator[Row]:
    """The same prefixes against the ten nearest words by GloVe, 50 dimensions; reported."""
    import polars as pl

    folder = sources.fetch("glove", given.progress).path
    names = pl.read_parquet(folder / "glove_6B_index.parquet")["index"].to_list()
    vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
    rows = {name: row for row, name in enumerate(names)}
    both = np.array([n for n, word in enumerate(given.words) if word in rows])
    own = codes.unit(vectors[[rows[given.words[n]] for n in both]].astype(np.float32))
    judge = Judge.of(given.weights[both], [given.judge.categories[int(n)] for n in both], _ASKED, 1000)
    near = codes.nearest(own, judge.asked)
    found = judge.recall(codebook().paths(given.weights[both]).astype(int), near)
    tree = judge.recall(codes.by_tree(judge.vectors, (65, 65, 65)), near)
    full = float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(judge.near, near, strict=True)]))
    note = f"{len(both)} words; the compositions' own ten nearest: {full:.3f}"
    yield _row("prefix recall@10 of GloVe's ten nearest", "reported", found, None, "k-means tree", tree, note)


def neighbours(given: Given) -> Iterator[Row]:
    """Ten neighbours among 200,000 units through prefixes, beside sqlite-vec's scan of all."""
    sql = """
        SELECT weights FROM composition JOIN unit ON id = unit_id WHERE kind IN ('word', 'sense')
        ORDER BY ref % 1009, id LIMIT ?"""
    rows: list[Any] = given.db.execute(sql, (_UNITS // (10 if given.quick else 1),)).fetchall()
    weights = np.stack([queries.unpack(blob) for (blob,) in rows])
    ids = _addressed([str(n) for n in range(len(weights))], codebook().paths(weights))
    with tempfile.TemporaryDirectory(prefix="genome-bench-") as folder:
        path = Path(folder) / "units.db"
        with building(path, "genome", source="compositions of words and senses") as db:
            write_units(
                db, [Unit(i, "word", str(n), n, "", "walk", 0, "") for n, i in enumerate(ids)], list(weights)
            )
        with opened(path, "genome") as db:
            yield _searched(db, np.array(ids), np.sqrt(weights))


def _searched(db: apsw.Connection, ids: np.ndarray, roots: np.ndarray) -> Row:
    """Both ways in turn, for 100 units; whether a neighbour is one of ten is asked of its similarity."""
    place = {int(identity): row for row, identity in enumerate(ids)}
    space, found = GenomeSpace(db), []
    fast, slow = [], []
    for n in np.random.default_rng(0).choice(len(ids), 100, replace=False).tolist():
        weights = np.square(roots[n])
        begun = time.perf_counter()
        near = space.nearest(weights, 11, "word")
        between = time.perf_counter()
        queries.nearest(db, weights, 11, queries.Within(kind="word"))
        fast.append(between - begun)
        slow.append(time.perf_counter() - between)
        tenth = np.sort(roots @ roots[n])[-11]
        found.append(np.mean([roots[place[unit.id]] @ roots[n] >= tenth - 1e-6 for unit, _ in near]))
    recall, ours, flat = float(np.mean(found)), median(fast), median(slow)
    met = bool(flat / ours >= 3 and recall >= 0.95)
    return Row(f"ten neighbours of {len(ids)} units", "a third of the time at recall .95", ours, "s", met,
               "sqlite-vec, all units", flat, ours / flat, f"recall {recall:.3f}")  # fmt: skip


def texts(given: Given) -> Iterator[Row]:
    """A text of 100,000 words decomposed from the database, each word looked up for the first time."""
    sql = "SELECT definition FROM sense ORDER BY id % 8887, id LIMIT 16000"
    words = [word for (text,) in given.lexicon.execute(sql) for word in str(text).split()]
    text = " ".join(words[:_TEXT_WORDS])
    speeds, height = [], 0
    for _ in range(3):
        space = GenomeSpace(given.db)
        begun = time.perf_counter()
        height = space.decompose_text(text).height
        speeds.append(height / (time.perf_counter() - begun))
    speed = median(speeds)
    yield Row(f"a text of {height} words decomposed", "> 50,000 words/s", speed, "1/s", speed > 50_000)


def tokens(given: Given) -> Iterator[Row]:
    """Tokens foretold from their embeddings, beside shuffled embeddings and random vectors."""
    sql = """
        SELECT ref, weights FROM unit JOIN composition ON unit_id = id
        WHERE kind = 'token' AND method = 'dictionary' ORDER BY ref"""
    rows: list[Any] = given.db.execute(sql).fetchall()
    own = np.stack([queries.unpack(blob) for _, blob in rows])
    with opened(given.model, "model") as model:
        embeddings = embedding_rows(model)[[ref for ref, _ in rows]]
    rng = np.random.default_rng(0)
    r2, near = held_out(embeddings, own)
    shuffled = held_out(embeddings[rng.permutation(len(own))], own)
    drawn = held_out(rng.normal(size=embeddings.shape).astype(np.float32), own)
    told = f"{len(own)} word tokens, every tenth held out; random vectors"
    yield _row("token map: R2 of tokens not seen", "above shuffled and random", r2, r2 > max(shuffled[0], drawn[0]),
               "shuffled embeddings", shuffled[0], f"{told} {drawn[0]:.3f}")  # fmt: skip
    yield _row("token map: own composition among the ten nearest", "above shuffled and random", near,
               near > max(shuffled[1], drawn[1]), "shuffled embeddings", shuffled[1],
               f"{told} {drawn[1]:.3f}")  # fmt: skip


PARTS: tuple[Callable[[Given], Iterator[Row]], ...] = (prefixes, unseen, stays, glove, neighbours, texts, tokens)


class Ids:
    """The measurements of IDs, on the default workbench's databases, which are only read."""

    def measured(
        self, bench: Workbench, *, only: Collection[str] = (), quick: bool = False, progress: Progress = silent
    ) -> dict[str, Any]:
        """Measures; `only` names parts, `quick` takes a tenth of the words.

        Raises:
            NotFoundError: there is no such part, or the workbench lacks the default databases.
        """
        names = [part.__name__ for part in PARTS]
        if wrong := sorted(set(only) - set(names)):
            raise NotFoundError(f"there is no measurement {wrong[0]!r}; wanted some of {', '.join(names)}")
        chosen = [part for part in PARTS if not only or part.__name__ in only]
        share = 10 if quick else 1
        rows: list[Row] = []
        with opened(bench.path(GENOME), "genome") as db, opened(bench.path(LEXICONS[0]), "lexicon") as lexicon:
            words, weights = queries.frequent_words(db, _WORDS // share)
            category = domains(lexicon)
            judge = Judge.of(
                weights, [category.get(word) or "" for word in words], _ASKED // share, _PAIRS // share
            )
            given = Given(db, lexicon, bench.path(MODEL), words, weights, judge, progress, quick)
            for number, part in enumerate(chosen):
                progress("measurements", number, len(chosen), "measurements")
                rows += part(given)
            progress("measurements", len(chosen), len(chosen), "measurements")
        return {"machine": Area((), ()).machine(), "rows": [asdict(row) for row in rows]}


AREA = Ids()


def _row(
    what: str,
    goal: str,
    value: float,
    met: bool | None,
    peer: str = "",
    peer_value: float | None = None,
    note: str = "",
) -> Row:
    reached = None if met is None else bool(met)
    if peer_value is None:
        return Row(what, goal, float(value), "", reached, note=note)
    ratio = float(value / peer_value) if peer_value else None
    return Row(what, goal, float(value), "", reached, peer, float(peer_value), ratio, note)


def _addressed(words: Sequence[str], paths: np.ndarray, order: Sequence[int] | None = None) -> list[int]:
    """The IDs of words, given out in an order."""
    addresses, given = Addresses(), {}
    for n in range(len(words)) if order is None else order:
        given[n] = int(addresses.of_path("word", words[n], paths[n]))
    return [given[n] for n in range(len(words))]
