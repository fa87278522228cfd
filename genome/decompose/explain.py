"""From a sense back through definitions to the primitives: a tree of ways, each with the weight that it carries."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import apsw
import numpy as np

from genome.decompose import queries
from genome.decompose.decomposition import Branch
from genome.decompose.queries import WalkRow

EXPANSIONS = 40
"""Senses opened in search of the weightiest ways."""

BRANCHES = 5
"""Ways on from one sense that a tree names; the others are added up to one."""

FAINT = 1e-3
"""A way that carries less of the primitive's weight is not named."""

Define = Callable[[str, int], str]
"""The definition of a sense, from its lexicon's name and row; empty where that lexicon is not at hand."""


@dataclass
class _Way:
    """A way that has come to a sense (or, where that is None, to its end).

    Attributes:
        share: of the primitive's weight that all walks on this way carry: `mass` times what is met from here.
        mass: the probability of the way, in units in which that product is a share.
        looks: whether the walk may still look around here; else it follows definitions.
    """

    share: float
    mass: float
    sense: int | None
    looks: bool
    via: str
    relation: bool
    on: list["_Way"] = field(default_factory=list)


class Explainer:
    """Finds the ways from senses to primitives; rows that it has read serve the next question too.

    Args:
        db: the genome database.
        define: gives definitions.
    """

    def __init__(self, db: apsw.Connection, define: Define) -> None:
        self._db, self._define = db, define
        self._facts = queries.walk_facts(db)
        self._rows: dict[int, WalkRow] = {}
        self._forms: dict[int, queries.FormRow] = {}

    def branches(self, senses: Sequence[tuple[int, float]], primitive: int) -> list[Branch]:
        """The ways from some senses to a primitive.

        Best first: what walks on a way carry is the way's probability times the share of walks from its last sense
        that end in the primitive, which is stored; the weightiest way is followed next. So every way's share is
        known before it is followed to its end, and the shares below a sense add up to its own.

        Args:
            senses: genome IDs of senses and the share of the primitive's weight that each carries.
            primitive: 1..65.

        Returns:
            A branch a sense, weightiest first; the shares are those that were handed in.
        """
        roots, index = [], primitive - 1
        for identity, share in senses:
            row = queries.walk_row(self._db, unit_id=identity)
            self._rows[row.sense] = row
            met = float(row.met[index])
            roots.append(_Way(share, share / met if met > 0 else 0.0, row.sense, True, "", False))
        tie = count()
        waiting = [(-way.share, next(tie), way) for way in roots]
        heapq.heapify(waiting)
        for _ in range(EXPANSIONS):
            if not waiting or -waiting[0][0] < FAINT:
                break
            _, _, way = heapq.heappop(waiting)
            way.on = self._onward(way, index)
            for further in way.on:
                if further.sense is not None:
                    heapq.heappush(waiting, (-further.share, next(tie), further))
        return [self._branch(way) for way in sorted(roots, key=lambda way: -way.share)]

    def _onward(self, way: _Way, index: int) -> list[_Way]:
        """The ways one step further that lead to a primitive; their shares add up to the way's own."""
        assert way.sense is not None
        row, facts = self._rows[way.sense], self._facts
        ways: list[_Way] = []
        mass = way.mass
        if way.looks:
            looked = facts.look if len(row.around) else 0.0
            for sense, share, kind in row.around.tolist():
                ways.append(_Way(0.0, mass * looked * share, sense, True, facts.around[kind], True))
            mass *= (1 - looked) / max(float(row.absorbed.sum()), 1e-9)
        if row.primitive == index + 1:
            ways.append(_Way(mass * (1 - facts.keep), 0.0, None, False, "", False))
        if row.primitive is not None:
            mass *= facts.keep
        for form, share in row.words.tolist():
            found = self._form(form)
            if found.primitive == index + 1:
                ways.append(_Way(mass * share, 0.0, None, False, found.word, False))
            if found.primitive is None:
                for sense, meant in found.meanings.tolist():
                    ways.append(_Way(0.0, mass * share * meant, sense, False, found.word, False))
        for sense, share, kind in row.relations.tolist():
            ways.append(_Way(0.0, mass * share, sense, False, facts.relations[kind], True))
        for further in ways:
            if further.sense is not None:
                there = self._row(further.sense)
                further.share = further.mass * float((there.met if further.looks else there.absorbed)[index])
        return _adding_up([further for further in ways if further.share > 0], way.share)

    def _row(self, sense: int) -> WalkRow:
        if sense not in self._rows:
            self._rows[sense] = queries.walk_row(self._db, sense=sense)
        return self._rows[sense]

    def _form(self, number: int) -> queries.FormRow:
        if number not in self._forms:
            (self._forms[number],) = queries.form_rows(self._db, [number])
        return self._forms[number]

    def _branch(self, way: _Way) -> Branch:
        key, definition = "", ""
        if way.sense is not None:
            key, definition = self._name(self._rows[way.sense])
        ordered = sorted(way.on, key=lambda on: -on.share)
        named = [on for on in ordered[:BRANCHES] if on.share >= FAINT]
        below = [self._branch(on) for on in named]
        if way.on and (rest := way.share - sum(on.share for on in named)) > 0:
            below.append(Branch.others(rest))
        end = "end" if way.sense is None else "" if way.on else "on"
        return Branch(way.share, way.via, way.relation, key, definition, tuple(below), end)

    def _name(self, row: WalkRow) -> tuple[str, str]:
        found = queries.unit(self._db, row.unit_id)
        return (found.label, self._define(found.origin, found.ref)) if found else ("", "")


def _adding_up(ways: list[_Way], share: float) -> list[_Way]:
    """Stored shares are float16: what rounding adds or takes is shared out, so that ways add up where they part."""
    total = float(np.sum([way.share for way in ways]))
    for way in ways:
        way.share *= share / total
        way.mass *= share / total
    return ways
