"""The deltas of a workbench: made, applied in place, taken back, merged, compared."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import apsw

from genome.db.connect import opened
from genome.envelope import Database
from genome.envelope.roles import base_of
from genome.errors import Error, NotFoundError, quoted
from genome.progress import Progress
from genome.workbench.files import Files
from genome.workbench.naming import safe

if TYPE_CHECKING:
    import polars as pl

    from genome.model.deltas.inplace import Applied
    from genome.model.deltas.making import Arrays


Told = Callable[[Progress | None], AbstractContextManager[Progress]]
"""Gives what to tell of progress: what somebody hands in, or bars."""


class Deltas:
    """The deltas of a workbench; `wb.delta` is one.

    A delta holds the rows in which a model differs from a base. It is laid over the base in an envelope
    (`wb.envelope("smollm2", "mine")`, `env.attach("mine")`), or applied to the base in place and undone.

    Args:
        files: of the workbench.
        told: shows progress.
    """

    def __init__(self, files: Files, told: Told) -> None:
        self._files, self._told = files, told

    def create(
        self,
        base: str,
        changed: "str | Path | Arrays",
        name: str | None = None,
        *,
        over: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> Path:
        """Writes what differs from a base as a delta: only the changed rows, each in its smallest encoding.

        Args:
            base: a model of the workbench.
            changed: a model of the workbench; a model's file or folder; a LoRA adapter as PEFT saves it; or arrays
                by tensor, for each all its rows or a pair of row numbers and these rows (numbers, or uint8 as they
                are stored).
            name: of the delta; None makes one of the base's and the changed one's.
            over: deltas that lie over the base, where the change was made on what they give.
            progress: told bytes of tensors.

        Returns:
            The delta's database.

        Raises:
            NotFoundError: no such base, change, tensor or row.
            Error: nothing differs, the two have different tensors, or another database has the name.
        """
        told_of = str(changed) if isinstance(changed, str | Path) else "changed"
        name = name or f"{safe(base)}-{safe(Path(told_of).expanduser().resolve().stem)}"
        path = self._new(name)
        with ExitStack() as stack:
            told = stack.enter_context(self._told(progress))
            model = self._open(stack, base, "model")
            deltas = [self._open(stack, delta, "delta") for delta in over]
            if isinstance(changed, str | Path) and (adapter := _adapter(Path(changed).expanduser())) is not None:
                from genome.model.deltas.lora import create_from_lora

                create_from_lora(model, adapter, path, deltas=deltas, progress=told)
                return path
            from genome.model.deltas.making import create

            other = stack.enter_context(self._model(changed, told)) if isinstance(changed, str | Path) else changed
            create(model, other, path, deltas=deltas, progress=told)
        return path

    def apply(self, model: str, *deltas: str) -> list["Applied"]:
        """Writes deltas into their base in place, one transaction each, with what takes them back.

        A genome database and envelopes that fit the model's vocabulary still fit; an envelope that is open on it
        says that the model has changed.

        Raises:
            NotFoundError: no database has one of the names.
            Error: no delta is named, the file is in use, or one was made for another state: those before it are
                applied.
            DamagedError: model or delta is damaged; that delta is then not applied.
        """
        from genome.model.deltas.inplace import apply_delta

        if not deltas:
            raise Error("no delta is named; `genome delta list` tells those that are there")
        path = self._files.database(model).path
        applied = []
        for name in deltas:
            with opened(self._files.database(name).path, "delta") as delta:
                applied.append(apply_delta(path, delta))
        return applied

    def undo(self, model: str) -> "Applied":
        """Takes back the delta that was applied to a model last; its rows have the bytes again that they had.

        Raises:
            NotFoundError: no database has the name.
            Error: no delta was applied to it, or the file is in use.
        """
        from genome.model.deltas.inplace import undo

        return undo(self._files.database(model).path)

    def applied(self, model: str) -> "pl.DataFrame":
        """The deltas that were applied to a model in place, the earliest first: name, checksum, result, created."""
        import polars as pl

        from genome.model.deltas.inplace import Applied, lineage

        with opened(self._files.database(model).path, "model") as db:
            rows = lineage(db)
        return pl.DataFrame(rows, schema=dict.fromkeys(Applied._fields, pl.String), orient="row")

    def list(self) -> "pl.DataFrame":
        """The deltas of the workbench: name, base, method, size_bytes, tensors, base_checksum, checksum."""
        import polars as pl

        rows = []
        for database in self._files.readable("delta"):
            with opened(database.path, "delta") as db:
                (tensors,) = db.execute("SELECT count(*) FROM change").fetchone() or (0,)
            facts = [database.meta.get(fact, "") for fact in ("base_name", "method", "base_checksum", "checksum")]
            rows.append((database.name, facts[0], facts[1], database.path.stat().st_size, tensors, *facts[2:]))
        columns = ("name", "base", "method", "size_bytes", "tensors", "base_checksum", "checksum")
        types = {column: pl.Int64 if column in ("size_bytes", "tensors") else pl.String for column in columns}
        return pl.DataFrame(rows, schema=types, orient="row")

    def diff(self, delta: str, *, over: Sequence[str] = ()) -> "pl.DataFrame":
        """What a delta changes, a row for each tensor, in the base's order.

        Args:
            delta: its name.
            over: deltas that lie between it and the model.

        Returns:
            tensor, role, layer, dtype (afterwards), rows (that change), row_count, bytes (in the delta), encodings,
            relative (length of what is added / length of the tensor before; null where that cannot be computed).

        Raises:
            NotFoundError: no such delta, or its base is not there.
            Error: it was made for another base.
        """
        import polars as pl

        from genome.model.deltas.changes import Changed, changes

        first = self._files.database([*over, delta][0])
        with ExitStack() as stack:
            base = stack.enter_context(opened(self._base(first).path, "model"))
            between = [self._open(stack, name, "delta") for name in over]
            rows = changes(base, self._open(stack, delta, "delta"), deltas=between)
        texts = {"tensor": pl.String, "role": pl.String, "dtype": pl.String, "encodings": pl.List(pl.String)}
        types = {name: texts.get(name, pl.Float64 if name == "relative" else pl.Int64) for name in Changed._fields}
        return pl.DataFrame(rows, schema=types, orient="row")

    def merge(self, name: str, *deltas: str, progress: Progress | None = None) -> Path:
        """Writes several deltas of one base, in the order in which they lie, as one that leads to the same state.

        Raises:
            NotFoundError: no database has one of the names, or the base is not there.
            Error: fewer than two, one does not fit over those before it, or another database has the name.
        """
        from genome.model.deltas.making import merge

        path = self._new(name)
        if len(deltas) < 2:
            raise Error(f"merging wants two deltas or more, got {len(deltas)}")
        first = self._files.database(deltas[0])
        with ExitStack() as stack:
            told = stack.enter_context(self._told(progress))
            base = stack.enter_context(opened(self._base(first).path, "model"))
            merge(base, [self._open(stack, delta, "delta") for delta in deltas], path, progress=told)
        return path

    def _new(self, name: str) -> Path:
        """The file of a delta that is to be made; no database may have the name."""
        path = self._files.folder / f"{self._files.free(name, '')}.db"
        if path.exists():
            raise Error(f"the database {name} exists; choose another name, or remove it first")
        return path

    def _base(self, delta: Database) -> Database:
        if delta.kind != "delta":
            raise Error(f"{delta.path} is a {delta.kind} database; wanted a delta database")
        return base_of(delta, self._files.readable("model"))

    def _open(self, stack: ExitStack, name: str, kind: str) -> apsw.Connection:
        return stack.enter_context(opened(self._files.database(name).path, kind))

    @contextmanager
    def _model(self, changed: str | Path, told: Progress) -> Iterator[apsw.Connection]:
        """A model of the workbench; else one from a file, in a database for the moment."""
        if isinstance(changed, str) and changed in self._files.names():
            with opened(self._files.database(changed).path, "model") as db:
                yield db
            return
        source = Path(changed).expanduser()
        if not source.exists():
            raise NotFoundError(
                f"{quoted(str(changed))} is neither a model in {self._files.folder} nor a file or folder; "
                "check the spelling"
            )
        from genome.model.formats.dispatch import import_model

        with TemporaryDirectory(dir=self._files.folder, prefix=".delta-") as folder:
            path = Path(folder) / f"{safe(source.stem)}.db"
            import_model(source, path, progress=told)
            with opened(path, "model") as db:
                yield db


def _adapter(path: Path) -> Path | None:
    """A LoRA adapter: PEFT's folder, or the safetensors file in it; None for anything else."""
    folder = path if path.is_dir() else path.parent
    if (folder / "adapter_config.json").is_file() and (path.is_dir() or path.suffix == ".safetensors"):
        return path
    return None
