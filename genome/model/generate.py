"""Text from a model in a database, token by token."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import apsw
import numpy as np

from genome.db.journal import Access, Journal
from genome.errors import Error
from genome.ids import GenomeID
from genome.model import queries
from genome.model.grammar import Grammars
from genome.model.kernel.architectures import shape_of
from genome.model.kernel.cache import Cache
from genome.model.kernel.engine import Engine
from genome.model.kernel.executables import Executables
from genome.model.kernel.experts import Touched
from genome.model.kernel.layers import Params
from genome.model.kernel.shape import expert_shapes
from genome.model.kernel.streaming import Streamed
from genome.model.options import Options, Settings
from genome.model.prefixes import Prefixes
from genome.model.steps import Answer, Step
from genome.model.tokenizer import Tokenizer, token_numbers
from genome.model.weights import EmbeddingRows, Weights


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
        self._grammars = Grammars(db, name, self._shape.tokens)
        self._prefixes = Prefixes()

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
        """Gives the memory of weights and of what was read back; the next `generate` would read them again."""
        self._engine.close()
        self._grammars.clear()
        self._prefixes.clear()

    def generate(self, ids: Sequence[int], **options: Unpack[Options]) -> Iterator[Step]:
        """Continues a sequence of tokens, until an end token (then the last step), a stop string, a full context.

        What an earlier call has read of the same beginning is not read again.

        Args:
            ids: the prompt's tokens, at least one.
            options: as `Options` tells.

        Raises:
            Error: at once and in one line: an empty or too long prompt, an unknown token, what is no number
                of a token (a text, a fraction), an unknown option, a value of the wrong type or out of range, a
                grammar that cannot be used.
            DamagedError: weights are damaged.
        """
        settings, prompt = Settings.of(options), self._checked(ids)
        answer = self._answer(settings, prompt)
        return self._steps(prompt, settings, answer)

    def generate_batch(
        self, prompts: Iterable[Sequence[int]], *, seeds: Sequence[int] | None = None, **options: Unpack[Options]
    ) -> Iterator[list[Step | None]]:
        """Continues several sequences together: a step reads the weights once for up to four of them.

        Each gives the same steps as `generate` gives for it alone.

        Args:
            prompts: tokens, at least one in each.
            seeds: one for each prompt; else all have the option `seed`.
            options: as `Options` tells, but for `hidden`.

        Yields:
            For each prompt its next step, or None where it has ended; until all have.

        Raises:
            Error: as `generate`, with the prompt's number.
        """
        told = [*prompts]
        if seeds is not None and len(seeds) != len(told):
            raise Error(f"there are {len(seeds)} seeds for {len(told)} prompts; wanted one for each")
        if options.get("hidden"):
            raise Error("several sequences together give no hidden states; wanted `generate` with one prompt")
        begun = []
        for number, ids in enumerate(told, start=1):
            seed: Options = {} if seeds is None else {"seed": seeds[number - 1]}
            settings = Settings.of({**options, **seed})
            try:
                prompt = self._checked(ids)
                begun.append((prompt, self._answer(settings, prompt)))
            except Error as error:
                raise type(error)(f"prompt {number}: {error}") from error
        return self._together(begun, Settings.of(options))

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
        cache = self._engine.cache(params, len(rest))
        with self._journal.step():
            self._journal.record(self._resident)
            for piece, length in self._engine.pieces(params, rest):
                rows = self._embedded(piece)
                states, cache, touched = self._engine.states(params, rows, length, start, cache, every)
                self._journal.record(self._touched(touched))
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

    def _answer(self, settings: Settings, prompt: list[int]) -> Answer:
        most = min(settings.max_tokens, self.context - len(prompt))
        grammar = self._grammars.constraint(settings, self._journal)
        return Answer(
            self._name, self.tokenizer, self._identify, settings, prompt, self._shape.tokens, most, grammar
        )

    def _steps(self, prompt: list[int], settings: Settings, answer: Answer) -> Iterator[Step]:
        for (step,) in self._together([(prompt, answer)], settings):
            assert step is not None
            yield step

    def _together(self, begun: list[tuple[list[int], Answer]], settings: Settings) -> Iterator[list[Step | None]]:
        """Answers to prompts, step by step: a list with each one's step, or None where it has ended."""
        if settings.max_tokens == 0 or not begun:
            return
        reuse = settings.reuse and settings.memory is None
        if settings.memory is not None:
            self._prefixes.clear()
        params = self._loaded(settings.memory_bytes)
        going: dict[int, _Sequence] = {}
        try:
            while any(answer.ended is None for _, answer in begun):
                steps: list[Step | None] = [None] * len(begun)
                with self._journal.step():
                    if not isinstance(params, Streamed):
                        self._journal.record(self._resident)
                    if going:
                        told = self._read_on(params, [*going.values()], settings)
                    else:
                        told = self._read_all(params, [prompt for prompt, _ in begun], going, settings, reuse)
                    if told is None:
                        return
                    for number, found in zip([*going], told, strict=True):
                        step = steps[number] = begun[number][1].step(*found)
                        going[number].next = step.token
                yield steps
                for number in [n for n in going if begun[n][1].ended]:
                    self._keep(going.pop(number), reuse)
        finally:
            for sequence in going.values():
                self._keep(sequence, reuse)

    def _read_all(
        self,
        params: Params | Streamed,
        prompts: list[list[int]],
        going: "dict[int, _Sequence]",
        settings: Settings,
        reuse: bool,
    ) -> list[list] | None:
        """Feeds prompts, each from where an earlier call has read it on; as `_read`."""
        found = []
        for number, prompt in enumerate(prompts):
            taken = self._prefixes.take(prompt) if reuse else None
            cache, read = taken or (self._engine.cache(params, len(prompt) + 1), 0)
            going[number] = _Sequence(prompt[:read], cache)
            told = self._read(params, prompt[read:], going[number], settings)
            if told is None:
                return None
            found.append(told)
        return found

    def _read_on(
        self, params: Params | Streamed, sequences: "list[_Sequence]", settings: Settings
    ) -> list[list] | None:
        """Feeds the last token of each sequence's answer; as `_read`."""
        if settings.cancelled:
            return None
        if len(sequences) == 1:
            told = self._read(params, [sequences[0].next], sequences[0], settings)
            return None if told is None else [told]
        rows = self._embedded([sequence.next for sequence in sequences])
        caches = [sequence.used() for sequence in sequences]
        starts = [len(sequence.tokens) for sequence in sequences]
        found, touched = self._engine.together(params, rows, starts, caches)
        self._journal.record(self._touched(touched))
        for sequence, (*_, cache) in zip(sequences, found, strict=True):
            sequence.tokens.append(sequence.next)
            sequence.cache = cache
        return [list(told[:3]) for told in found]

    def _keep(self, sequence: "_Sequence", reuse: bool) -> None:
        if reuse and sequence.cache is not None:
            self._prefixes.keep(sequence.tokens, sequence.cache)

    def _loaded(self, budget_bytes: int | None = None) -> Params | Streamed:
        """The weights; the journal is told when they had to be read."""
        params, read = self._engine.params(budget_bytes)
        if read:
            self._journal.record(self._stored)
        return params

    def _read(
        self, params: Params | Streamed, tokens: list[int], sequence: "_Sequence", settings: Settings
    ) -> list | None:
        """Feeds tokens in pieces: what `Answer.step` takes, behind the last one; None where somebody cancels."""
        told: list | None = None
        cut = list(self._engine.pieces(params, tokens))
        for number, (piece, length) in enumerate(cut, start=1):
            if settings.cancelled:
                return None
            start, rows = len(sequence.tokens), self._embedded(piece)
            cache = sequence.used()
            if settings.hidden and number == len(cut):
                given = (params, rows, length, start, cache)
                states, sequence.cache, touched = self._engine.states(*given, every=True)
                last = states[:, len(piece) - 1]
                found, read = self._engine.told(params, last[-1:])
                touched += read
                told = [*found, np.asarray(last)]
            else:
                (*told, sequence.cache), touched = self._engine.step(params, rows, length, start, cache)
            self._journal.record(self._touched(touched))
            sequence.tokens += piece
        return told

    def _touched(self, touched: Iterable[Touched]) -> list[Access]:
        """What the journal is told of experts, and within a budget of all weights."""
        return [
            Access(self._name, t.name, first, rows, rows * t.row_bytes, "disk" if read else "memory")
            for t, first, rows, read in touched
        ]

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


@dataclass
class _Sequence:
    """Tokens that the model has read, the cache that holds them, and the token to be read next."""

    tokens: list[int]
    cache: Cache | None
    next: int = -1

    def used(self) -> Cache:
        """The cache, to be used up: from here on there is none."""
        cache, self.cache = self.cache, None
        assert cache is not None
        return cache
