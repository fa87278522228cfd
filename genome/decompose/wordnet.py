"""WordNet 3.0's files become a lexicon database.

Format: wndb(5WN), senseidx(5WN), lexnames(5WN) of the WordNet 3.0 manual. Lines end in CRLF, so the eight digits
that begin each line name the synset and are never used to seek.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from genome.db import building
from genome.decompose.lexicon import Relation, Sense, WordSense, write_lexicon
from genome.errors import DamagedError, NotFoundError
from genome.progress import Progress, silent

_FILES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
_NEEDED = (*(f"data.{name}" for name in _FILES.values()), "index.sense", "lexnames")
_POS_OF_TYPE = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}

# wninput(5WN), "Pointers". `+` joins derivationally related forms; `\\` is "derived from" or "pertains to".
_POINTERS = {
    "!": "antonym", "@": "hypernym", "@i": "instance_hypernym", "~": "hyponym", "~i": "instance_hyponym",
    "#m": "member_holonym", "#s": "substance_holonym", "#p": "part_holonym",
    "%m": "member_meronym", "%s": "substance_meronym", "%p": "part_meronym",
    "=": "attribute", "+": "derivation", ";c": "topic", "-c": "topic_member", ";r": "region",
    "-r": "region_member", ";u": "usage", "-u": "usage_member", "*": "entailment", ">": "cause", "^": "also",
    "$": "verb_group", "&": "similar", "<": "participle", "\\": "pertains",
}  # fmt: skip


@dataclass(frozen=True)
class _Synset:
    id: int
    pos: str
    satellite: bool
    domain: str
    lemmas: list[str]
    pointers: list[tuple[str, str, int]]  # type, part of speech and id of the target
    gloss: str


def build_wordnet(folder: Path, database: Path, progress: Progress = silent, **facts: str) -> None:
    """Reads a folder of WordNet 3.0's database files into a new lexicon database.

    Args:
        folder: holds data.*, index.sense, *.exc and lexnames.
        database: the file to make.
        progress: told the number of synsets.
        facts: rows of the database's `meta` (source, licence ...).

    Raises:
        NotFoundError: a file is missing.
        DamagedError: a line is not of WordNet's form.
    """
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if missing:
        raise NotFoundError(f"{folder} is no WordNet folder: it lacks {', '.join(missing)}")
    synsets = [synset for pos in _FILES for synset in _read_data(folder, pos)]
    ranks = _read_index(folder)
    with building(database, "lexicon", **facts) as db:
        numbers = {(s.pos, s.id): n for n, s in enumerate(synsets, start=1)}
        words, relations = [], set()
        for done, synset in enumerate(synsets, start=1):
            number = numbers[synset.pos, synset.id]
            for lemma in dict.fromkeys(synset.lemmas):
                rank, count = ranks[lemma.lower(), synset.pos, synset.id]
                words.append(WordSense(lemma.replace("_", " "), number, rank, count))
            relations |= {Relation(number, numbers[pos, target], kind) for kind, pos, target in synset.pointers}
            if done % 20000 == 0 or done == len(synsets):
                progress("wordnet: synsets", done, len(synsets), "synsets")
        senses = [_sense(numbers[s.pos, s.id], s, ranks) for s in synsets]
        write_lexicon(db, senses, words, sorted(relations), _read_exceptions(folder))


def _read_data(folder: Path, pos: str) -> Iterator[_Synset]:
    domains = _read_domains(folder)
    path = folder / f"data.{_FILES[pos]}"
    with path.open(encoding="latin-1") as lines:
        for number, line in enumerate(lines, start=1):
            if line.startswith("  "):
                continue  # the licence stands before the data
            try:
                yield _parse(line, pos, domains)
            except (ValueError, IndexError, KeyError) as error:
                raise DamagedError(f"{path}, line {number} is no synset ({error!r}); pull it again") from error


def _parse(line: str, pos: str, domains: dict[str, str]) -> _Synset:
    fields, gloss = line.split("|", 1)
    parts = fields.split()
    count = int(parts[3], 16)
    lemmas = [re.sub(r"\((a|p|ip)\)$", "", parts[4 + 2 * n]) for n in range(count)]
    at = 4 + 2 * count
    pointers = []
    for n in range(int(parts[at])):
        symbol, offset, target_pos, _ = parts[at + 1 + 4 * n : at + 5 + 4 * n]
        pointers.append((_POINTERS[symbol], target_pos, int(offset)))
    return _Synset(int(parts[0]), pos, parts[2] == "s", domains[parts[1]], lemmas, pointers, gloss.strip())


def _read_domains(folder: Path) -> dict[str, str]:
    with (folder / "lexnames").open(encoding="latin-1") as lines:
        return {number: name for number, name, _ in (line.split() for line in lines)}


def _read_index(folder: Path) -> dict[tuple[str, str, int], tuple[int, int]]:
    """(lower-case lemma, pos, synset) -> rank of the sense for that lemma, and how often it was tagged."""
    ranks = {}
    with (folder / "index.sense").open(encoding="latin-1") as lines:
        for line in lines:
            key, offset, rank, count = line.split()
            lemma, _, rest = key.partition("%")
            ranks[lemma, _POS_OF_TYPE[rest[0]], int(offset)] = int(rank), int(count)
    return ranks


def _read_exceptions(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Irregular form, part of speech, lemma."""
    for pos, name in _FILES.items():
        path = folder / f"{name}.exc"
        if path.is_file():
            for line in path.read_text("latin-1").splitlines():
                form, *lemmas = (word.replace("_", " ") for word in line.split())
                yield from ((form, pos, lemma) for lemma in lemmas)


def _sense(number: int, synset: _Synset, ranks: dict[tuple[str, str, int], tuple[int, int]]) -> Sense:
    lemma = synset.lemmas[0].lower()
    rank, _ = ranks[lemma, synset.pos, synset.id]
    definition, examples = _split_gloss(synset.gloss)
    key = f"{lemma}.{'s' if synset.satellite else synset.pos}.{rank:02d}"
    return Sense(number, key, synset.pos, synset.domain, definition, json.dumps(examples, ensure_ascii=False))


def _split_gloss(gloss: str) -> tuple[str, list[str]]:
    """A gloss is definitions, then quoted examples, all joined by semicolons."""
    examples = re.findall(r'"([^"]+)"', gloss)
    definition = re.split(r';\s*"|^"', gloss, maxsplit=1)[0]
    return definition.strip(" ;"), examples
