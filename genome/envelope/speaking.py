"""What an envelope asks of its model's tokenizer and of the model itself: texts, tokens, vectors."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar, Unpack

from genome.envelope.held import Held
from genome.envelope.lensing import BREAK
from genome.errors import Error
from genome.progress import Progress, silent

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from genome.model import Options, Step, Tokenizer

_T = TypeVar("_T")

LENS_WORDS = 1500
"""A lens is fitted to so many words, and as many sentences."""


class Speaking(ABC):
    """The part of an envelope that reads and writes texts."""

    @property
    @abstractmethod
    def _open(self) -> Held:
        """What is open, for something new to begin with."""

    @abstractmethod
    def _check_open(self) -> None:
        """Refuses where the envelope is closed."""

    def encode(self, text: str, *, bos: bool = False, special: bool = True) -> list[int]:
        """The model's token numbers of a text; no weights are read.

        Args:
            text: any text that UTF-8 can hold.
            bos: put the BOS token before it.
            special: control tokens written in the text (`<|im_start|>`) become these tokens.
        """
        return self.tokenizer.encode(text, bos=bos, special=special)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token numbers; bytes that are no UTF-8 become U+FFFD."""
        return self.tokenizer.decode(ids)

    def chat(self, messages: Sequence[Mapping[str, str]] | str) -> list[int]:
        """The tokens of a conversation in the model's own chat template, up to where the model answers.

        Args:
            messages: each with `role` and `content`; a text stands for one message of the user.
        """
        told = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        return self.encode(self.tokenizer.chat(told))

    def generate(self, prompt: str | Sequence[int], **options: "Unpack[Options]") -> "Iterator[Step]":
        """Generates from a text (taken as it is, without BOS and chat template) or from token numbers.

        The model begins at once; a swap after this call does not change what this iterator gives.

        Args:
            prompt: a text, or token numbers (of `chat`).
            options: `max_tokens` (else 128), `temperature` (else 0: always the likeliest token), `top_k`, `top_p`,
                `min_p`, `repetition_penalty`, `presence_penalty`, `frequency_penalty`, `penalty_window`,
                `logit_bias`, `seed`, `stop`, `past_end`, `schema` (JSON), `regex`, `grammar`, `alternatives`,
                `hidden`, `reuse`, `memory`, `cancel`; `genome.model.Options` tells what each does.

        Yields:
            one Step(token, text, id, logprob, alternatives, ended, hidden) a token.

        Raises:
            Error: at once: the prompt is empty or too long, an option is unknown, of the wrong type or out of
                range, a grammar cannot be used.

        Example:
            `env.generate("Once upon a time", max_tokens=64, temperature=0.8, min_p=0.05, seed=1)`
        """
        ids = self.encode(prompt) if isinstance(prompt, str) else prompt
        return self._while_open(self._open.language_model().generate(ids, **options))

    def generate_batch(
        self,
        prompts: Sequence[str | Sequence[int]],
        *,
        seeds: Sequence[int] | None = None,
        **options: "Unpack[Options]",
    ) -> "Iterator[list[Step | None]]":
        """Continues several prompts together; each gets the same tokens as alone.

        Args:
            prompts: each a text, or token numbers, as `generate` takes them.
            seeds: one for each prompt; else all have the option `seed`.
            options: those of `generate`, but for `hidden`.

        Yields:
            for each prompt its next Step, or None where it has ended; until all have.

        Raises:
            Error: at once: as `generate`, with the prompt's number.

        Example:
            `columns = zip(*env.generate_batch(["My mother", "My father"], max_tokens=16))`, then
            `["".join(step.text for step in column if step) for column in columns]`
        """
        if isinstance(prompts, str) or not isinstance(prompts, Iterable):
            raise Error(f"wanted several prompts, got {type(prompts).__name__}; `generate` takes one")
        told = [self.encode(prompt) if isinstance(prompt, str) else prompt for prompt in prompts]
        return self._while_open(self._open.language_model().generate_batch(told, seeds=seeds, **options))

    def embed(
        self, texts: str | Sequence[str], *, pooling: str = "mean", normalised: bool = True, truncate: bool = False
    ) -> "np.ndarray":
        """Texts as the model's vectors, from the last hidden states of their tokens.

        Args:
            texts: one, or several; each of at least one character.
            pooling: `mean` of all tokens' states, or the `last` token's, which alone has seen the whole text.
            normalised: each vector has the length 1, so that a dot product is a cosine.
            truncate: of a text that is too long take what the context has room for.

        Returns:
            float32 (texts, width).
        """
        told = [texts] if isinstance(texts, str) else texts
        return self._open.language_model().embed(told, pooling=pooling, normalised=normalised, truncate=truncate)

    def hidden(self, prompt: str | Sequence[int]) -> "np.ndarray":
        """The hidden states of a text's tokens, or of token numbers: float32 (layers + 1, tokens, width).

        Number 0 are the embeddings, number n is what the nth layer leaves; the last ones are normed.
        """
        ids = self.encode(prompt) if isinstance(prompt, str) else prompt
        return self._open.language_model().hidden(ids)

    def lens(self, text: str, *, words: int = LENS_WORDS, progress: Progress = silent) -> "pl.DataFrame":
        """What each token of a text means at each layer of the model, as a composition over the 65.

        A linear map from the hidden states of each layer is fitted the first time, to `words` frequent words by
        themselves and as many example sentences, whose senses the lexicon knows: half a minute for SmolLM2 on two
        cores. It is kept as long as this envelope has the same databases. A token sees what stands before it only.

        Args:
            text: any; a line break is read before it, and not shown.
            words: the lens is fitted to so many words and sentences, from 100 on.
            progress: told of the fit.

        Returns:
            one row a token and layer: token, position, layer (0: the embeddings, which know no context), leading
            (the weightiest primitive), weight (its), weights (65), and r2: the share of compositions' variance that
            this layer's map explains on words that it has not seen. `lens_quality` tells more of that.

        Raises:
            Error: no genome database goes with this envelope, the text is empty, or there are too few words.
        """
        if not text:
            raise Error("the text under the lens is empty; wanted at least one character")
        held = self._open
        lens = held.lens(_count(words), progress)
        start, ids = self.encode(BREAK), self.encode(text, special=False)
        states = held.language_model().hidden([*start, *ids])[:, len(start) :]
        return lens.frame([self.decode([token]) for token in ids], states)

    def lens_quality(self, *, words: int = LENS_WORDS, progress: Progress = silent) -> "pl.DataFrame":
        """How far to believe the lens, by layer, on words that its maps have not seen.

        Args:
            words: as for `lens`.
            progress: told of the fit, where there has been none yet.

        Returns:
            layer (0: the embeddings); r2, the share of variance explained; shuffled, the same where compositions
            are dealt out at random; embedding, the same where the embeddings' map is put to each layer; senses, of
            pairs of sentences with one word in two senses the share that is matched to these rightly (chance is
            .5); pairs, how many.

        Raises:
            Error: as `lens`.
        """
        return self._open.lens(_count(words), progress).quality()

    def _while_open(self, steps: Iterator[_T]) -> Iterator[_T]:
        """Ends with an error where the envelope is closed in between."""
        while True:
            self._check_open()
            if (step := next(steps, None)) is None:
                return
            yield step

    @property
    def tokenizer(self) -> "Tokenizer":
        """The model's tokenizer, from its database."""
        return self._open.tokenizer()


def _count(words: int) -> int:
    if not isinstance(words, int) or words < 100:
        raise Error(f"a lens is fitted to at least 100 words, got {words!r}")
    return words
