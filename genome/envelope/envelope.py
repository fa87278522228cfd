"""The activity envelope: the databases that one activity works with, each under a role, swapped while in use."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Protocol, Self

import apsw

from genome.db import Journal
from genome.db.journal import Access
from genome.envelope.held import Held
from genome.envelope.roles import Database, Roles
from genome.envelope.speaking import Speaking
from genome.errors import Error, NotFoundError

if TYPE_CHECKING:
    from threading import Event

    import polars as pl

    from genome.db.templates import Template
    from genome.decompose import Decomposition
    from genome.model.tensors import TensorView


class Library(Protocol):
    """Where an envelope finds databases: the workbench."""

    def find(self, name: str) -> Database:
        """The database of a name."""
        ...

    def connect(self, database: Database) -> apsw.Connection:
        """A database, to be read; of many, few are open at a time."""
        ...

    def roles(self, databases: Sequence[Database], keep_genome: bool = True) -> Roles:
        """Gives databases their roles; without `keep_genome`, a genome that does not fit gives way."""
        ...

    def save(self, name: str, envelope: "Envelope") -> None:
        """Keeps an envelope under a name."""
        ...

    def template(self, name: str) -> "Template":
        """The query template of a name."""
        ...


class Envelope(Speaking):
    """The databases that one activity works with, what it asks of them, and the journal of what it touched.

    Databases are opened when they are first needed. What is in flight holds its own: after a swap, a
    generation goes on with the model it began with, whose memory is given back when it ends. Several threads
    may ask it at the same time.

    Args:
        library: finds databases by name and gives them their roles.
        roles: the databases to begin with.
        display: turns what people hold into HTML for a notebook.
        journal: told what is touched; None begins one.
    """

    def __init__(
        self,
        library: Library,
        roles: Roles,
        display: Callable[[object], str] = str,
        journal: Journal | None = None,
    ) -> None:
        self.journal = Journal() if journal is None else journal
        self._library = library
        self._display = display
        self._held = Held(roles, library.connect, self.journal, display)
        self._turning = Lock()
        self._closed = False

    @property
    def _open(self) -> Held:
        """What is open, for something new to begin with.

        Raises:
            Error: the envelope is closed, or a file was replaced, changed or removed since it was taken.
        """
        self._check_open()
        self._held.check()
        return self._held

    def _check_open(self) -> None:
        if self._closed:
            raise Error("this envelope is closed; the workbench gives a new one: `envelope(...)`")

    @property
    def roles(self) -> Roles:
        """Which database has which role now."""
        return self._held.roles

    @property
    def names(self) -> tuple[str, ...]:
        """The databases' names: model, deltas, lexicons, genome."""
        return tuple(d.name for d in self.roles.databases)

    def swap(self, *names: str) -> None:
        """Puts databases in the place of those of the same role, without a stop.

        A new model lays aside the deltas of the old one; deltas take the place of all that lay over the model. A
        genome database that does not fit the new ones gives way to one that does, if there is one. What was begun
        before goes on with what it began with. Naming a database that was changed or replaced since it was taken
        takes it as it is now.

        Raises:
            NotFoundError: no database has one of the names.
            Error: databases that do not go together, with the reason; then nothing changes.
        """
        new = [self._library.find(name) for name in names]
        taken = {d.kind for d in new}
        laid_aside = taken | ({"delta"} if "model" in taken else set())
        with self._turning:
            self._turn([*(d for d in self.roles.databases if d.kind not in laid_aside), *new], "genome" in taken)

    def attach(self, *names: str) -> None:
        """Lays deltas over the model, in this order, above those that lie there; the next call sees them.

        Raises:
            NotFoundError: no database has one of the names.
            Error: one is no delta, was made for another base, or lies there already; then nothing changes.
        """
        new = [self._library.find(name) for name in names]
        with self._turning:
            for database in new:
                if database.kind != "delta":
                    raise Error(f"{database.name} is a {database.kind}; attach lays deltas over a model: use swap")
                if database in self.roles.deltas:
                    raise Error(f"{database.name} lies over {self.names[0]} already; detach it first")
            self._turn([*self.roles.databases, *new])

    def detach(self, *names: str) -> None:
        """Takes deltas away from the model, the uppermost ones or, without names, all; the next call sees it.

        Raises:
            NotFoundError: a name is not that of an attached delta.
            Error: deltas that lie above one of them were made over it; then nothing changes.
        """
        with self._turning:
            attached = [d.name for d in self.roles.deltas]
            if strangers := [name for name in names if name not in attached]:
                raise NotFoundError(
                    f"{strangers[0]} is not attached; attached are: {', '.join(attached) or 'none'}"
                )
            going = set(names or attached)
            self._turn([d for d in self.roles.databases if d.kind != "delta" or d.name not in going])

    def _turn(self, databases: Sequence[Database], keep_genome: bool = False) -> None:
        """Goes on with other databases; a genome that nobody named gives way where it does not fit."""
        self._check_open()
        self._held = self._held.turned(self._library.roles(databases, keep_genome))

    def nested(self, *names: str, activity: str = "nested") -> "Envelope":
        """An envelope for an activity inside of this one: the same databases, those named in their roles' place.

        What is open here it uses too (the model's weights are in memory once), and what it touches this one's
        journal tells too, as `session/nested`. Swaps on either side change the other one not. Close it before this
        one, best in a `with`.

        Args:
            names: databases to swap in.
            activity: what the journal calls it.

        Raises:
            NotFoundError, Error: as `swap`.
        """
        inner = Envelope(self._library, self.roles, self._display, self.journal.nested(activity))
        inner._held = self._open.nested(inner.journal)
        if names:
            inner.swap(*names)
        return inner

    def save(self, name: str) -> None:
        """Keeps this envelope's databases and their checksums under a name: `wb.reopen(name)` opens the same ones.

        Raises:
            Error: the name cannot be, or the workbench's folder cannot be written.
        """
        self._library.save(name, self)

    # Meaning

    def decompose(self, text: str) -> "Decomposition":
        """The 65 weights and the genome ID of a word (as written, in other case, inflected) or of a sense's key.

        A text of several words has the mean of those that say something, and a path, but no leaf of its own.

        Raises:
            NotFoundError: the genome database does not have it; the text names words spelled alike.
            Error: no genome database goes with this envelope.
        """
        return self._open.space().decompose(text)

    def compose(self, mixture: "Mapping[str, float]", k: int = 10, kind: str = "word") -> "pl.DataFrame":
        """The k units nearest to a mixture of primitives: `{"SOMEONE": .5, "DIE": .3, "BECAUSE": .2}`.

        Returns:
            label, similarity (cosine of the weights' square roots, 0..1), path, id, kind, origin, frequency.

        Raises:
            NotFoundError: no primitive has such a name.
            Error: a part is negative or no number, all are 0, k or the kind is none, or no genome is open.
        """
        return self._open.space().compose(mixture, k, kind)

    def decompose_text(self, text: str) -> "pl.DataFrame":
        """One row a word: word, unit, id, path, leading, weight, weights (65); null where a word is not known."""
        return self._open.space().decompose_text(text)

    def decompose_texts(self, texts: "pl.Series | Iterable[str | None]") -> "pl.DataFrame":
        """One row a text, of any length: the mean of its words that say something; each word is looked up once.

        Args:
            texts: a Polars column of strings, or strings.

        Returns:
            text, words, known (how many of those that say something were found), id and path (without a leaf),
            leading, weight, weights (65); null where no word is known.
        """
        return self._open.space().decompose_texts(texts)

    def neighbours(
        self,
        text: str,
        k: int = 10,
        kind: str = "word",
        *,
        prefix: str = "",
        pos: str = "",
        min_frequency: int = 0,
        exact: bool = False,
    ) -> "pl.DataFrame":
        """The k units of a kind nearest in meaning; the unit itself is left out.

        Without a filter only the tenth of the units is read whose prefixes are nearest, which holds 99 of 100
        neighbours; with one, or `exact`, the vector index answers for what the filters leave, and misses none.

        Args:
            text: a word or a sense's key.
            k: how many, 1 to 1000.
            kind: `word`, `sense` or `token`.
            prefix: only units under it: `PEOPLE.KNOW`.
            pos: only what can be this part of speech: `n`, `v`, `a`, `r`.
            min_frequency: only what is tagged so often in the lexicon's corpus.
            exact: miss none.

        Returns:
            label, similarity (cosine of the weights' square roots, 0..1), path, id, kind, origin, frequency.

        Raises:
            NotFoundError: the genome database does not have the text.
            Error: k or a filter is none.
        """
        space = self._open.space()
        return space.neighbours(text, k, kind, prefix=prefix, pos=pos, min_frequency=min_frequency, exact=exact)

    def units(
        self,
        prefix: str = "",
        limit: int | None = None,
        *,
        kind: str | None = None,
        pos: str = "",
        min_frequency: int = 0,
    ) -> "pl.DataFrame":
        """The units under a prefix (`KNOW.SAY`), in the order of their IDs, from one range scan.

        Args:
            prefix: names of codons joined by dots; empty for all.
            limit: at most so many rows.
            kind: only `word`, `sense` or `token`.
            pos: only what can be this part of speech: `n`, `v`, `a`, `r`.
            min_frequency: only what is tagged so often in the lexicon's corpus.

        Returns:
            id, path, label, kind (word, sense, token), origin, method, frequency, pos.

        Raises:
            NotFoundError: a step of the prefix is no primitive and no structural class.
            Error: the limit or a filter is none.
        """
        return self._open.space().units(prefix, limit, kind=kind, pos=pos, min_frequency=min_frequency)

    # The model

    def tokens(
        self,
        contains: str | None = None,
        *,
        prefix: str | None = None,
        exact: str | None = None,
        limit: int | None = None,
    ) -> "pl.DataFrame":
        """The model's tokens by their text, with genome IDs: token, text, id, path. No weights are read.

        Args:
            contains: what stands anywhere in a token.
            prefix: how it begins, blanks included; instead of `contains`.
            exact: the whole token; instead of `contains`.
            limit: at most so many rows, in the order of token numbers.

        Raises:
            Error: not exactly one of the three is given, or it is empty.
        """
        import polars as pl

        from genome.model.queries import find_tokens

        held = self._open
        found = find_tokens(held.model(), contains=contains, prefix=prefix, exact=exact, limit=limit)
        name = held.roles.model.name if held.roles.model else ""
        self.journal.record([Access(name, "token", token.id, 1, len(token.bytes), "disk") for token in found])
        identify = held.identify()
        rows = []
        for token in found:
            identity = identify(token.id)
            path = None if identity is None else identity.path
            rows.append((token.id, token.bytes.decode("utf-8", "backslashreplace"), identity, path))
        schema = {"token": pl.Int64, "text": pl.String, "id": pl.Int64, "path": pl.String}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def tensor(self, name: str) -> "TensorView":
        """A tensor by its name; `env.tensor(name)[rows]` reads these rows as numbers, and no blocks but theirs.

        It stays that of the model and the deltas that are in use now, whatever is swapped afterwards.

        Raises:
            NotFoundError: the model has no tensor of that name.
        """
        from genome.model.queries import hyperparameters
        from genome.model.tensors import TensorView

        held = self._open
        facts = hyperparameters(held.model())
        return TensorView.of(
            held.weights(), name, hyperparameters=facts, journal=self.journal, display=self._display
        )

    def tensors(
        self, *, role: str | None = None, layer: int | None = None, dtype: str | None = None
    ) -> "pl.DataFrame":
        """The model's tensors, with its deltas: name, role, layer, dtype, shape, rows, row_bytes, size_bytes.

        No weights are read.

        Args:
            role: only those of this role: `attn_q`.
            layer: only those of this layer, from 0 on.
            dtype: only those stored in this type: `Q4_1`.
        """
        from genome.model.tensors import tensor_frame

        return tensor_frame(self._open.weights().tensors(), role=role, layer=layer, dtype=dtype)

    # What is open

    def query(
        self,
        template: str,
        /,
        *,
        other: str | None = None,
        seconds: float = 10.0,
        cancel: "Event | None" = None,
        **values: object,
    ) -> "pl.DataFrame":
        """What a query template answers: a named SELECT on this envelope's databases that can write nothing.

        `Workbench.templates()` lists them with the values that they take. Ctrl-C, or a notebook's stop button, ends
        a query that takes long.

        Args:
            template: its name.
            other: the second database of a template that compares two.
            seconds: the time limit.
            cancel: ends the query when another thread sets it.
            values: what the template takes, by name.

        Returns:
            the template's columns; bytes as Binary.

        Raises:
            NotFoundError: no such template or database, or the SQL names a table or column that is not there.
            Error: a value is missing or wrong, a role that the template asks for is empty, the query took too long
                or too much memory, was cancelled, or tried more than reading.

        Example:
            `env.query("tokens_by_prefix", prefix=" moth", limit=5)`
        """
        from genome.envelope.asking import ask

        found = self._library.template(template)
        with_other = None if other is None else self._library.find(other)
        return ask(found, values, self._open.roles, self.journal, other=with_other, seconds=seconds, cancel=cancel)

    def lexicons(self) -> list[tuple[str, apsw.Connection]]:
        """The lexicons by name, open, in their order.

        Raises:
            Error: there is none.
        """
        return self._open.lexicons()

    # What happened, and the end

    def accesses(self) -> "pl.DataFrame":
        """The journal of this activity and those nested in it: what was read, step by step.

        Returns:
            activity, step (0 for what belongs to none), database, object (a tensor's name, or the table: `token`,
            `unit`, `composition`), row (the first), rows, bytes, source (`disk`, `memory`), times (more than 1
            where old accesses are added up; what such a sum has forgotten is null).
        """
        return self.journal.frame()

    def close(self) -> None:
        """Closes every database; what still runs, and what is asked later, ends with an error."""
        with self._turning:  # a swap of another thread ends first
            self._closed = True
            self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "Envelope: " + (", ".join(f"{d.name} ({d.kind})" for d in self.roles.databases) or "empty")

    def _repr_html_(self) -> str:
        return self._display(self)
