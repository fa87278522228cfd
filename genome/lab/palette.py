"""One colour for each family of primitives, the same in every chart and display."""

from dataclasses import dataclass

from genome.primitives import PRIMITIVES


@dataclass(frozen=True)
class Family:
    """Categories of the chart of primes that share a colour: more than nine cannot be told apart at a glance."""

    name: str
    colour: str
    categories: tuple[str, ...]


# Middle tones: each stands out from a white page and from a dark one by a contrast of 3:1 or more.
FAMILIES = (
    Family("people and things", "#3f7fd9", ("Substantives", "Relational substantives")),
    Family(
        "which, how many, how much",
        "#8b6bd1",
        ("Determiners", "Quantifiers", "Intensifier, augmentor", "Similarity"),
    ),
    Family("good, bad, big, small", "#b97a14", ("Evaluators", "Descriptors")),
    Family("mind and speech", "#d2557f", ("Mental predicates", "Speech")),
    Family(
        "doing, being, living",
        "#38935a",
        ("Actions, events, movement", "Location, existence, specification, possession", "Life and death"),
    ),
    Family("time", "#1d8fa0", ("Time",)),
    Family("place", "#a5714a", ("Place",)),
    Family("logic", "#868a2c", ("Logical concepts",)),
    Family("no meaning: digits, signs, bytes", "#7b8794", ()),
)

COLOURS = {category: family.colour for family in FAMILIES for category in family.categories}
_BY_KEY = {p.key: COLOURS[p.category] for p in PRIMITIVES}


def colour(name: str | None) -> str:
    """The colour of a primitive's key; of a structural class, or of nothing, grey.

    Example:
        >>> colour("KNOW"), colour("DIGIT")
        ('#d2557f', '#7b8794')
    """
    return _BY_KEY.get(name or "", FAMILIES[-1].colour)
