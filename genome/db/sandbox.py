"""What a query by template may do: read some tables, call some functions, take so much time and memory."""

import time
from collections.abc import Iterable
from threading import Event

import apsw

from genome.db.layout import layout
from genome.db.templates import Role

MEMORY_BYTES = 256 << 20
"""What SQLite may allocate for one query: sorting, temporary tables, texts."""

LIMITS = {
    apsw.SQLITE_LIMIT_LENGTH: 128 << 10,  # of one text or blob: a row block has 64 KiB
    apsw.SQLITE_LIMIT_SQL_LENGTH: 128 << 10,
    apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1000,
    apsw.SQLITE_LIMIT_COLUMN: 200,
    apsw.SQLITE_LIMIT_EXPR_DEPTH: 200,
    apsw.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    apsw.SQLITE_LIMIT_FUNCTION_ARG: 50,
    apsw.SQLITE_LIMIT_VDBE_OP: 100_000,
    apsw.SQLITE_LIMIT_TRIGGER_DEPTH: 0,
    apsw.SQLITE_LIMIT_WORKER_THREADS: 0,
}
"""A single operation of SQLite, which nothing interrupts, stays short and small within these."""

_OPERATIONS = 100
"""Between two looks at the clock and at memory: 2 microseconds of usual ones, a few seconds of the worst."""

_PURE = """
    abs acos acosh asin asinh atan atan2 atanh avg ceil ceiling char coalesce concat concat_ws cos cosh
    count cume_dist current_date current_time current_timestamp date datetime degrees dense_rank exp
    first_value floor format glob group_concat hex if ifnull iif instr json json_array json_array_length
    json_error_position json_extract json_group_array json_group_object json_insert json_object json_patch
    json_pretty json_quote json_remove json_replace json_set json_type json_valid jsonb jsonb_array
    jsonb_extract jsonb_group_array jsonb_group_object jsonb_object julianday lag last_value lead length
    like likelihood likely ln log log10 log2 lower ltrim match max median min mod nth_value ntile nullif
    octet_length percent_rank percentile percentile_cont percentile_disc pi pow power printf quote radians
    random rank replace round row_number rtrim sign sin sinh sqrt strftime string_agg substr substring sum
    tan tanh time timediff total trim trunc typeof unhex unicode unixepoch unlikely upper zeroblob -> ->>
    vec_distance_cosine vec_distance_l1 vec_distance_l2 vec_f32 vec_length vec_normalize vec_to_json"""
"""SQLite's and sqlite-vec's functions that compute a value from values; no file, no setting, no extension."""

_FUNCTIONS = frozenset(_PURE.split())

_TABLE_FUNCTIONS = ("json_each", "json_tree")


class Guard:
    """Stands over one query on one connection.

    SQLite counts its memory for the whole process: what another thread's databases take meanwhile counts as well.

    Args:
        seconds: until when it may go on, from now.
        cancel: ends it when it is set.

    Attributes:
        reason: why the query was ended; empty while it was not.
        refused: what it tried and may not do.
    """

    def __init__(self, seconds: float, cancel: Event | None) -> None:
        self.reason = ""
        self.refused = ""
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._cancel = cancel
        self._begun_bytes = apsw.memory_used()
        self._tables: dict[str, frozenset[str]] = {}
        self._functions: frozenset[str] = _FUNCTIONS

    def watch(self, db: apsw.Connection) -> None:
        """From now on the query ends when its time is up, too much memory is taken, or `cancel` is set."""
        db.set_progress_handler(self._ends, _OPERATIONS)

    def close(self, db: apsw.Connection, roles: Iterable[Role], functions: Iterable[str]) -> None:
        """From now on the connection can only read the tables of its roles, and call harmless functions."""
        self._tables = {role.name: frozenset(layout(role.kind)) | {"sqlite_schema"} for role in roles}
        self._functions = _FUNCTIONS | {name.lower() for name in functions}
        for limit, most in LIMITS.items():
            db.limit(limit, most)
        db.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
        self._begun_bytes = apsw.memory_used()
        db.authorizer = self._allows

    def _ends(self) -> bool:
        """SQLite asks this every `_OPERATIONS` operations; Ctrl-C is raised here, by Python itself."""
        if self._cancel is not None and self._cancel.is_set():
            self.reason = "cancelled"
        elif time.monotonic() > self._end:
            longer = "`seconds=` in Python, `--seconds` in a shell"
            self.reason = f"took longer than {self._seconds:g} seconds; narrow it, or allow more: {longer}"
        elif apsw.memory_used() - self._begun_bytes > MEMORY_BYTES:
            self.reason = f"took more than {MEMORY_BYTES >> 20} MiB of memory; narrow it, or put a LIMIT into it"
        return bool(self.reason)

    def _allows(
        self, operation: int, first: str | None, second: str | None, schema: str | None, _: str | None
    ) -> int:
        """SQLite asks this while it compiles a statement; sqlite-vec's own statements, too."""
        if operation in (apsw.SQLITE_SELECT, apsw.SQLITE_RECURSIVE):
            return apsw.SQLITE_OK
        if operation == apsw.SQLITE_READ:
            if self._readable(first or "", second or "", schema):
                return apsw.SQLITE_OK
            self.refused = self.refused or f"it reads {schema}.{first}"
        elif operation == apsw.SQLITE_FUNCTION:
            if (second or "").lower() in self._functions:
                return apsw.SQLITE_OK
            self.refused = self.refused or f"it calls {second}()"
        else:
            name = str(apsw.mapping_authorizer_function[operation]).removeprefix("SQLITE_").replace("_", " ")
            self.refused = self.refused or f"it holds {name}"
        return apsw.SQLITE_DENY

    def _readable(self, table: str, column: str, schema: str | None) -> bool:
        if schema is None:
            return not column  # a table of the query itself (WITH), of which no column is read
        if schema in self._tables:
            tables = self._tables[schema]  # those of sqlite-vec begin with the name of its own
            return table in tables or any(table.startswith(f"{name}_") for name in tables)
        return schema == "main" and table in _TABLE_FUNCTIONS
