"""Dropping what is oldest in a run folder while it is written. Private to ``collector.store``.

A span goes as a whole, samples and roll-ups alike, and it ends where a bucket of the coarsest roll-up does: what is
left is then whole at every resolution, and a sample that comes late remakes no bucket from a part of its samples.
The pages that it held are used again for what comes next, so the file stops growing and is never rewritten. It goes a
few thousand rows at a time, so that neither the next second nor a reader waits for it.
"""

# ruff: noqa: S608 - the names that reach SQL as text are checked, as the docstring of ``_sqlite`` says.

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from collector import _sqlite

#: What was dropped is one event of this kind, which grows.
KIND = "retention"

#: Width of the spans that go: that of the coarsest roll-up.
_SPAN_NS = _sqlite.RESOLUTIONS_S[-1] * 1_000_000_000
#: Rows that one call takes from a table: 20 times what eight GPUs at 10 Hz add in a second.
_ROWS = 2000
#: Dropping begins at this share of the size that is allowed, to have room for what comes while it lasts.
_FULL_RATIO = 0.95

_TOO_OLD = "older than is kept (--keep-for)"
_TOO_MUCH = "the run folder had reached the size that is kept (--keep-size)"

_BOUNDS: tuple[Literal["min", "max"], ...] = ("min", "max")
# The last state before what is kept says what holds from there on, and what to take a difference to.
_HISTOGRAMS = """
    SELECT old.rowid FROM histogram AS old WHERE old.t_ns < :before AND EXISTS (
        SELECT 1 FROM histogram AS new WHERE new.subject = old.subject AND new.quantity = old.quantity
        AND new.t_ns > old.t_ns AND new.t_ns <= :before
    )
"""
_ABSENCES = """
    SELECT rowid FROM absence WHERE t_ns < :before AND rowid NOT IN (
        SELECT rowid FROM (
            SELECT rowid, max(t_ns), reason FROM absence WHERE t_ns <= :before GROUP BY source, subject, quantity
        ) WHERE reason IS NOT NULL
    )
"""
# An event that lasts into what is kept is kept.
_EVENTS = f"SELECT rowid FROM event WHERE t_ns < :before AND coalesce(end_ns, t_ns) < :before AND kind != '{KIND}'"


@dataclass(frozen=True)
class _Dropped:
    """What was dropped so far, and what is being dropped."""

    #: From the first sample that went to the end of the last span that did.
    first_ns: int
    end_ns: int
    #: The end of the span that is being dropped.
    before_ns: int
    reason: str
    rows: int = 0
    #: Whether rows of before ``before_ns`` are left.
    more: bool = True


class Retention:
    """Drops what is too old or too much from the database of a run that is written."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._dropped: _Dropped | None = None

    def drop(
        self,
        sources: Iterable[str],
        subjects: Mapping[str, int],
        before_ns: int | None,
        largest_bytes: int | None,
        wal_bytes: int,
    ) -> set[str]:
        """Drop some rows, if any must go, and say so in the event.

        Args:
            sources: Those that have tables.
            subjects: When each subject was last added.
            before_ns: A span that ended before is too old.
            largest_bytes: What the database and its WAL may take.
            wal_bytes: What the WAL takes.

        Returns:
            Subjects that nothing is left of: processes and threads that ended.
        """
        dropping = self._dropped
        if dropping is None or not dropping.more:
            dropping = self._next(sources, before_ns, largest_bytes, wal_bytes)
        if dropping is None:
            return set()
        with _sqlite.transaction(self._connection):
            dropped = self._delete(sources, dropping)
            gone = set() if dropped.more else {name for name, t_ns in subjects.items() if t_ns < dropped.before_ns}
            self._forget(gone)
            self._tell(dropped)
        self._dropped = dropped
        return gone

    def _next(
        self, sources: Iterable[str], before_ns: int | None, largest_bytes: int | None, wal_bytes: int
    ) -> _Dropped | None:
        """The oldest span, if it must go; the one that is written to never does."""
        bounds = [
            t_ns
            for source in sources
            for which in _BOUNDS
            for (t_ns,) in self._connection.execute(_sqlite.bound(source, which))
            if t_ns is not None
        ]
        if not bounds or min(bounds) // _SPAN_NS == max(bounds) // _SPAN_NS:
            return None
        ends_ns = (min(bounds) // _SPAN_NS + 1) * _SPAN_NS
        if before_ns is not None and ends_ns <= before_ns:
            reason = _TOO_OLD
        elif largest_bytes is not None and self._used_bytes(wal_bytes) > _FULL_RATIO * largest_bytes:
            reason = _TOO_MUCH
        else:
            return None
        so_far = self._dropped or _Dropped(min(bounds), ends_ns, ends_ns, reason)
        # A clock that was set back makes samples older than those that went before.
        first_ns, end_ns = min(so_far.first_ns, *bounds), max(so_far.end_ns, ends_ns)
        return replace(so_far, first_ns=first_ns, end_ns=end_ns, before_ns=ends_ns, reason=reason, more=True)

    def _used_bytes(self, wal_bytes: int) -> int:
        """What holds something; free pages are used before the file grows.

        Of a WAL that a reader keeps from being emptied only the usual part counts: dropping makes it no smaller.
        """
        pages, free, size = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size + min(wal_bytes, _sqlite.LARGEST_WAL_BYTES)

    def _delete(self, sources: Iterable[str], dropping: _Dropped) -> _Dropped:
        """Delete some rows of each table."""
        deleted = [
            self._connection.execute(
                f"DELETE FROM {table} WHERE rowid IN ({rows} LIMIT {_ROWS})", {"before": dropping.before_ns}
            ).rowcount
            for table, rows in _old_rows(sources)
        ]
        return replace(dropping, rows=dropping.rows + sum(deleted), more=max(deleted) >= _ROWS)

    def _forget(self, subjects: set[str]) -> None:
        """Delete what outlived the samples of subjects that are gone."""
        for table in ("absence", "histogram"):
            self._connection.executemany(
                f"DELETE FROM {table} WHERE subject = {_sqlite.SUBJECT}", ((name,) for name in subjects)
            )
        self._connection.executemany("DELETE FROM subject WHERE name = ?", ((name,) for name in subjects))

    def _tell(self, dropped: _Dropped) -> None:
        detail = msgspec.json.encode({"reason": dropped.reason, "rows": dropped.rows}).decode()
        self._connection.execute("DELETE FROM event WHERE kind = ?", (KIND,))
        self._connection.execute(_sqlite.INSERTS["event"], (dropped.first_ns, KIND, "store", dropped.end_ns, detail))


def _old_rows(sources: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each table, and a query for its rows that may go; the parameter ``before`` is a multiple of ``_SPAN_NS``."""
    for source in sources:
        rollups = (_sqlite.rollup_table(source, resolution_s) for resolution_s in _sqlite.RESOLUTIONS_S)
        for table in (_sqlite.sample_table(source), *rollups):
            yield table, f"SELECT rowid FROM {table} WHERE t_ns < :before"
    yield "request", "SELECT rowid FROM request WHERE t_ns < :before"
    yield "histogram", _HISTOGRAMS
    yield "absence", _ABSENCES
    yield "event", _EVENTS
