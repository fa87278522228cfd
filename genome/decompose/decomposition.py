"""What people hold: a unit's composition, and why it is what it is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from genome.ids import GenomeID
from genome.primitives import KEYS

if TYPE_CHECKING:
    import polars as pl


TOLD = 0.03
"""A printed explanation leaves out what carries less of a primitive's weight than this."""


@dataclass(frozen=True)
class Link:
    """One step of a chain: through a word of the definition, or a relation, to a sense.

    Attributes:
        via: the word, or the relation's name.
        relation: whether `via` is a relation.
        key: the sense reached (`person.n.01`); empty where the word itself ends the walk.
        definition: of that sense.
    """

    via: str
    relation: bool
    key: str
    definition: str


@dataclass(frozen=True)
class Chain:
    """A walk from one sense to a primitive, and its share of that primitive's weight, 0..1."""

    share: float
    key: str
    definition: str
    links: tuple[Link, ...]


@dataclass(frozen=True)
class Branch:
    """A step of the ways to a primitive, with what goes on from there.

    Attributes:
        share: of the primitive's weight that all ways over this step carry, 0..1; the shares of the branches
            below a step add up to its own.
        via: the word of the definition before, or the relation's name; empty at the beginning.
        relation: whether `via` is a relation.
        key: the sense reached (`person.n.01`); empty where the way ends or where others are added up.
        definition: of that sense.
        branches: the ways on, weightiest first.
        stop: `end` where the primitive is reached, `on` where the ways on are not told, `others` for the ways from
            the step before that carry little each, else empty.
    """

    share: float
    via: str
    relation: bool
    key: str
    definition: str
    branches: tuple["Branch", ...] = ()
    stop: str = ""

    @classmethod
    def others(cls, share: float) -> "Branch":
        """The ways that carry little each, added up."""
        return cls(share, "", False, "", "", (), "others")

    @property
    def leaves(self) -> list["Branch"]:
        """Where this branch's ways stop; their shares add up to its own."""
        return [leaf for branch in self.branches for leaf in branch.leaves] if self.branches else [self]


@dataclass(frozen=True)
class Reason:
    """Why a unit has some of a primitive: the ways that lead to it. The branches' shares add up to 1."""

    primitive: str
    weight: float
    branches: tuple[Branch, ...]

    @property
    def chains(self) -> tuple[Chain, ...]:
        """The ways that are told to their end, weightiest first."""
        ends = [way for branch in self.branches for way in _ended(branch, ())]
        chains = [
            Chain(way[-1].share, way[0].key, way[0].definition, tuple(_links(way)))
            for way in sorted(ends, key=lambda way: -way[-1].share)
        ]
        return tuple(chains)

    @property
    def rest(self) -> float:
        """The share of all ways that are not told to their end."""
        return max(0.0, 1.0 - sum(chain.share for chain in self.chains))


def _ended(branch: Branch, before: tuple[Branch, ...]) -> list[tuple[Branch, ...]]:
    way = (*before, branch)
    if branch.stop == "end":
        return [way]
    return [ended for further in branch.branches for ended in _ended(further, way)]


def _links(way: tuple[Branch, ...]) -> list[Link]:
    """The steps behind the first sense; a way that ends in the sense itself has no step for that."""
    return [Link(step.via, step.relation, step.key, step.definition) for step in way[1:] if step.via]


@dataclass(frozen=True)
class Explanation:
    """The reasons for a unit's leading primitives, the weightiest first; prints itself as a tree."""

    text: str
    reasons: tuple[Reason, ...]
    _display: Callable[[object], str] | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        lines = [self.text]
        for reason in self.reasons:
            lines.append(f"  {reason.primitive} {reason.weight:.3f}")
            for branch in reason.branches:
                lines += _lines(branch, reason.primitive, 4)
        return "\n".join(lines)

    def _repr_html_(self) -> str | None:
        return self._display(self) if self._display else None


def _lines(branch: Branch, primitive: str, indent: int) -> list[str]:
    """A branch as lines of text; what carries less than `TOLD` is left out, with dots where only that follows."""
    if branch.share < TOLD:
        return []
    reached = branch.key or {"end": f"= {primitive}", "others": "others"}.get(branch.stop, "")
    how = f"-{branch.via}-> " if branch.via else ""
    below = [line for further in branch.branches for line in _lines(further, primitive, indent + 2)]
    more = " ..." if branch.stop == "on" or (branch.branches and not below) else ""
    return [f"{' ' * indent}{branch.share:4.0%}  {how}{reached}{more}", *below]


@dataclass(frozen=True)
class SenseShare:
    """A sense that a word is mixed from."""

    key: str
    definition: str
    share: float


@dataclass(frozen=True, eq=False)
class Decomposition:
    """A unit's 65 weights, its genome ID, and where they come from.

    Attributes:
        text: what was asked.
        label: the unit that was found: the word as the dictionary spells it, or a sense's key.
        kind: word, sense, token, primitive (named as on the chart), or text for several words.
        id: its genome ID; that of a primitive or a text is a bare path (leaf 0), which no unit has.
        weights: (65,) float32, non-negative, sum 1, in the order of the primitives.
        source: the method and the database that it comes from: `senses of wordnet`.
        senses: what it is mixed from, the largest share first: a word's senses, a text's words.
    """

    text: str
    label: str
    kind: str
    id: GenomeID
    weights: np.ndarray
    source: str
    senses: tuple[SenseShare, ...]
    _explain: Callable[[int], Explanation] = field(repr=False)
    _near: Callable[..., "pl.DataFrame"] = field(repr=False)
    _display: Callable[[object], str] | None = field(default=None, repr=False)

    @property
    def path(self) -> tuple[str, ...]:
        """The names of the ID's codons: the group that it belongs to, and groups inside groups."""
        return self.id.names

    @property
    def leading(self) -> list[tuple[str, float]]:
        """The primitives with their weights, the weightiest first, as far as they have any."""
        order = np.argsort(-self.weights, kind="stable")
        return [(KEYS[i], float(self.weights[i])) for i in order if self.weights[i] > 0]

    def explain(self, primitives: int = 3) -> Explanation:
        """The chains of definitions that lead to the leading primitives, with the share that each carries."""
        return self._explain(primitives)

    def neighbours(self, k: int = 10, kind: str | None = None, **filters: object) -> "pl.DataFrame":
        """The k units nearest in meaning, of its own kind (words for a text) or of another; itself left out.

        Args:
            k: how many.
            kind: word, sense, token.
            filters: `prefix`, `pos`, `min_frequency` and `exact`, as `Envelope.neighbours` takes them.

        Returns:
            label, similarity (cosine of the weights' square roots, 0..1), path, id, kind, origin, frequency.

        Raises:
            Error: k is not from 1 to 1000, or the kind is none.
        """
        return self._near(k, kind=kind, **filters)

    def as_json(self) -> dict[str, object]:
        """What `genome decompose --json` prints for it: text, id, path, the 65 weights by key, source."""
        weights = {key: float(w) for key, w in zip(KEYS, self.weights, strict=True)}
        return {
            "text": self.text,
            "id": int(self.id),
            "path": list(self.path),
            "weights": weights,
            "source": self.source,
        }

    def __repr__(self) -> str:
        told = " ".join(f"{key} {weight:.2f}" for key, weight in self.leading[:5])
        return f"{self.text}: {told}  [{self.id.path} leaf {self.id.leaf}; {self.source}]"

    def _repr_html_(self) -> str | None:
        return self._display(self) if self._display else None
