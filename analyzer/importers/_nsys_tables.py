"""The tables of an Nsight Systems export, read with nothing taken for granted: no table, column, type or size."""

import sqlite3
from pathlib import Path
from urllib.parse import quote

import numpy as np

from analyzer.columns import Int64
from analyzer.importers._documents import MAX_NAME
from collector.errors import UserError

#: More rows of one table, or more text of names, are no report that fits a memory.
MAX_ROWS = 1 << 26
MAX_NAME_CHARACTERS = 1 << 27
_ROWS_AT_ONCE = 1 << 16
_MAX_TABLES = 10_000
#: Two questions about one table must see its rows in one order, whatever indexes a tool has added to it.
_IN_ORDER = "ORDER BY rowid"


def connect(path: Path) -> sqlite3.Connection:
    """The database, to be read alone: nothing in its schema is trusted to run, and no value may be endless."""
    database = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1", uri=True)
    database.execute("PRAGMA trusted_schema=OFF")
    database.execute("PRAGMA cell_size_check=ON")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1 << 24)
    return database


class Tables:
    """The tables of one report. Views are none of them: one could be made to run for ever."""

    def __init__(self, database: sqlite3.Connection, path: Path) -> None:
        self._database, self._path = database, path
        plain = f"SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0 LIMIT {_MAX_TABLES}"  # noqa: S608
        self._columns = {str(name): self._columns_of(str(name)) for (name,) in database.execute(plain)}

    def _columns_of(self, table: str) -> set[str]:
        rows = self._database.execute("SELECT name FROM pragma_table_info(?)", (table,))
        return {str(name) for (name,) in rows}

    def has(self, table: str, *columns: str) -> bool:
        """Whether there is a table with all of these columns."""
        return table in self._columns and self._columns[table].issuperset(columns)

    def numbers(self, table: str, *columns: str) -> list[Int64]:
        """Columns of a table as whole numbers; 0 where there is no such column or no value, empty without the table.

        Raises:
            UserError: It has more rows than any report.
        """
        there = self._columns.get(table, set())
        if not there:
            return [np.empty(0, np.int64) for _ in columns]
        chosen = [f'CAST(IFNULL("{name}", 0) AS INTEGER)' if name in there else "0" for name in columns]
        # The table's name is one of ours, and so are the columns'.
        cursor = self._database.execute(f'SELECT {", ".join(chosen)} FROM "{table}" {_IN_ORDER}')  # noqa: S608
        parts, count = [np.empty((0, len(columns)), np.int64)], 0
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            parts.append(np.array(rows, np.int64))
            count += len(rows)
            if count > MAX_ROWS:
                raise UserError(f"{self._path} holds more than {MAX_ROWS:,} rows of {table}: record a shorter window")
        return list(np.concatenate(parts).T)

    def texts(self, table: str, column: str) -> list[str]:
        """A column of a table as text, cut where it is endless; "" where there is no value, empty without the column.

        Raises:
            UserError: It is more text than any report has.
        """
        if not self.has(table, column):
            return []
        query = f'SELECT IFNULL(substr(CAST("{column}" AS TEXT), 1, ?), \'\') FROM "{table}" {_IN_ORDER}'  # noqa: S608
        found, characters = [], 0
        for (text,) in self._database.execute(query, (MAX_NAME,)):
            found.append(text)
            characters += len(text)
            if characters > MAX_NAME_CHARACTERS:
                raise UserError(f"{self._path} holds more text of names than any report: record a shorter window")
        return found
