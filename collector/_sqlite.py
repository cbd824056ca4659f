"""The SQL of a run folder's database: tables, roll-ups, connections. Private to ``collector.store``.

Names reach SQL as text, so every one of them is either from ``collector.catalogue`` or a source that
``SOURCE_NAME`` matches; numbers are integers; anything else is a parameter.

Roll-ups hold every bucket but the newest of their source, after every commit. So nothing has to be remembered
between flushes or repaired after a crash: a reader works out the one open bucket from the next finer level.
"""

# ruff: noqa: S608 - the names that reach SQL as text are checked, as the docstring says.

import re
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

from collector.catalogue import CATALOGUE

#: Widths of a roll-up bucket in seconds; each is made from the one before, the first from the samples (0).
RESOLUTIONS_S = (1, 10, 60, 600)

#: A source is one word, the name of its file.
SOURCE_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

#: Quantities that a sample may hold.
SAMPLED = frozenset(name for name, quantity in CATALOGUE.items() if quantity.kind != "histogram")

#: The tables of every run folder: columns and constraints by name. Each source adds its own (``widen``).
TABLES = {
    "subject": {"id": "INTEGER PRIMARY KEY", "name": "TEXT NOT NULL UNIQUE"},
    "edges": {"id": "INTEGER PRIMARY KEY", "edges": "TEXT NOT NULL UNIQUE"},
    "absence": {
        "t_ns": "INTEGER NOT NULL",
        "source": "TEXT NOT NULL",
        "subject": "INTEGER NOT NULL",
        "quantity": "TEXT NOT NULL",
        "reason": "TEXT",
    },
    "histogram": {
        "t_ns": "INTEGER NOT NULL",
        "subject": "INTEGER NOT NULL",
        "quantity": "TEXT NOT NULL",
        "edges": "INTEGER NOT NULL",
        "cumulative": "TEXT NOT NULL",
        "sum": "REAL",
    },
    "request": {
        "t_ns": "INTEGER NOT NULL",
        "ttft_s": "REAL",
        "e2e_latency_s": "REAL",
        "input_tokens": "INTEGER",
        "output_tokens": "INTEGER",
        "error": "TEXT",
    },
    "event": {
        "t_ns": "INTEGER NOT NULL",
        "kind": "TEXT NOT NULL",
        "name": "TEXT NOT NULL",
        "end_ns": "INTEGER",
        "detail": "TEXT NOT NULL",
    },
}

#: The id of the subject whose name is the parameter.
SUBJECT = "(SELECT id FROM subject WHERE name = ?)"
_EDGES = "(SELECT id FROM edges WHERE edges = ?)"

#: How a row enters each of those tables, in an order that finds subjects and edges there.
INSERTS = {
    "subject": "INSERT OR IGNORE INTO subject (name) VALUES (?)",
    "edges": "INSERT OR IGNORE INTO edges (edges) VALUES (?)",
    "absence": f"INSERT INTO absence VALUES (?, ?, {SUBJECT}, ?, ?)",
    "histogram": f"INSERT INTO histogram VALUES (?, {SUBJECT}, ?, {_EDGES}, ?, ?)",
    "request": "INSERT INTO request VALUES (?, ?, ?, ?, ?, ?)",
    "event": "INSERT INTO event VALUES (?, ?, ?, ?, ?)",
}

HISTOGRAMS = """
    SELECT histogram.t_ns, subject.name, quantity, edges.edges, cumulative, sum
    FROM histogram
    LEFT JOIN subject ON subject.id = histogram.subject
    LEFT JOIN edges ON edges.id = histogram.edges
    WHERE (:quantity IS NULL OR quantity = :quantity) AND histogram.rowid IN (
        SELECT rowid FROM histogram WHERE t_ns >= :start AND t_ns < :end
        UNION ALL
        SELECT rowid FROM (
            SELECT rowid, max(t_ns) FROM histogram WHERE t_ns < min(:start, :end) GROUP BY subject, quantity
        )
    )
    ORDER BY histogram.t_ns, subject.name, quantity
"""
#: Of each histogram the first scrape, the last of each bucket of time, and the last before its sum falls or its edges
#: change: the differences of the rest add up to what all of them counted.
LAST_HISTOGRAMS = """
    SELECT histogram.t_ns, subject.name, quantity, edges.edges, cumulative, sum
    FROM histogram
    LEFT JOIN subject ON subject.id = histogram.subject
    LEFT JOIN edges ON edges.id = histogram.edges
    WHERE histogram.rowid IN (
        SELECT row FROM (
            SELECT
                rowid AS row, t_ns / :width AS bucket, sum, edges,
                lag(t_ns) OVER series AS before,
                lead(t_ns / :width) OVER series AS next_bucket,
                lead(sum) OVER series AS next_sum,
                lead(edges) OVER series AS next_edges
            FROM histogram
            WINDOW series AS (PARTITION BY subject, quantity ORDER BY t_ns)
        )
        WHERE before IS NULL OR next_bucket IS NULL OR next_bucket != bucket OR next_sum < sum OR next_edges != edges
    )
    ORDER BY histogram.t_ns, subject.name, quantity
"""
COUNT_HISTOGRAMS = """
    SELECT coalesce(sum(rows), 0), count(*), coalesce(max(last) - min(first), 0)
    FROM (SELECT count(*) AS rows, min(t_ns) AS first, max(t_ns) AS last FROM histogram GROUP BY subject, quantity)
"""
REQUESTS = "SELECT * FROM request WHERE t_ns >= ? AND t_ns < ? ORDER BY t_ns, rowid"
EVENTS = "SELECT * FROM event WHERE ? IS NULL OR kind = ? ORDER BY t_ns, rowid"
ABSENCES = """
    SELECT t_ns, source, subject.name, quantity, reason
    FROM absence LEFT JOIN subject ON subject.id = absence.subject
    ORDER BY t_ns, absence.rowid
"""

_NS = 1_000_000_000
_OF_SAMPLES = "avg({0}) AS {0}, min({0}) AS {0}_min, max({0}) AS {0}_max, count({0}) AS {0}_count"
_OF_ROLLUPS = (
    "sum({0} * {0}_count) / sum({0}_count) AS {0}, "
    "min({0}_min) AS {0}_min, max({0}_max) AS {0}_max, sum({0}_count) AS {0}_count"
)
#: How much of the WAL stays when it has been emptied.
LARGEST_WAL_BYTES = 16_000_000
#: The longest text or row that SQLite reads, also from a stranger's file.
LONGEST_BYTES = 1_000_000


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a database; ``mode`` is the query of an SQLite URI, such as ``mode=ro&immutable=1``."""
    # Callers use a connection from several threads one at a time, which the default would forbid.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_BYTES)
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what is done within, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Where the disk failed, SQLite may have rolled back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def create_tables(connection: sqlite3.Connection) -> None:
    """Make an empty database a run folder's, in WAL mode."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    # KiB: a writer needs the ends of its tables only; by default it would fill 2 MB in the first minutes.
    connection.execute("PRAGMA cache_size = -512")
    # What a burst made of the WAL is given back to the disk.
    connection.execute(f"PRAGMA journal_size_limit = {LARGEST_WAL_BYTES}")
    for table, columns in TABLES.items():
        _create(connection, table, columns)
    connection.execute("CREATE INDEX histogram_subject ON histogram (subject, quantity, t_ns)")


def source_tables(source: str, quantities: Iterable[str]) -> dict[str, dict[str, str]]:
    """The tables of one source, as ``TABLES`` gives those of every run."""
    keys = {"t_ns": "INTEGER NOT NULL", "subject": "INTEGER NOT NULL"}
    rollup = {
        column: "INTEGER NOT NULL DEFAULT 0" if column.endswith("_count") else "REAL"
        for column in rollup_columns(quantities)
    }
    tables = {rollup_table(source, resolution_s): keys | rollup for resolution_s in RESOLUTIONS_S}
    return {sample_table(source): keys | dict.fromkeys(quantities, "REAL")} | tables


def widen(connection: sqlite3.Connection, source: str, old: Sequence[str], new: Sequence[str]) -> None:
    """Add columns for ``new`` quantities to a source's tables, or make the tables with its first quantities.

    A table is made in one statement: adding its columns one by one costs a hundred times as much.
    """
    for table, columns in source_tables(source, new).items():
        if not old:
            _create(connection, table, columns, unique=table != sample_table(source))
            continue
        for column, declaration in list(columns.items())[2:]:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {declaration}")


def _create(connection: sqlite3.Connection, table: str, columns: dict[str, str], *, unique: bool = False) -> None:
    declared = ", ".join(f"{column} {declaration}" for column, declaration in columns.items())
    connection.execute(f"CREATE TABLE {table} ({declared})")
    if unique:
        connection.execute(f"CREATE UNIQUE INDEX {table}_time ON {table} (t_ns, subject)")
    elif "t_ns" in columns:
        connection.execute(f"CREATE INDEX {table}_time ON {table} (t_ns)")


def insert_sample(source: str, quantities: Sequence[str]) -> str:
    """How a sample enters: time, name of the subject, then the quantities in this order."""
    columns = ", ".join(["t_ns", "subject", *quantities])
    values = ", ".join(["?", SUBJECT, *("?" for _ in quantities)])
    return f"INSERT INTO {sample_table(source)} ({columns}) VALUES ({values})"


def columns_by_table(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """The columns of every ordinary table; views and virtual tables run code of the file and are left out."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0").fetchall()
    query = "SELECT name FROM pragma_table_info(?)"
    return {table: [name for (name,) in connection.execute(query, (table,))] for (table,) in tables}


def sample_table(source: str) -> str:
    """The table of a source's samples."""
    return f"sample_{source}"


def source_of(table: str) -> str | None:
    """The source whose samples a table holds; None for any other table."""
    prefix, _, source = table.partition("_")
    return source if prefix == "sample" and SOURCE_NAME.fullmatch(source) else None


def rollup_table(source: str, resolution_s: int) -> str:
    """The table of a source's roll-ups at one resolution."""
    return f"rollup_{resolution_s}_{source}"


def rollup_columns(quantities: Iterable[str]) -> list[str]:
    """The columns of quantities in a roll-up: mean, least, most, and how many values there were."""
    return [f"{quantity}{suffix}" for quantity in quantities for suffix in ("", "_min", "_max", "_count")]


def roll_up(
    connection: sqlite3.Connection,
    source: str,
    quantities: Sequence[str],
    times_ns: Collection[int],
    newest_ns: int,
) -> None:
    """Bring a source's roll-ups up to date with its samples.

    Args:
        connection: Inside the transaction that added the samples.
        source: Whose samples.
        quantities: Every quantity the source has a column for.
        times_ns: Times of the samples that were added since the last call, and the newest one known then.
        newest_ns: The newest sample's time; its bucket stays open.
    """
    for finer_s, resolution_s in pairwise((0, *RESOLUTIONS_S)):
        width_ns = resolution_s * _NS
        touched = {t_ns // width_ns for t_ns in times_ns} - {newest_ns // width_ns}
        for first, last in _stretches(touched):
            span_ns = first * width_ns, (last + 1) * width_ns
            each = not finer_s and connection.execute(_is_each_alone(source, resolution_s), span_ns).fetchone()[0]
            connection.execute(
                _made_buckets(source, tuple(quantities), finer_s, resolution_s, each=bool(each)), span_ns
            )


def _is_each_alone(source: str, resolution_s: int) -> str:
    """A query for whether every sample of a span is the only one of its subject in its bucket."""
    crowded = f"GROUP BY {_bucket(resolution_s)}, subject HAVING count(*) > 1"
    return f"SELECT NOT EXISTS ({_rows(source, (), 0, '?', '?')} {crowded})"


@lru_cache(maxsize=64)
def _made_buckets(source: str, quantities: tuple[str, ...], finer_s: int, resolution_s: int, *, each: bool) -> str:
    """How the buckets of a span are made: its start and end are parameters, so that SQLite keeps the statement.

    The text is kept, too: with a hundred quantities putting it together takes as long as running it. Where each
    sample is a bucket of its own, copying it takes a fifth of what grouping does.
    """
    columns = ", ".join(["t_ns", "subject", *rollup_columns(quantities)])
    finer = _rows(source, quantities, finer_s, "?", "?")
    if each:
        copies = ", ".join(f"{quantity}, {quantity}, {quantity}, {quantity} IS NOT NULL" for quantity in quantities)
        made = f"SELECT {_bucket(resolution_s)}, subject, {copies} FROM ({finer})"
    else:
        made = _aggregate(quantities, finer, finer_s, resolution_s)
    return f"INSERT OR REPLACE INTO {rollup_table(source, resolution_s)} ({columns}) {made}"


def select(source: str, quantities: Sequence[str], resolution_s: int, newest_ns: int, span_ns: tuple[int, int]) -> str:
    """A query for a source's rows at a resolution (0: the samples), complete up to ``newest_ns``.

    Its columns are ``t_ns``, ``subject``, then the quantities (or ``rollup_columns`` of them); a bucket is in
    the span where any of it is.
    """
    start_ns, end_ns = span_ns
    if not resolution_s:
        return _rows(source, quantities, 0, start_ns, end_ns)
    width_ns = resolution_s * _NS
    open_ns = newest_ns // width_ns * width_ns
    start_ns = start_ns // width_ns * width_ns
    closed = _rows(source, quantities, resolution_s, start_ns, min(end_ns, open_ns))
    if not start_ns <= open_ns < end_ns:
        return closed
    finer_s = (0, *RESOLUTIONS_S)[RESOLUTIONS_S.index(resolution_s)]
    finer = select(source, quantities, finer_s, newest_ns, (open_ns, open_ns + width_ns))
    return f"{closed} UNION ALL {_aggregate(quantities, finer, finer_s, resolution_s)}"


def named(query: str, columns: Sequence[str], quantities: Collection[str]) -> str:
    """A query for these columns of a ``select`` of some quantities, in order, the subjects by name."""
    present = {*quantities, *rollup_columns(quantities)}
    absent = {column: "0" if column.endswith("_count") else "NULL" for column in columns if column not in present}
    wanted = ", ".join(["t_ns", "subject.name", *(absent.get(column, column) for column in columns)])
    return (
        f"SELECT {wanted} FROM ({query}) AS rows LEFT JOIN subject ON subject.id = rows.subject "
        "ORDER BY t_ns, subject.name"
    )


def bound(source: str, which: Literal["min", "max"]) -> str:
    """A query for the time of a source's first or last sample; NULL if there is none."""
    return f"SELECT {which}(t_ns) FROM {sample_table(source)}"


def most_rows(source: str, enough: int, span_ns: tuple[int, int]) -> str:
    """A query for the most samples that any subject has in a span, or for a number above ``enough``.

    It looks at ``enough`` rows a subject at most: with one more, some subject has more.
    """
    rows = _rows(source, (), 0, *span_ns)
    limit = f"{enough} * (SELECT count(*) FROM subject) + 1"
    return f"SELECT coalesce(max(rows), 0) FROM (SELECT count(*) AS rows FROM ({rows} LIMIT {limit}) GROUP BY subject)"


def _rows(source: str, quantities: Sequence[str], resolution_s: int, start_ns: int | str, end_ns: int | str) -> str:
    """A query for the rows that a table holds in a span, given in numbers or as places for parameters."""
    table = rollup_table(source, resolution_s) if resolution_s else sample_table(source)
    columns = ", ".join(["t_ns", "subject", *(rollup_columns(quantities) if resolution_s else quantities)])
    return f"SELECT {columns} FROM {table} WHERE t_ns >= {start_ns} AND t_ns < {end_ns}"


def _aggregate(quantities: Sequence[str], finer: str, finer_s: int, resolution_s: int) -> str:
    """A query that makes buckets of one resolution from a query for the next finer one."""
    columns = _OF_ROLLUPS if finer_s else _OF_SAMPLES
    bucket = _bucket(resolution_s)
    made = ", ".join([f"{bucket} AS t_ns", "subject", *(columns.format(quantity) for quantity in quantities)])
    return f"SELECT {made} FROM ({finer}) GROUP BY {bucket}, subject"


def _bucket(resolution_s: int) -> str:
    """The start of the bucket that a row belongs to."""
    return f"t_ns / {resolution_s * _NS} * {resolution_s * _NS}"


def _stretches(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First and last of each stretch of consecutive numbers."""
    first = last = None
    for number in sorted(numbers):
        if first is None or last is None:
            first = number
        elif number != last + 1:
            yield first, last
            first = number
        last = number
    if first is not None and last is not None:
        yield first, last
