"""From a form in a text to the lemmas of a lexicon: WordNet's morphological rules (morphy(7WN)).

No database is opened here: what exists and what is irregular is asked of the caller.
"""

from collections.abc import Callable, Collection

import regex

_LETTERS = r"(?:\p{L}\p{M}*)+"
_WORD = regex.compile(rf"{_LETTERS}(?:['\u2019]{_LETTERS})?(?:-{_LETTERS})*")

_CONTRACTED = frozenset({"s", "m", "re", "ve", "ll", "d", ""})

# Detachment rules by part of speech: ending, what replaces it.
_RULES = {
    "n": (("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"),
          ("ies", "y")),
    "v": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "a": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "r": (),
}  # fmt: skip


def split_words(text: str) -> list[str]:
    """The words of a text, as written.

    Example:
        >>> split_words("My mother's well-being: 2 songs")
        ['My', "mother's", 'well-being', 'songs']
    """
    return _WORD.findall(text)


def uncontracted(word: str) -> str:
    """A word without what is contracted to it; a contracted *not* is what it says.

    Example:
        >>> [uncontracted(w) for w in ("mother's", "I\u2019m", "they'll", "won't", "cat")]
        ['mother', 'I', 'they', 'not', 'cat']
    """
    word = word.replace("\u2019", "'")
    if word.lower().endswith("n't"):
        return "not"
    stem, apostrophe, end = word.rpartition("'")
    return stem if apostrophe and end.lower() in _CONTRACTED else word


def lemmas(
    form: str,
    parts_of_speech: Callable[[str], Collection[str]],
    irregular: Callable[[str, str], list[str]],
) -> list[tuple[str, str]]:
    """The lemmas that a form can stand for, with their part of speech.

    Args:
        form: one word, lower case.
        parts_of_speech: of a lemma in the lexicon; empty when it has none.
        irregular: the lemmas of an irregular form in a part of speech.

    Example:
        >>> has = {"leaf": "n", "leave": "nv", "left": "nar"}
        >>> exceptions = {("leaves", "n"): ["leaf"]}
        >>> lemmas("leaves", lambda w: has.get(w, ""), lambda w, pos: exceptions.get((w, pos), []))
        [('leaf', 'n'), ('leave', 'v')]
    """
    found = []
    own = parts_of_speech(form)
    for pos, rules in _RULES.items():
        candidates = [lemma for lemma in irregular(form, pos) if pos in parts_of_speech(lemma)]
        if not candidates and pos in own:
            candidates = [form]
        if not candidates or pos != "n":
            detached = (
                form[: -len(end)] + new for end, new in rules if form.endswith(end) and len(form) > len(end) + 1
            )
            candidates += [lemma for lemma in detached if pos in parts_of_speech(lemma)]
        found += [(lemma, pos) for lemma in dict.fromkeys(candidates)]
    return found
