"""Choosing the next token from scores."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from genome.errors import Error
from genome.model.grammar import Constraint
from genome.model.options import Settings


class Sampler:
    """Chooses the tokens of one answer.

    Args:
        settings: how.
        prompt: the tokens before the answer; penalties count them too.
        tokens: how many tokens the model knows.
        constraint: a grammar that the answer keeps to.

    Raises:
        Error: a bias for a token that is not there.

    Attributes:
        greedy: always the most probable token, so that nobody has to look at the other scores.
    """

    def __init__(
        self, settings: Settings, prompt: Sequence[int], tokens: int, constraint: Constraint | None = None
    ) -> None:
        self._settings, self._constraint = settings, constraint
        self._told = list(prompt)
        self._random = np.random.default_rng(settings.seed)
        if wrong := [token for token in settings.logit_bias if not 0 <= token < tokens]:
            raise Error(f"there is no token {wrong[0]} to bias; the model has tokens 0 to {tokens - 1}")
        changes = settings.penalises or settings.logit_bias or constraint
        self.greedy = settings.temperature == 0 and not changes

    def next(self, logits: np.ndarray) -> int:
        """The next token by its scores (V,), which are left as they are.

        Raises:
            Error: no token may come.
        """
        own = self._settings
        scores = biased(logits, own.logit_bias) if own.logit_bias else logits
        if own.penalises:
            window = len(self._told) if own.penalty_window is None else own.penalty_window
            recent = self._told[max(0, len(self._told) - window) :]
            scores = penalised(scores, recent, own.repetition_penalty, own.presence_penalty, own.frequency_penalty)
        if self._constraint:
            scores = np.where(self._constraint.allowed(), scores, -np.inf)
        if not math.isfinite(scores.max()):
            raise Error("no token may come next; allow more of them in logit_bias, or in the grammar")
        if own.temperature == 0:
            return int(scores.argmax())
        return choose(*probabilities(scores, own.temperature, own.top_k, own.top_p, own.min_p), self._random)

    def told(self, token: int) -> None:
        """Takes note of the token that came."""
        self._told.append(token)
        if self._constraint:
            self._constraint.told(token)


def biased(logits: np.ndarray, bias: Mapping[int, float]) -> np.ndarray:
    """Scores (V,) with a number added to some of them.

    Example:
        >>> biased(np.array([1.0, 2.0, 3.0]), {0: 5.0, 2: -np.inf}).tolist()
        [6.0, 2.0, -inf]
    """
    made = logits.copy()
    for token, number in bias.items():
        made[token] += number
    return made


def penalised(
    logits: np.ndarray,
    recent: Sequence[int],
    repetition: float = 1.0,
    presence: float = 0.0,
    frequency: float = 0.0,
) -> np.ndarray:
    """Scores (V,) with those of recent tokens made smaller.

    The score s of a token that was there n > 0 times becomes s / repetition (Keskar et al. 2019, arXiv 1909.05858),
    or s x repetition where s < 0, so that it is made smaller there too; then presence + n x frequency is taken off
    (the formula of OpenAI's API).

    Example:
        >>> penalised(np.array([3.0, -3.0, 1.0]), [0, 1, 1], repetition=1.5, presence=0.5, frequency=0.25).tolist()
        [1.25, -5.5, 1.0]
    """
    made = logits.copy()
    tokens, counts = np.unique(np.asarray(recent, np.int64), return_counts=True)
    scores = made[tokens]
    scores = np.where(scores < 0, scores * repetition, scores / repetition)
    made[tokens] = scores - presence - counts * frequency
    return made


def probabilities(
    logits: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """The tokens that may come next, most probable first, and their probabilities (sum 1).

    Temperature first, then the `top_k` most probable (0: all), then of these the fewest that together have at
    least `top_p` (nucleus sampling, Holtzman et al. 2020, arXiv 1904.09751), then of these the ones that have at
    least `min_p` times the share of the first (Nguyen et al. 2024, arXiv 2407.01082).

    Args:
        logits: float32, shape (V,); minus infinity where a token may not come, but not everywhere.
        temperature: above 0.
        top_k: 0 or more.
        top_p: above 0, at most 1.
        min_p: from 0 to 1.

    Example:
        >>> tokens, shares = probabilities(np.log([0.1, 0.6, 0.3]), 1.0, 0, 0.8)
        >>> tokens.tolist(), shares.round(3).tolist()
        ([1, 2], [0.667, 0.333])
    """
    count = min(top_k, len(logits)) or len(logits)
    kept = np.argpartition(-logits, count - 1)[:count] if count < len(logits) else np.arange(len(logits))
    tokens = kept[np.lexsort((kept, -logits[kept]))]
    scaled = logits[tokens].astype(np.float64) / temperature
    shares = np.exp(scaled - scaled[0])
    shares /= shares.sum()
    needed = int(np.searchsorted(np.cumsum(shares), top_p - 1e-12)) + 1
    likely = np.count_nonzero((shares > 0) & (shares >= min_p * shares[0]))  # they are sorted
    needed = min(needed, int(likely))
    tokens, shares = tokens[:needed], shares[:needed]
    return tokens, shares / shares.sum()


def choose(tokens: np.ndarray, shares: np.ndarray, random: np.random.Generator) -> int:
    """One of the tokens, drawn by its share."""
    place = int(np.searchsorted(np.cumsum(shares), random.random(), side="right"))
    return int(tokens[min(place, len(tokens) - 1)])


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Natural logarithms of the probabilities (V,) that scores (V,) mean, float64.

    Example:
        >>> np.exp(log_probabilities(np.log([0.2, 0.2]))).tolist()
        [0.5, 0.5]
    """
    shifted = logits.astype(np.float64) - logits.max()
    return shifted - math.log(np.exp(shifted).sum())


def most_probable(logits: np.ndarray, count: int) -> list[int]:
    """So many tokens with the highest scores, highest first, of equal ones the lower number.

    Example:
        >>> most_probable(np.array([1.0, 3.0, 2.0, 3.0]), 3)
        [1, 3, 2]
    """
    count = min(count, len(logits))
    if count == 0:
        return []
    least = np.partition(logits, -count)[-count]
    kept = np.flatnonzero(logits >= least)
    return kept[np.lexsort((kept, -logits[kept]))][:count].tolist()
