"""SQL over an archive, or several of different venues: one DuckDB view for each table, sealed files and journal tail
together, and macros.

A statement can read what is in the archive and nothing else: no file, no Python variable, no setting; and
it cannot write.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from bookreel.storage.answer import FOREIGN, Answer
from bookreel.storage.contents import (
    DOUBTS,
    STREAMS,
    TURNS,
    Contents,
    doubt_rows,
    stream_rows,
    turn_rows,
)
from bookreel.storage.digests import Digests
from bookreel.storage.errors import CorruptFile, FileGone, QueryError, StorageError
from bookreel.storage.scan import Scanner
from bookreel.storage.schema import ADDED, TABLES, TIME
from bookreel.storage.tail import Tail

__all__ = ["DEFINITIONS", "Database", "names_needed", "open_views", "tables_needed"]

_MACROS: Final = resources.files("bookreel.storage").joinpath("macros.sql").read_text(encoding="utf-8")
_WORDS: Final = re.compile(r"\w+")
_CREATED: Final = re.compile(r"CREATE (?:MACRO|VIEW) (\w+)")
_EVERYTHING: Final = frozenset({"query", "query_table"})
"""Functions that take a table's name as text: what they read cannot be known from the statement."""

_MISTAKES: Final = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)
"""What is wrong with a statement and with nothing else: no file is looked at for these."""

_READING: Final = frozenset({duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN})


def _definitions(macros: str) -> dict[str, str]:
    text = re.sub(r"--[^\n]*", "", macros)
    statements = ["CREATE" + part for part in re.split(r"^CREATE", text, flags=re.MULTILINE)[1:]]
    named = {}
    for statement in statements:
        match = _CREATED.match(statement)
        assert match, f"macros.sql: not a view or macro: {statement[:60]}"
        named[match[1]] = statement
    return named


DEFINITIONS: Final = _definitions(_MACROS)
"""View or macro name to its statement, each after what it is made of."""

_UNTURNED: Final = _definitions(re.sub(r"--\[turns.*?--\]", "", _MACROS, flags=re.DOTALL))
"""The same without what only a clock that was set back makes necessary."""

_TURNED: Final = {name for name, statement in DEFINITIONS.items() if statement != _UNTURNED[name]}

_OF_STREAMS: Final = {"_streams": stream_rows, "_turns": turn_rows, "_doubts": doubt_rows}

_READ_HERE: Final = frozenset({"sessions"})
"""Tables whose files DuckDB may not open: older ones have paths of the machine in them, which reading takes out."""

_OWN: Final[dict[str, pa.Schema]] = {
    "_streams": STREAMS,
    "_turns": TURNS,
    "_doubts": DOUBTS,
    "_archive": pa.schema([("horizon", TIME)]),
}
"""Further tables that the macros read."""

_KNOWN: Final = DEFINITIONS.keys() | TABLES.keys() | _OWN.keys()


def names_needed(statement: str) -> set[str]:
    """The tables, views and macros that a statement may read.

    Every word of the statement is taken for a name: a string or a column called like a table costs a view,
    not correctness.
    """
    words = {word.lower() for word in _WORDS.findall(statement)}
    found = set(_KNOWN) if words & _EVERYTHING else words & _KNOWN
    todo = list(found)
    while todo:
        fresh = (set(_WORDS.findall(DEFINITIONS.get(todo.pop(), ""))) & _KNOWN) - found
        found |= fresh
        todo.extend(fresh)
    return found


def tables_needed(statement: str) -> set[str]:
    """The tables whose rows a statement may read."""
    return names_needed(statement) & TABLES.keys()


def open_views(archive: Path | str, tables: Collection[str] | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection that sees an archive as it is now; ``tables``: only these have rows (None: all).

    Raises NotAnArchive, UnknownFormat.
    """
    root = Path(archive)
    wanted = set(TABLES) if tables is None else set(tables)
    tail = Tail(root)
    try:
        contents = tail.look(wanted)
    finally:
        tail.close()
    return Database(root).view([contents], None if tables is None else wanted | _OWN.keys() | {"gaps"})


class Database:
    """An in-memory DuckDB that can see these archives. Each :meth:`view` is a connection with views of its own.

    ``digests``: what sealed files are checked by before the first query that uses them; by their footers, unless it
    is given. ``memory_bytes``: of a statement, which then runs in one thread and leaves nothing on disk.
    ``as_named``: files have the names that the archives' paths give them, for a process that stays in its folder: no
    view, plan or complaint says which that is. Else their names are absolute.
    """

    def __init__(
        self,
        *archives: Path,
        digests: Digests | None = None,
        memory_bytes: int | None = None,
        as_named: bool = False,
    ) -> None:
        self._as_named = as_named
        self._digests = Digests(whole=False) if digests is None else digests
        self._con = duckdb.connect(":memory:")
        for table, schema in (TABLES | _OWN).items():
            self._con.register("_empty", schema.empty_table())
            self._con.execute(f"CREATE TABLE {table} AS FROM _empty")
            self._con.unregister("_empty")
        for statement in _UNTURNED.values():
            self._con.execute(statement)
        folders = ", ".join(
            _quoted(f"{self._named(archive / 'parquet' / table)}/")
            for archive in archives
            for table in TABLES
            if table not in _READ_HERE
        )
        bounds = (
            ()
            if memory_bytes is None
            else (f"memory_limit = '{memory_bytes}B'", "threads = 1", "temp_directory = ''")
        )
        for setting in (
            *bounds,
            "timezone = 'UTC'",
            f"allowed_directories = [{folders}]",
            "enable_external_access = false",
            "python_enable_replacements = false",
            "lock_configuration = true",
        ):
            self._con.execute(f"SET GLOBAL {setting}")

    def close(self) -> None:
        """Let the memory go. Relations that were handed out end with it."""
        self._con.close()

    def view(
        self, contents: Sequence[Contents], needed: Iterable[str] | None = None
    ) -> duckdb.DuckDBPyConnection:
        """A connection that sees ``contents``, of one archive or several, of the tables in ``needed`` (see
        :func:`names_needed`; None: all).

        The others are there too, but empty, so that DuckDB can tell near names.
        Raises :class:`CorruptFile` where a file is not what was written, or cannot be opened at all.
        """
        names = _KNOWN if needed is None else set(needed)
        con = self._con.cursor()
        for name, rows in _OF_STREAMS.items():
            if name in names:
                con.register(name, pa.concat_tables(rows(each) for each in contents))
        if "_archive" in names:
            horizons = [each.horizon for each in contents if each.horizon is not None]
            horizon = pa.array([max(horizons, default=None)], TIME)
            con.register("_archive", pa.table({"horizon": horizon}))
        for table in TABLES.keys() & names:
            self._show(con, contents, table)
        if any(stream.turns for each in contents for stream in each.streams):
            for name in _TURNED & names:
                con.execute(DEFINITIONS[name].replace("CREATE", "CREATE TEMP", 1))
        return con

    def run(
        self,
        contents: Sequence[Contents],
        statement: str,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
    ) -> Answer:
        """The relation of one reading statement. Raises :class:`QueryError`, :class:`CorruptFile`; as it is lazy,
        some of them when rows are fetched.
        """
        check_reading(self._con, statement)
        names = names_needed(statement)
        con = self.view(contents, names)
        try:
            relation = con.sql(statement, params=params)
        except _MISTAKES as error:
            raise query_error(error) from error
        except FOREIGN as error:
            raise _explain(contents, names, error) from error
        if relation is None:
            raise QueryError("the statement gives no rows", "write one SELECT")
        return Answer(relation, partial(_explain, contents, names))

    def _named(self, path: Path) -> str:
        """A path of an archive, as statements are told it."""
        return str(path if self._as_named else path.absolute())

    def _show(self, con: duckdb.DuckDBPyConnection, contents: Sequence[Contents], table: str) -> None:
        """Put the table's rows in front of the empty one of that name."""
        schema = TABLES[table]
        # A bare column name would be taken for a parameter where a macro that has one called so reads the
        # view.
        columns = ", ".join(f't."{name}"' for name in schema.names)
        parts = []
        for number, each in enumerate(contents):
            tail = f"_tail_{table}_{number}"
            if table in _READ_HERE:
                pieces = [*Scanner(self._digests).scan(each, table, schema.names)]
                con.register(tail, pa.concat_tables([schema.empty_table(), *pieces]))
                parts.append(f"SELECT {columns} FROM {tail} t")  # noqa: S608 - names of the schema
                continue
            for entry in each.files.get(table, ()):
                self._digests.check(each.root, entry)
            for added, paths in _by_columns(each, table).items():
                files = ", ".join(_quoted(self._named(path)) for path in paths)
                source = f"read_parquet([{files}], hive_partitioning = false)"
                missing = set(ADDED.get(table, ())).difference(added)
                names = (f'NULL AS "{name}"' if name in missing else f't."{name}"' for name in schema.names)
                parts.append(f"SELECT {', '.join(names)} FROM {source} t")  # noqa: S608 - names of the schema
            con.register(tail, each.tail.get(table, schema.empty_table()))
            parts.append(f"SELECT {columns} FROM {tail} t")  # noqa: S608 - names of the schema
        try:
            con.execute(f"CREATE TEMP VIEW {table} AS {' UNION ALL '.join(parts)}")
        except FOREIGN:
            # A file without a readable footer, or that is not there, is named; anything else is a bug.
            _blame(contents, (table,))
            raise


def _by_columns(contents: Contents, table: str) -> dict[tuple[str, ...], list[Path]]:
    """The sealed files of a table by which of the added columns they have."""
    found: dict[tuple[str, ...], list[Path]] = {}
    for entry in contents.files.get(table, ()):
        found.setdefault(entry.added, []).append(contents.root / entry.path)
    return found


def _quoted(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def check_reading(con: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Raise :class:`QueryError` unless ``statement`` is one statement that only reads."""
    try:
        parsed = con.extract_statements(statement)
    except duckdb.Error as error:
        raise query_error(error) from error
    if len(parsed) != 1:
        raise QueryError(f"{len(parsed)} statements were given", "give one SELECT")
    try:
        kind = parsed[0].type
    except ValueError:  # DuckDB parses some statements that its Python module has no name for
        kind = duckdb.StatementType.INVALID
    if kind not in _READING:
        raise QueryError(
            f"{kind.name} is not possible: an archive is only read", "give one SELECT, DESCRIBE or EXPLAIN"
        )


def _explain(contents: Sequence[Contents], names: Iterable[str], error: Exception) -> StorageError:
    """What an error while rows were fetched means: a file of these tables that is damaged, or else the statement."""
    try:
        _blame(contents, TABLES.keys() & set(names))
    except (CorruptFile, FileGone) as damaged:
        return damaged
    return query_error(error)


def _blame(contents: Sequence[Contents], tables: Iterable[str]) -> None:
    """Raise :class:`CorruptFile` for the first file of these tables that is not what was written."""
    digests = Digests()
    for table in tables:
        for each in contents:
            for entry in each.files.get(table, ()):
                digests.check(each.root, entry)


def query_error(error: Exception) -> QueryError:
    """DuckDB's complaint, with near names where it has none."""
    text = str(error)
    if "Did you mean" in text or "Candidate bindings" in text:
        return QueryError(text, "")
    hint = ""
    if match := re.search(r"(?:Table|Table Function|Function|Macro)\S* with name (\w+) does not exist", text):
        public = [name for name in (*TABLES, *DEFINITIONS) if not name.startswith("_")]
        near = difflib.get_close_matches(match[1].lower(), public, n=3) or public
        hint = f"there are {', '.join(near)}"
    return QueryError(text, hint)
