"""What people hold: a unit's composition, and why it is what it is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from genome.ids import GenomeID
from genome.primitives import KEYS

if TYPE_CHECKING:
    import polars as pl


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
class Reason:
    """Why a unit has some of a primitive: the chains that carry most of it. With `rest` the shares sum to 1."""

    primitive: str
    weight: float
    chains: tuple[Chain, ...]

    @property
    def rest(self) -> float:
        """The share of all chains that are not listed."""
        return max(0.0, 1.0 - sum(chain.share for chain in self.chains))


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
            for chain in reason.chains:
                steps = "".join(f" -{link.via}-> {link.key or reason.primitive}" for link in chain.links)
                lines.append(f"    {chain.share:4.0%}  {chain.key}{steps}")
            lines.append(f"    {reason.rest:4.0%}  all other chains")
        return "\n".join(lines)

    def _repr_html_(self) -> str | None:
        return self._display(self) if self._display else None


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
