"""The workbench: a folder of reference databases, what makes them, and the envelopes assembled from them."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genome import db, sources
from genome.db.connect import meta, opened
from genome.db.pool import Pool
from genome.envelope import Database, Envelope, assign
from genome.envelope.held import EXECUTABLES
from genome.errors import Error, NotFoundError, quoted
from genome.progress import Progress, silent
from genome.sizes import machine_bytes
from genome.workbench.deltas import Deltas
from genome.workbench.files import GENOME, Files, Library, pullable
from genome.workbench.naming import safe

if TYPE_CHECKING:
    import polars as pl

    from genome.db.templates import Template
    from genome.model import Exported

MODEL, LEXICONS = "smollm2", ("wordnet", "webster")
"""What the default workbench builds its genome database from."""

Bars = Callable[[], AbstractContextManager[Progress]]
Display = Callable[[object], str]


def default_folder() -> Path:
    """GENOME_HOME, else `token-genome` in the user's data folder."""
    if told := os.environ.get("GENOME_HOME"):
        return Path(told).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("token-genome", appauthor=False)


class Workbench:
    """A folder of reference databases with a catalogue: `<folder>/<name>.db`.

    Databases are read as they are asked for. However many envelopes are open on however many databases, no more
    than 64 connections are; a workbench needs no closing.

    Args:
        folder: made by the first build; None takes `default_folder()`.
        bars: shows progress where a method is not handed one: gives a context that closes what it drew.
        display: turns what people hold into HTML for a notebook.
    """

    def __init__(
        self, folder: Path | str | None = None, *, bars: Bars = lambda: nullcontext(silent), display: Display = str
    ) -> None:
        self.folder = default_folder() if folder is None else Path(folder).expanduser().absolute()
        if self.folder.exists() and not self.folder.is_dir():
            raise Error(f"{self.folder} is a file; wanted the folder of a workbench")
        self._files = Files(self.folder)
        self._pool = Pool()
        self._bars = bars
        self._display = display

    @property
    def delta(self) -> Deltas:
        """The deltas: `wb.delta.create(...)`, `apply`, `undo`, `list`, `merge`."""
        return Deltas(self._files, self._progress)

    # What is there

    def names(self) -> list[str]:
        """The names of the databases, damaged ones too, in alphabetical order."""
        return self._files.names()

    def databases(self) -> "pl.DataFrame":
        """The catalogue, from the headers: name, kind, size_bytes, source, licence, created, checksum.

        A file that cannot be read as a reference database has the kind `unreadable`; `info` says why.
        """
        import polars as pl

        columns = ("kind", "size_bytes", "source", "licence", "created", "checksum")
        rows = []
        for name in self.names():
            path = self.path(name)
            try:
                facts = self._files.database(name).meta
            except Error:
                facts = {"kind": "unreadable"}
            rows.append((name, *({**facts, "size_bytes": path.stat().st_size}.get(c, "") for c in columns)))
        schema = {name: pl.Int64 if name == "size_bytes" else pl.String for name in ("name", *columns)}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def path(self, name: str) -> Path:
        """The file of a database.

        Raises:
            NotFoundError: no database has that name; the text lists those that are there.
        """
        return self._files.path(name)

    def info(self, name: str) -> dict[str, Any]:
        """What a database's header says, its file, its size in bytes, and the number of rows of each table.

        Raises:
            NotFoundError: no database has that name.
            DamagedError: the file is not a reference database.
        """
        path = self.path(name)
        with opened(path) as database:
            facts = meta(database)
            rows = dict(database.execute("SELECT table_name, row_count FROM contents ORDER BY table_name"))
        return {**facts, "path": str(path), "size_bytes": path.stat().st_size, "rows": rows}

    def remake(self, name: str) -> str:
        """The command that makes a database again, once its damaged file is removed."""
        if name == GENOME:
            return "genome lab --build-only"
        try:
            if self._files.database(name).kind == "delta":
                return f"genome delta create BASE CHANGED --name {name}"
        except Error:
            pass  # so damaged that it does not say what it was
        return f"genome pull {name}" if name in pullable() else f"genome pull FILE --name {name}"

    def verify(self, name: str, progress: Callable[[str], None] = lambda _: None) -> list[db.Problem]:
        """Reads a whole database and lists all damage; an empty list means none."""
        return db.verify(self.path(name), progress)

    # What can be asked of them

    def template(self, name: str) -> "Template":
        """A query template: one of the program's, or a user's own, `<folder>/templates/<name>.sql`.

        Raises:
            NotFoundError: there is none; the text names those that are spelled alike.
            DamagedError: its header cannot be understood.
        """
        from genome.workbench.templates import find

        return find(self.folder, name)

    def templates(self) -> "pl.DataFrame":
        """The query templates: name, answers, roles, values (with their types and defaults), file, fault.

        `fault` is what is wrong with a user's own one, null where nothing is: each is checked against the schemas.
        """
        from genome.workbench.templates import catalogue

        return catalogue(self.folder)

    # What makes databases

    def pull(self, what: str | Path, name: str | None = None, progress: Progress | None = None) -> Path:
        """Makes a database from a named source, or from a model of the user's own.

        Args:
            what: `smollm2`, `wordnet`, `webster`; or a GGUF file, a safetensors file or index, a Hugging Face
                folder. A named source comes first (`./wordnet` is a file).
            name: of the database; None takes the source's, the folder's, or the file's without its suffix.
            progress: told bytes, tensors, words.

        Returns:
            The database. Where it is there already and comes from the same source, nothing is done; where it
            cannot be read any more (damaged, or of an older schema), it is built again.

        Raises:
            NotFoundError: neither a named source nor a file.
            Error: another database has that name, the name is reserved, or the source cannot be fetched or read.
        """
        with self._progress(progress) as told:
            if str(what) in sources.names():
                return self._pull_named(str(what), self._files.free(name or str(what), str(what)), told)
            from genome.model.formats.dispatch import default_name

            path = Path(what).expanduser()
            return self._pull_file(path, self._files.free(name or safe(default_name(path)), str(what)), told)

    def prepare(self, name: str, progress: Progress | None = None) -> None:
        """Compiles ahead what a model's first answers need, so that its first run starts as fast as any later one.

        What was compiled is kept beside the databases; where it is there already, nothing is compiled. A kill loses
        what was being compiled, no more.

        Args:
            name: of a model database.
            progress: told what is compiled.

        Raises:
            NotFoundError: no database has that name.
            Error: it is no model, not of a kind that runs here, or so large that it is left to the first run.
            DamagedError: its weights are damaged.
        """
        from genome.model import LanguageModel

        with self._progress(progress) as told, opened(self.path(name), "model") as weights:
            model = LanguageModel(weights, name, db.Journal("prepare"), executables=self.folder / EXECUTABLES)
            memory = machine_bytes()
            if memory is not None and 2 * self.path(name).stat().st_size > memory:
                raise Error(f"{name} takes more than half of this machine's memory; its first run compiles instead")
            told(f"{name}: compile", 0, 0)
            try:
                model.prepare()
            finally:
                model.close()

    def export(
        self,
        name: str,
        target: Path | str,
        *,
        format: str | None = None,  # noqa: A002 (the word that people type)
        force: bool = False,
        progress: Progress | None = None,
    ) -> "Exported":
        """Writes the files that a model came from, byte for byte, or the model in another format.

        Args:
            name: of a model database.
            target: the file to write, or the folder where there are several; it appears whole, and in the source's
                own format only if each SHA-256 is the source's.
            format: `gguf` or `safetensors` (a Hugging Face folder); None takes the source's.
            force: replace what has that name.
            progress: told bytes.

        Returns:
            The files with their SHA-256, and whether they differ from the source's.

        Raises:
            NotFoundError: no database has that name, or no folder is there to write into.
            DamagedError: the database does not hold the source's bytes any more.
            Error: the database is no model, or one that the format cannot hold; the name is taken, or the disk is
                full or refuses.
        """
        from genome.model import export_model

        with self._progress(progress) as told:
            return export_model(
                self.path(name), Path(target).expanduser(), format=format, force=force, progress=told
            )

    def build_default(self, progress: Progress | None = None) -> list[str]:
        """Builds what the default workbench lacks, a database at a time, and gives the names of those built.

        A kill costs the database that was being built: those before it are there and are not built again.
        The genome database is built again when it was made from other lexicons or another model.

        Raises:
            Error: a database of another kind or origin has one of the names, or a source cannot be fetched.
        """
        with self._progress(progress) as told:
            built = []
            for name in (MODEL, *LEXICONS):
                facts = self._files.facts(name)
                if facts is None:
                    self.pull(name, progress=told)
                    built.append(name)
                else:
                    _same(facts, "kind", sources.find(name).kind, name)
            parts = [self._files.database(name) for name in (MODEL, *LEXICONS)]
            facts = self._files.facts(GENOME)
            if facts is not None:
                _same(facts, "source", _mixture(parts), _mixture(parts))
            if facts is None or not _made_from(self._files.database(GENOME), *parts):
                self._build_genome(parts, told)
                built.append(GENOME)
            if MODEL in built:
                with suppress(Error):  # a run says what is wrong, as it does without this
                    self.prepare(MODEL, told)
            return built

    # What works with them

    def envelope(self, *names: str, activity: str = "session") -> Envelope:
        """The databases of those names as one activity's envelope; roles come from their kinds.

        Several lexicons are taken in the order given. Where no genome database is named, the one that was made
        from these is added, and to deltas the model that they were made for. Without names: what is there of the
        default workbench.

        Args:
            names: of the databases; deltas lie over the model in the order given.
            activity: what the journal calls what is done with them.

        Raises:
            NotFoundError: no database has one of the names, or none is there at all.
            Error: databases that do not go together: two for one role, a delta of another base, a genome of another
                vocabulary.
        """
        library = Library(self._files, self._pool)
        found = [library.find(name) for name in names or self._default_names()]
        return Envelope(library, library.roles(found), self._display, db.Journal(activity))

    def reopen(self, name: str) -> Envelope:
        """The envelope that `Envelope.save` kept under a name: the same databases with the same content.

        Raises:
            NotFoundError: no such envelope, or one of its databases is gone.
            Error: a database has another content now.
        """
        from genome.envelope.saved import reopen

        library = Library(self._files, self._pool)
        databases, activity = reopen(self.folder, name, library.find)
        return Envelope(library, assign(databases, ()), self._display, db.Journal(activity))

    def envelopes(self) -> list[str]:
        """The names of the saved envelopes."""
        from genome.envelope.saved import saved

        return saved(self.folder)

    def coverage(self, text: str) -> "pl.DataFrame":
        """How many of a text's distinct words each lexicon knows, best first: name, words, known, share."""
        import polars as pl

        from genome.decompose import known_words, split_words

        words = sorted({word.lower() for word in split_words(text)})
        rows = []
        for database in self._files.readable("lexicon"):
            with opened(database.path) as lexicon:
                known = len(known_words(lexicon, words))
            rows.append((database.name, len(words), known, known / len(words) if words else 0.0))
        schema = {"name": pl.String, "words": pl.Int64, "known": pl.Int64, "share": pl.Float64}
        return pl.DataFrame(rows, schema=schema, orient="row").sort("known", "name", descending=[True, False])

    def assemble(self, text: str) -> Envelope:
        """The envelope that a text asks for: the lexicons that know its words, those that know most first.

        The genome database is the one made from most of these, and the model the one it was made for. A lexicon
        that knows none of the words is left out.

        Raises:
            NotFoundError: no lexicon knows any of the words.
        """
        chosen = [name for name, _, known, _ in self.coverage(text).iter_rows() if known]
        if not chosen:
            raise NotFoundError(
                f"no lexicon in {self.folder} knows a word of {quoted(text)}; {self._files.what_is_there('')}"
            )
        uuids = {self._files.database(name).uuid for name in chosen}
        genomes = list(self._files.readable("genome"))
        if not genomes:
            return self.envelope(*chosen)
        best = max(genomes, key=lambda g: (len(g.lineage & uuids), g.name))
        models = sorted(
            (d for d in self._files.readable("model") if d.vocabulary and d.vocabulary == best.vocabulary),
            key=lambda d: (d.uuid not in best.lineage, d.name),
        )
        lexicons = [name for name in chosen if self._files.database(name).uuid in best.lineage]
        return self.envelope(*(d.name for d in models[:1]), *lexicons, best.name)

    def __repr__(self) -> str:
        return f"Workbench({str(self.folder)!r}): {', '.join(self.names()) or 'empty'}"

    def _repr_html_(self) -> str:
        return self._display(self)

    def _pull_named(self, what: str, name: str, progress: Progress) -> Path:
        source = sources.find(what)
        if source.kind not in db.KINDS:
            raise Error(f"{what} is {source.kind} and becomes no database; wanted one of {', '.join(pullable())}")
        path = self.folder / f"{name}.db"
        if (facts := self._files.facts(name)) is not None:
            _same(facts, "source", source.requirement, what)
            return path
        source = sources.fetch(what, progress)
        facts = {"source": source.requirement, "licence": source.licence}
        if source.kind == "model":
            from genome.model import import_gguf

            import_gguf(source.path, path, progress=progress, **facts)
        else:
            from genome.decompose import build_webster, build_wordnet

            build = {"wordnet": build_wordnet, "webster": build_webster}[what]
            build(source.path, path, progress, source_sha256=source.sha256, **facts)
        return path

    def _pull_file(self, file: Path, name: str, progress: Progress) -> Path:
        if not file.exists():
            wanted = ", ".join(pullable())
            raise NotFoundError(f"{file} is neither a file nor a named source ({wanted}); check the spelling")
        from genome.model import import_model, source_sha256

        path = self.folder / f"{name}.db"
        if (facts := self._files.facts(name)) is not None:
            _same(facts, "source_sha256", source_sha256(file), str(file))
            return path
        import_model(file, path, progress=progress, source=file.resolve().name)
        return path

    def _build_genome(self, parts: list[Database], progress: Progress) -> None:
        """The genome database of a model and lexicons, whose uuids it keeps as its lineage."""
        from genome.decompose.build import build_genome
        from genome.decompose.tokens import TokenTable
        from genome.model import embedding_rows
        from genome.model.queries import all_tokens

        model, *lexicons = parts
        facts = {
            "source": _mixture(parts),
            "licence": "; ".join(f"{d.name}: {d.meta.get('licence')}" for d in parts),
            "model": model.name,
            "model_uuid": model.uuid,
            "vocabulary": model.vocabulary or "",
            "lexicon_names": json.dumps([d.name for d in lexicons]),
            "lexicon_uuids": json.dumps([d.uuid for d in lexicons]),
        }
        with ExitStack() as stack:
            weights = stack.enter_context(opened(model.path, "model"))
            tokens = list(all_tokens(weights))
            table = TokenTable(
                model.name, [t.bytes for t in tokens], [t.type for t in tokens], embedding_rows(weights)
            )
            dictionaries = [(d.name, stack.enter_context(opened(d.path, "lexicon"))) for d in lexicons]
            build_genome(dictionaries, self.folder / f"{GENOME}.db", table, progress, **facts)

    @contextmanager
    def _progress(self, progress: Progress | None) -> Iterator[Progress]:
        if progress is not None:
            yield progress
            return
        with self._bars() as bars:
            yield bars

    def _default_names(self) -> tuple[str, ...]:
        there = self.names()
        if not there:
            raise NotFoundError(
                f"{self.folder} holds no database; `genome lab --build-only` builds the default ones"
            )
        return tuple(name for name in (MODEL, *LEXICONS, GENOME) if name in there) or tuple(there)


def _mixture(parts: list[Database]) -> str:
    """What a genome database says of where it comes from."""
    return " + ".join(d.name for d in parts)


def _made_from(genome: Database, model: Database, *lexicons: Database) -> bool:
    """Whether a genome database addresses a model's tokens and was built from these lexicons."""
    return genome.vocabulary == model.vocabulary and set(genome.origins) == {d.uuid for d in lexicons}


def _same(facts: dict[str, str], fact: str, wanted: str, what: str) -> None:
    """Refuses a name that a database of another source has."""
    if facts.get(fact) != wanted:
        raise Error(
            f"the database {facts['name']} exists and comes from {facts.get('source') or 'elsewhere'}, not from "
            f"{what}; choose another name with --name, or remove it first"
        )
