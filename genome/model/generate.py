"""Text from a model in a database, token by token."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import apsw
import numpy as np
from jax import Array

from genome.db.journal import Access, Journal
from genome.errors import Error
from genome.ids import GenomeID
from genome.model import queries
from genome.model.kernel.architectures import shape_of
from genome.model.kernel.cache import Cache
from genome.model.kernel.engine import Engine, pieces
from genome.model.kernel.executables import Executables
from genome.model.kernel.layers import Params
from genome.model.kernel.shape import expert_shapes
from genome.model.options import Options, Settings
from genome.model.sampling import Sampler, log_probabilities, most_probable
from genome.model.tokenizer import Tokenizer, token_numbers
from genome.model.weights import EmbeddingRows, Weights


@dataclass(frozen=True)
class Alternative:
    """A token that could have come.

    Attributes:
        token: its number.
        text: its characters, special tokens shown.
        logprob: natural logarithm of the probability that the model gave it, before temperature and cuts.
    """

    token: int
    text: str
    logprob: float


@dataclass(frozen=True)
class Step:
    """One generated token.

    Attributes:
        token: its number.
        text: the characters that this step completes; often none, inside a character or a possible stop string.
        id: its genome ID, if the activity has a genome of this vocabulary.
        logprob: natural logarithm of the probability that the model gave it, before temperature and cuts.
        alternatives: the most probable tokens, as many as were asked for, whether or not the chosen one is there.
    """

    token: int
    text: str
    id: GenomeID | None
    logprob: float
    alternatives: tuple[Alternative, ...] = ()


class LanguageModel:
    """A language model in a database. Opening it reads no weight; the first `generate` reads them all.

    Args:
        db: an open `model` database; it stays the caller's.
        name: the database's name in the journal.
        journal: told what each step touched.
        identify: the genome ID of a token number, or None.
        deltas: open `delta` databases, laid over it in this order; they stay the caller's.
        executables: a folder that keeps what was compiled for the next process; None keeps nothing.

    Attributes:
        tokenizer: of this model.
        context: the most tokens that prompt and answer may have together.

    Raises:
        Error: the architecture, a tensor's type or the tokenizer is not supported: it is named. A delta was made
            for another base.
    """

    def __init__(
        self,
        db: apsw.Connection,
        name: str,
        journal: Journal,
        *,
        identify: Callable[[int], GenomeID | None] = lambda token: None,
        deltas: Sequence[apsw.Connection] = (),
        executables: Path | None = None,
    ) -> None:
        self._db, self._name, self._journal, self._identify = db, name, journal, identify
        self._weights = Weights(db, name, deltas)
        tensors = self._weights.tensors()
        self._shape = shape_of(queries.hyperparameters(db), tensors)
        self.tokenizer = Tokenizer(db, name, journal)
        self.context = self._shape.context
        self._rows = EmbeddingRows(self._weights)
        embedding = self._rows.tensor.name
        picked = expert_shapes(self._shape)
        used = [t for t in tensors if t.role not in picked and (t.name != embedding or self._shape.tied)]
        self._stored = tuple(Access(name, t.name, 0, t.row_count, t.size_bytes, "disk") for t in used)
        self._resident = tuple(access._replace(source="memory") for access in self._stored)
        self._engine = Engine(self._weights, self._shape, Executables(executables))

    def noted_by(self, journal: Journal, identify: Callable[[int], GenomeID | None]) -> "LanguageModel":
        """The same model for another activity: a journal of its own, the weights in memory once for both."""
        twin = copy(self)
        twin._journal, twin._identify = journal, identify
        twin.tokenizer = Tokenizer(self._db, self._name, journal)
        return twin

    def prepare(self) -> None:
        """Reads the weights and compiles what the first tokens need, so that the next process need not."""
        self._engine.prepare()

    def close(self) -> None:
        """Gives the weights' memory back; the next `generate` would read them again."""
        self._engine.close()

    def generate(self, ids: Sequence[int], **options: Unpack[Options]) -> Iterator[Step]:
        """Continues a sequence of tokens, until an end token (then the last step), a stop string, a full context.

        Args:
            ids: the prompt's tokens, at least one.
            options: as `Options` tells.

        Raises:
            Error: at once and in one line: an empty or too long prompt, an unknown token, what is no number
                of a token (a text, a fraction), a number out of range.
            DamagedError: weights are damaged.
        """
        settings, prompt = Settings(**options), self._checked(ids)
        sampler = Sampler(settings, prompt, self._shape.tokens)
        text = _Text(self.tokenizer, settings.stops, frozenset() if settings.past_end else self.tokenizer.ends)
        return self._steps(prompt, min(settings.max_tokens, self.context - len(prompt)), settings, sampler, text)

    def hidden(self, ids: Sequence[int], *, every: bool = True) -> np.ndarray:
        """The hidden states of a sequence of tokens, each looking back at those before it.

        Args:
            ids: the tokens, at least one.
            every: all layers' states, else only the last ones.

        Returns:
            float32 (layers + 1, tokens, width): number 0 are the embeddings, number n is what the nth layer leaves,
            and the last ones are normed: what the output projection reads. Without `every` only these
            (tokens, width).

        Raises:
            Error: no tokens, too many, or an unknown one.
            DamagedError: weights are damaged.
        """
        rest, start, found = self._checked(ids), 0, []
        params = self._loaded()
        cache = self._engine.cache(len(rest))
        with self._journal.step():
            self._journal.record(self._resident)
            for piece, length in pieces(rest):
                states, cache = self._engine.states(params, self._embedded(piece), length, start, cache, every)
                found.append(np.asarray(states)[..., : len(piece), :])
                start += len(piece)
        return np.concatenate(found, axis=-2)

    def embed(
        self, texts: Iterable[str], *, pooling: str = "mean", normalised: bool = True, truncate: bool = False
    ) -> np.ndarray:
        """Texts as vectors, from the last hidden states of their tokens (control tokens are plain text here).

        Args:
            texts: each of at least one character; the BOS token stands before it where the model wants one.
            pooling: `mean` of all tokens' states, or the `last` token's, which alone has seen the whole text.
            normalised: each vector has the length 1, so that a dot product is a cosine.
            truncate: of a text that is too long take what the context has room for.

        Returns:
            float32 (texts, width).

        Raises:
            Error: a text is empty or too long: its number is told; there is no such pooling.
        """
        if pooling not in ("mean", "last"):
            raise Error(f"the pooling is {pooling!r}; wanted 'mean' or 'last'")
        made = []
        for number, text in enumerate(texts, start=1):
            ids = self.tokenizer.encode(text, bos=self.tokenizer.adds_bos, special=False)
            if not text:
                raise Error(f"text {number} of those to embed is empty; wanted at least one character")
            if truncate:
                ids = ids[: self.context - 1]
            try:
                states = self.hidden(ids, every=False)
            except Error as error:
                raise type(error)(f"text {number} of those to embed: {error}") from error
            made.append(states.mean(axis=0) if pooling == "mean" else states[-1])
        vectors = np.array(made, np.float32).reshape(-1, self._shape.width)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if normalised else vectors

    def _checked(self, ids: Sequence[int]) -> list[int]:
        prompt = token_numbers(ids)
        if not prompt:
            raise Error("the prompt is empty; wanted at least one token")
        if wrong := [token for token in prompt if not 0 <= token < self._shape.tokens]:
            raise Error(f"there is no token {wrong[0]}; {self._name} has tokens 0 to {self._shape.tokens - 1}")
        if len(prompt) >= self.context:
            raise Error(
                f"the prompt has {len(prompt)} tokens; {self._name} has room for {self.context - 1}: shorten it"
            )
        return prompt

    def _steps(
        self, prompt: list[int], count: int, settings: Settings, sampler: Sampler, text: "_Text"
    ) -> Iterator[Step]:
        if count == 0:
            return
        params = self._loaded()
        cache = self._engine.cache(len(prompt) + 1)
        fed, start = prompt, 0
        for number in range(count):
            with self._journal.step():
                self._journal.record(self._resident)
                told = self._read(params, fed, start, cache, settings)
                if told is None:
                    return
                logits, best, logprob, cache = told
                start += len(fed)
                token, chance = int(best), float(logprob)
                if not math.isfinite(chance):
                    raise Error(
                        f"{self._name} gave no finite scores after {start} tokens; `genome verify` looks for damage"
                    )
                if not sampler.greedy:
                    scores = np.asarray(logits)
                    token = sampler.next(scores)
                    chance = float(log_probabilities(scores)[token])
                sampler.told(token)
                others = self._alternatives(logits, settings.alternatives)
                shown = text.feed(token, last=number == count - 1)
                step = Step(token, shown, self._identify(token), chance, others)
            yield step
            if text.ended:
                return
            fed = [token]

    def _loaded(self) -> Params:
        """The weights; the journal is told when they had to be read."""
        params, read = self._engine.params()
        if read:
            self._journal.record(self._stored)
        return params

    def _read(
        self, params: Params, tokens: list[int], start: int, cache: Cache, settings: Settings
    ) -> tuple[Array, Array, Array, Cache] | None:
        """Feeds tokens in pieces; what `Engine.step` says after the last one, or None where somebody cancels."""
        told = None
        for piece, length in pieces(tokens):
            if settings.cancelled:
                return None
            told, touched = self._engine.step(params, self._embedded(piece), length, start, cache)
            self._journal.record(
                [
                    Access(self._name, t.name, first, rows, rows * t.row_bytes, "disk" if read else "memory")
                    for t, first, rows, read in touched
                ]
            )
            cache = told[-1]
            start += len(piece)
        return told

    def _alternatives(self, logits: Array, count: int) -> tuple[Alternative, ...]:
        """So many of the most probable tokens."""
        if count == 0:
            return ()
        scores = np.asarray(logits)
        chances = log_probabilities(scores)
        return tuple(
            Alternative(token, self.tokenizer.decode([token]), float(chances[token]))
            for token in most_probable(scores, count)
        )

    def _embedded(self, tokens: list[int]) -> list[np.ndarray]:
        found = [self._rows.row(token) for token in tokens]
        if self._journal.enabled:
            name, size = self._rows.tensor.name, self._rows.tensor.row_bytes
            self._journal.record(
                [
                    Access(self._name, name, token, 1, size, "disk" if read else "memory")
                    for token, (_, read) in zip(tokens, found, strict=True)
                ]
            )
        return [row for row, _ in found]


class _Text:
    """The characters of a stream of tokens until its end; holds back what may become a stop string."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str], ends: frozenset[int]) -> None:
        self._stream = tokenizer.streamer(special=False)
        self._stops, self._ends = stops, ends
        self._held = ""
        self.ended = False

    def feed(self, token: int, *, last: bool) -> str:
        """What can be shown after this token; all of it, when it is the last one."""
        self.ended = last = last or token in self._ends
        self._held += self._stream.feed(token) + (self._stream.finish() if last else "")
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.ended = True
            return self._held[: min(found)]
        keep = 0 if last else max((_overlap(self._held, stop) for stop in self._stops), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text begin a stop string."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)
