"""The open databases of an envelope, and what is made from them: each when it is first needed."""

from collections.abc import Callable
from functools import partial
from threading import Lock, RLock
from typing import TYPE_CHECKING

import apsw

from genome.db import Journal
from genome.envelope.roles import Database, Roles, names_of, stamp
from genome.errors import Error, NotFoundError
from genome.ids import GenomeID
from genome.progress import Progress

if TYPE_CHECKING:
    from genome.decompose import GenomeSpace
    from genome.decompose.lens import Lens
    from genome.model import LanguageModel, Tokenizer
    from genome.model.weights import Weights

EXECUTABLES = ".executables"
"""The folder beside a workbench's databases in which compiled steps are kept."""

Connect = Callable[[Database], apsw.Connection]


class Held:
    """The open databases of one set of roles; each is opened when it is first needed.

    Args:
        roles: which database has which role.
        connect: opens one.
        journal: told what is touched.
        display: turns what people hold into HTML for a notebook.
        lent: connections that belong to the activity around this one, which closes them.
    """

    def __init__(
        self,
        roles: Roles,
        connect: Connect,
        journal: Journal,
        display: Callable[[object], str],
        lent: frozenset[apsw.Connection] = frozenset(),
    ) -> None:
        self.roles = roles
        self._connect = connect
        self._lent = lent
        self._journal = journal
        self._display = display
        self._space: GenomeSpace | None = None
        self._connections: dict[Database, apsw.Connection] = {}
        self._tokenizer: Tokenizer | None = None
        self._language_model: LanguageModel | None = None
        self._weights: Weights | None = None
        self._lenses: dict[int, Lens] = {}
        self._making = RLock()
        self._fitting = Lock()

    def check(self) -> None:
        """Looks at each file: what this activity began with has to be there, as it was.

        Raises:
            NotFoundError: a file is gone.
            Error: a file was replaced, or changed in place.
        """
        for database in self.roles.databases:
            now = stamp(database.path)
            if now == database.stamp:
                continue
            if now is None:
                raise NotFoundError(
                    f"{database.path} is gone, or its folder; put it back, or `env.swap(...)` to another database"
                )
            raise Error(
                f"{database.path} has been replaced or changed since this envelope took it; "
                f"`env.swap({database.name!r})` goes on with what is there now"
            )

    def turned(self, roles: Roles) -> "Held":
        """For other roles, sharing what stays. The databases that go are closed when nothing uses them any more."""
        new = Held(roles, self._connect, self._journal, self._display, self._lent)
        self._share(new)
        if roles.model == self.roles.model:
            new._tokenizer = self._tokenizer
        return new

    def nested(self, journal: Journal) -> "Held":
        """For an activity inside of this one: what is open here it uses too, and leaves open when it ends."""
        with self._making:  # what another thread opens between the two would be shared, but not lent
            new = Held(self.roles, self._connect, journal, self._display, frozenset(self._connections.values()))
            self._share(new)
        if new._language_model is not None:
            new._language_model = new._language_model.noted_by(journal, new.identify())
        return new

    def _share(self, new: "Held") -> None:
        kept = new.roles
        with self._making:
            new._connections = {d: c for d, c in self._connections.items() if d in kept.databases}
            own = self.roles
            if (kept.model, kept.deltas, kept.genome) == (own.model, own.deltas, own.genome):
                new._language_model = self._language_model
                if kept.lexicons == own.lexicons:
                    new._lenses = self._lenses

    def connection(self, database: Database) -> apsw.Connection:
        """One of the databases, open."""
        with self._making:
            if database not in self._connections:
                self._connections[database] = self._connect(database)
            return self._connections[database]

    def model(self) -> apsw.Connection:
        """The model's database.

        Raises:
            Error: there is none.
        """
        return self.connection(self._model_role())

    def _model_role(self) -> Database:
        if self.roles.model is None:
            raise Error("no model is in this envelope; `genome pull smollm2` makes one, then name it")
        return self.roles.model

    def deltas(self) -> list[apsw.Connection]:
        """The deltas over the model, in their order."""
        return [self.connection(d) for d in self.roles.deltas]

    def genome(self) -> apsw.Connection:
        """The genome database.

        Raises:
            Error: there is none.
        """
        if self.roles.genome is None:
            others = names_of(self.roles.databases) or "nothing"
            raise Error(
                f"no genome database goes with {others}; `genome lab --build-only` builds one for the default ones"
            )
        return self.connection(self.roles.genome)

    def identify(self) -> Callable[[int], GenomeID | None]:
        """From a token's number to its genome ID; None where no genome database addresses the model's tokens."""
        if self.roles.genome is None or self.roles.genome.vocabulary is None:
            return lambda token: None
        return partial(self.space().token_id, self.roles.genome.meta.get("model", ""))

    def lexicons(self) -> list[tuple[str, apsw.Connection]]:
        """The lexicons by name, in their order.

        Raises:
            Error: there is none.
        """
        if not self.roles.lexicons:
            raise Error("no lexicon is in this envelope; `genome pull wordnet` makes one, then name it")
        return [(d.name, self.connection(d)) for d in self.roles.lexicons]

    def space(self) -> "GenomeSpace":
        """The genome database with the lexicons that it was built from."""
        with self._making:
            if self._space is None:
                from genome.decompose import GenomeSpace

                db, own = self.genome(), self.roles.genome
                names = own.origins if own else {}
                lexicons = {names[d.uuid]: self.connection(d) for d in self.roles.lexicons if d.uuid in names}
                self._space = GenomeSpace(db, lexicons, self._display, own.name if own else "", self._journal)
            return self._space

    def tokenizer(self) -> "Tokenizer":
        """The model's tokenizer."""
        with self._making:
            if self._tokenizer is None:
                from genome.model import Tokenizer

                self._tokenizer = Tokenizer(self.model(), self._model_role().name, self._journal)
            return self._tokenizer

    def weights(self) -> "Weights":
        """The model's tensors, with its deltas laid over them."""
        with self._making:
            if self._weights is None:
                from genome.model.weights import Weights

                self._weights = Weights(self.model(), self._model_role().name, self.deltas())
            return self._weights

    def language_model(self) -> "LanguageModel":
        """The model with its deltas; no weights are read yet."""
        with self._making:
            if self._language_model is None:
                from genome.model import LanguageModel

                role = self._model_role()
                self._language_model = LanguageModel(
                    self.model(), role.name, self._journal, identify=self.identify(), deltas=self.deltas(),
                    executables=role.path.parent / EXECUTABLES,
                )  # fmt: skip
            return self._language_model

    def lens(self, words: int, progress: Progress) -> "Lens":
        """The lens fitted to so many words; kept until the model, the deltas or the dictionary change."""
        with self._fitting:  # a lock of its own: while the model reads, other threads go on
            if words not in self._lenses:
                from genome.envelope.lensing import fitted

                self._lenses[words] = fitted(self.language_model(), self.space().usages(words), progress)
            return self._lenses[words]

    def close(self) -> None:
        """Closes all of them."""
        with self._making:
            if self._language_model is not None and not self._lent:
                self._language_model.close()
            for connection in self._connections.values():
                if connection not in self._lent:
                    connection.close(True)
            self._connections.clear()
            self._space = self._tokenizer = self._language_model = self._weights = None
