"""Reading a run folder. Private to ``collector.store``."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import GenericAlias, TracebackType
from typing import Any, Literal, Self, TypeAlias, TypeVar

import msgspec

from collector import _run_folder, _sqlite
from collector.errors import UserError
from collector.schema import Event, Histogram, Request, Run

_Read = TypeVar("_Read")
_Detail: TypeAlias = dict[str, str | int | float | bool | None]

#: Resolutions a reader offers, in seconds; 0 is the samples themselves.
RESOLUTIONS_S = (0, *_sqlite.RESOLUTIONS_S)

_LATEST_NS = 2**63 - 1


@dataclass(frozen=True)
class Table:
    """Rows and their columns: ``t_ns`` (int), ``subject`` (str), then numbers, None where absent."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Absence:
    """From this instant on a quantity could not be read, for this reason; None: from here on it could."""

    t_ns: int
    source: str
    subject: str
    quantity: str
    reason: str | None


class RunReader:
    """Reads one run; a call sees what was committed by then. Threads may share a reader if they take turns.

    Spans are ``start_ns`` (inclusive) to ``end_ns`` (exclusive); None is the beginning or the end of the run.
    Every method raises ``UserError`` where the folder turns out to be damaged.
    """

    def __init__(self, path: Path, run: Run, connection: sqlite3.Connection, cleanup: ExitStack) -> None:
        """Use ``RunReader.open``."""
        self.path = path
        self.run = run
        self._connection = connection
        self._cleanup = cleanup
        self._database = path / _run_folder.DATABASE

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a run folder.

        Raises:
            UserError: It is no run folder, is damaged, cannot be read, or is from a newer Inferometer.
        """
        run = _run_folder.read_run(path)
        with ExitStack() as cleanup:
            connection = _run_folder.open_database(path, cleanup, finished=run.ended_ns is not None)
            reader = cls(path, run, connection, cleanup)
            reader._quantities()
            reader._cleanup = cleanup.pop_all()
        return reader

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder; a second call does nothing."""
        self._cleanup.close()

    @property
    def live(self) -> bool:
        """Whether the run was not finished when it was opened: it is being written, or its recorder died."""
        return self.run.ended_ns is None

    def sources(self) -> tuple[str, ...]:
        """The sources that have samples, sorted."""
        return tuple(sorted(self._quantities()))

    def quantities(self, source: str) -> tuple[str, ...]:
        """The quantities a source has samples of, absent ones too; empty for a source that has none."""
        return tuple(self._quantities().get(source, ()))

    def samples(
        self,
        source: str,
        *,
        resolution_s: int = 0,
        start_ns: int | None = None,
        end_ns: int | None = None,
        quantities: Sequence[str] | None = None,
    ) -> Table:
        """A source's samples, or their roll-ups, sorted by time and subject.

        Args:
            source: One of ``sources``; another has no rows.
            resolution_s: 0 for the samples. Else one of ``RESOLUTIONS_S``: ``t_ns`` is then the start of a
                bucket, a quantity's column holds its mean, and ``…_min``, ``…_max``, ``…_count`` follow it;
                a bucket belongs to the span if any of it does.
            start_ns: Where the span starts.
            end_ns: Where it ends.
            quantities: Which ones; by default all that the source has. One it lacks is absent in every row.

        Raises:
            ValueError: No such resolution, or a quantity is not in the catalogue.
        """
        recorded = self.quantities(source)
        wanted = recorded if quantities is None else tuple(quantities)
        if resolution_s not in RESOLUTIONS_S or not _sqlite.SAMPLED.issuperset(wanted):
            raise ValueError(f"no resolution of {resolution_s} s, or a quantity that is never sampled: {wanted}")
        columns = _sqlite.rollup_columns(wanted) if resolution_s else list(wanted)
        rows: list[tuple[Any, ...]] = []
        newest_ns = self._bound(source, "max")
        if newest_ns is not None:
            present = [quantity for quantity in wanted if quantity in recorded]
            span_ns = _span(start_ns, newest_ns + 1 if end_ns is None else end_ns)
            query = _sqlite.select(source, present, resolution_s, newest_ns, span_ns)
            rows = self._fetch(_sqlite.named(query, columns, present), _rows_of(columns))
        return Table(("t_ns", "subject", *columns), rows)

    def resolution_for(
        self, source: str, *, max_rows: int, start_ns: int | None = None, end_ns: int | None = None
    ) -> int:
        """The finest resolution with at most ``max_rows`` rows a subject in a span, else the coarsest."""
        first_ns, last_ns = self._bound(source, "min"), self._bound(source, "max")
        if first_ns is None or last_ns is None:
            return 0
        start_ns = first_ns if start_ns is None else max(start_ns, first_ns)
        end_ns = last_ns + 1 if end_ns is None else min(end_ns, last_ns + 1)
        ((most,),) = self._fetch(_sqlite.most_rows(source, max_rows, (start_ns, end_ns)), list[tuple[int]])
        if most <= max_rows:
            return 0
        for width_s in _sqlite.RESOLUTIONS_S:
            width_ns = width_s * 1_000_000_000
            if (end_ns - 1) // width_ns - start_ns // width_ns + 1 <= max_rows:
                return width_s
        return RESOLUTIONS_S[-1]

    def histograms(
        self, quantity: str | None = None, *, start_ns: int | None = None, end_ns: int | None = None
    ) -> list[Histogram]:
        """Scrapes of one histogram, or of all, sorted by time; one that repeats the one before is left out.

        The last one before the span comes too, because counts mean something only as differences.
        """
        start_ns, end_ns = _span(start_ns, end_ns)
        return self._histograms(_sqlite.HISTOGRAMS, {"quantity": quantity, "start": start_ns, "end": end_ns})

    def last_histograms(self, *, max_rows: int) -> list[Histogram]:
        """The same over the whole run; where there are more than ``max_rows``, the last of each so many seconds.

        What a histogram counted before it started again is kept, whenever that was.
        """
        ((rows, series, span_ns),) = self._fetch(_sqlite.COUNT_HISTOGRAMS, list[tuple[int, int, int]])
        if rows <= max_rows:
            return self.histograms()
        widths = (width_s * 1_000_000_000 for width_s in _sqlite.RESOLUTIONS_S)
        width = next(
            (width for width in widths if span_ns // width * series <= max_rows), RESOLUTIONS_S[-1] * 1_000_000_000
        )
        return self._histograms(_sqlite.LAST_HISTOGRAMS, {"width": width})

    def _histograms(self, query: str, parameters: Mapping[str, Any]) -> list[Histogram]:
        found = []
        decoded: dict[str, tuple[float, ...]] = {}
        for t_ns, subject, name, edges, cumulative, total in self._fetch(
            query, list[tuple[int, str, str, str, str, float]], parameters
        ):
            if edges not in decoded:
                decoded[edges] = self._decode(edges, tuple[float, ...])
            counts = self._decode(cumulative, tuple[float, ...])
            if len(counts) != len(decoded[edges]) + 1:
                raise _run_folder.damaged(self._database, f"a histogram of {name} lacks counts")
            found.append(
                Histogram(
                    t_ns=t_ns,
                    subject=subject,
                    quantity=name,
                    edges=decoded[edges],
                    cumulative=counts,
                    sum=total,
                )
            )
        return found

    def requests(self, *, start_ns: int | None = None, end_ns: int | None = None) -> list[Request]:
        """Requests sent within a span, sorted by time."""
        rows = self._fetch(
            _sqlite.REQUESTS,
            list[tuple[int, float | None, float | None, int | None, int | None, str | None]],
            _span(start_ns, end_ns),
        )
        return [
            Request(
                t_ns=t_ns,
                ttft_s=ttft_s,
                e2e_latency_s=e2e_s,
                input_tokens=read,
                output_tokens=written,
                error=error,
            )
            for t_ns, ttft_s, e2e_s, read, written, error in rows
        ]

    def events(self, kind: str | None = None) -> list[Event]:
        """Events of one kind, or all, sorted by time."""
        rows = self._fetch(_sqlite.EVENTS, list[tuple[int, str, str, int | None, str]], (kind, kind))
        return [
            Event(t_ns=t_ns, kind=kind, name=name, end_ns=end_ns, detail=self._decode(detail, _Detail))
            for t_ns, kind, name, end_ns, detail in rows
        ]

    def absences(self) -> list[Absence]:
        """Each change of what could not be read, sorted by time."""
        rows = self._fetch(_sqlite.ABSENCES, list[tuple[int, str, str, str, str | None]])
        return [
            Absence(t_ns=t_ns, source=source, subject=subject, quantity=quantity, reason=reason)
            for t_ns, source, subject, quantity, reason in rows
        ]

    def newest_ns(self) -> int | None:
        """Time of the newest sample, of any source; None before the first."""
        newest = (self._bound(source, "max") for source in self.sources())
        return max((t_ns for t_ns in newest if t_ns is not None), default=None)

    def traces(self) -> tuple[str, ...]:
        """Names of the traces recorded with the run, sorted."""
        return _run_folder.files(self.path / _run_folder.TRACES)

    def trace_path(self, name: str) -> Path:
        """The path of a trace.

        Raises:
            UserError: The run has no such trace.
        """
        return _one_of(self.traces(), self.path / _run_folder.TRACES, name)

    def stacks(self) -> tuple[str, ...]:
        """Names of the files of stacks recorded with the run, sorted."""
        return _run_folder.files(self.path / _run_folder.STACKS)

    def stack_path(self, name: str) -> Path:
        """The path of a file of stacks; raises as ``trace_path``."""
        return _one_of(self.stacks(), self.path / _run_folder.STACKS, name)

    def _quantities(self) -> dict[str, tuple[str, ...]]:
        """Quantities by source, as the database has them now; checks that each table is there and whole."""
        with _run_folder.reading(self._database):
            tables = _sqlite.columns_by_table(self._connection)
        found = {}
        needed: dict[str, dict[str, str]] = dict(_sqlite.TABLES)
        for table, columns in tables.items():
            source = _sqlite.source_of(table)
            if source is not None:
                found[source] = tuple(column for column in columns if column in _sqlite.SAMPLED)
                needed |= _sqlite.source_tables(source, found[source])
        for table, declared in needed.items():
            missing = declared.keys() - set(tables.get(table, ()))
            if missing:
                raise _run_folder.damaged(self._database, f"table {table} lacks {', '.join(sorted(missing))}")
        return found

    def _bound(self, source: str, which: Literal["min", "max"]) -> int | None:
        """Time of a source's first or last sample."""
        if source not in self._quantities():
            return None
        ((t_ns,),) = self._fetch(_sqlite.bound(source, which), list[tuple[int | None]])
        return t_ns

    def _fetch(self, query: str, kind: type[_Read], parameters: Sequence[object] | Mapping[str, Any] = ()) -> _Read:
        """All rows of a query, checked to be a list of the type given: SQLite's columns take any value."""
        with _run_folder.reading(self._database):
            rows = self._connection.execute(query, parameters).fetchall()
        try:
            return msgspec.convert(rows, kind)
        except msgspec.ValidationError as error:
            raise _run_folder.damaged(self._database, str(error)) from error

    def _decode(self, text: str, kind: type[_Read]) -> _Read:
        try:
            return msgspec.json.decode(text, type=kind)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise _run_folder.damaged(self._database, str(error)) from error


def _rows_of(columns: Sequence[str]) -> Any:  # noqa: ANN401 - a type that no annotation can spell
    """The type of the rows of samples or roll-ups with these columns."""
    types = (int if column.endswith("_count") else float | None for column in columns)
    return GenericAlias(list, (GenericAlias(tuple, (int, str, *types)),))


def _span(start_ns: int | None, end_ns: int | None) -> tuple[int, int]:
    """A span within what SQLite's integers hold."""
    return max(0, start_ns or 0), _LATEST_NS if end_ns is None else max(0, min(end_ns, _LATEST_NS))


def _one_of(names: tuple[str, ...], folder: Path, name: str) -> Path:
    if name not in names:
        raise UserError(f"{folder}: no {name!r} here; there is {', '.join(names) or 'nothing'}")
    return folder / name
