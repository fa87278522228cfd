"""From a sense back through definitions to the primitives: the chains that carry a weight."""

import heapq
from collections.abc import Callable
from itertools import count

import apsw

from genome.decompose import queries
from genome.decompose.decomposition import Chain, Link
from genome.decompose.queries import WalkRow

CHAINS = 4
EXPANSIONS = 60
"""Senses opened in search of the strongest chains."""

_Way = tuple[float, int, float, int, tuple[Link, ...]]
"""Minus the bound, a number that breaks ties, the way's probability, the sense it has come to, its links."""

Define = Callable[[str, int], str]
"""The definition of a sense, from its lexicon's name and row; empty where that lexicon is not at hand."""


def chains_to(db: apsw.Connection, start: int, primitive: int, define: Define) -> list[Chain]:
    """The strongest chains from a sense to a primitive, strongest first, each with its share of all of them.

    Best-first search: the walks that pass through a sense on a known way carry at most the way's probability times
    the share of walks from that sense that end in the primitive, both stored; the largest is opened next.

    Args:
        db: the genome database.
        start: the sense's genome ID.
        primitive: 1..65.
        define: gives definitions.
    """
    first = queries.walk_row(db, unit_id=start)
    total = float(first.absorbed[primitive - 1])
    if total <= 0:
        return []
    keep, relations = queries.walk_facts(db)
    rows = {first.sense: first}
    tie = count()
    open_ways: list[_Way] = [(-total, next(tie), 1.0, first.sense, ())]
    found: list[tuple[float, tuple[Link, ...]]] = []
    for _ in range(EXPANSIONS):
        if not open_ways or (len(found) >= CHAINS and -open_ways[0][0] <= found[CHAINS - 1][0]):
            break
        _, _, mass, sense, way = heapq.heappop(open_ways)
        row = rows[sense]
        on = 1.0
        if row.primitive is not None:
            on = keep
            if row.primitive == primitive:
                found.append((mass * (1 - keep), way))
        for probability, link, target in _steps(db, row, primitive, rows, relations):
            reached = mass * on * probability
            if target is None:
                found.append((reached, (*way, link)))
                continue
            bound = reached * float(rows[target].absorbed[primitive - 1])
            if bound > total * 1e-4:
                heapq.heappush(open_ways, (-bound, next(tie), reached, target, (*way, link)))
        found.sort(key=lambda chain: -chain[0])
    key, definition = _name(db, first, define)
    return [
        Chain(min(1.0, share / total), key, definition, tuple(_named(db, link, rows, define) for link in way))
        for share, way in found[:CHAINS]
    ]


def _steps(
    db: apsw.Connection, row: WalkRow, primitive: int, rows: dict[int, WalkRow], relations: list[str]
) -> list[tuple[float, Link, int | None]]:
    """Probability, unnamed link and target of each step from a sense that can lead to the primitive.

    A target None means that the word itself ends the walk there. Targets are read into `rows`.
    """
    steps: list[tuple[float, Link, int | None]] = []
    for form, (_, share) in zip(queries.form_rows(db, row.words["form"].tolist()), row.words, strict=True):
        if form.primitive is not None:
            if form.primitive == primitive:
                steps.append((float(share), Link(form.word, False, "", ""), None))
            continue
        for sense, meaning in form.meanings:
            steps.append((float(share * meaning), Link(form.word, False, str(sense), ""), int(sense)))
    for sense, share, kind in row.relations:
        steps.append((float(share), Link(relations[kind], True, str(sense), ""), int(sense)))
    for _, _, target in steps:
        if target is not None and target not in rows:
            rows[target] = queries.walk_row(db, sense=target)
    return steps


def _named(db: apsw.Connection, link: Link, rows: dict[int, WalkRow], define: Define) -> Link:
    if not link.key:
        return link
    return Link(link.via, link.relation, *_name(db, rows[int(link.key)], define))


def _name(db: apsw.Connection, row: WalkRow, define: Define) -> tuple[str, str]:
    found = queries.unit(db, row.unit_id)
    return (found.label, define(found.origin, found.ref)) if found else ("", "")
