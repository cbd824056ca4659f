"""Recording a run folder. Private to ``collector.store``."""

import math
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import msgspec

from collector import _run_folder, _sqlite
from collector._retention import Retention
from collector.catalogue import CATALOGUE
from collector.errors import UserError
from collector.schema import SCHEMA_VERSION, Absent, Engine, Event, Histogram, Request, Run, Sample

#: What a writer takes.
Record: TypeAlias = Sample | Histogram | Request | Event

_LATEST_NS = 2**63 - 1


class RunWriter:
    """Records one run. Records wait in memory until ``flush``; what was flushed survives a killed process.

    What was flushed last may be lost with the *power*: SQLite's ``synchronous = NORMAL`` leaves the instant
    of writing to the system, because a sidecar must not make a disk wait every second. The database stays
    whole in either case. Threads may share a writer if they take turns.
    """

    def __init__(self, path: Path, run: Run, connection: sqlite3.Connection) -> None:
        """Use ``RunWriter.create``."""
        self.path = path
        self.run = run
        self._connection = connection
        self._closed = False
        self._quantities: dict[str, list[str]] = defaultdict(list)
        self._newest_ns: dict[str, int] = {}
        self._reasons: dict[tuple[str, str, str], str | None] = {}
        #: When each subject was last added.
        self._subjects: dict[str, int] = {}
        self._counts: dict[tuple[str, str], tuple[tuple[float, ...], ...]] = {}
        self._samples: dict[str, list[Sample]] = defaultdict(list)
        self._rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        self._retention = Retention(connection)
        self._file = (path / _run_folder.DATABASE).stat()

    @classmethod
    def create(cls, path: Path, run: Run) -> Self:
        """Make a run folder; the folder may exist if it is empty, its parents need not.

        Raises:
            UserError: It is not empty or cannot be written; no part of a run folder is left behind then.
        """
        run = replace(run, ended_ns=None, schema_version=SCHEMA_VERSION)
        with ExitStack() as undo, _run_folder.writing(path):
            if path.is_dir() and any(path.iterdir()):
                raise UserError(f"{path}: not empty; a recording needs a new or an empty folder")
            if not path.exists():
                path.mkdir(parents=True)
                undo.callback(path.rmdir)
            for folder in (_run_folder.TRACES, _run_folder.STACKS):
                (path / folder).mkdir()
                undo.callback((path / folder).rmdir)
            undo.callback((path / _run_folder.DATABASE).unlink, missing_ok=True)
            connection = _sqlite.connect(path / _run_folder.DATABASE, "mode=rwc")
            undo.callback(connection.close)
            _sqlite.create_tables(connection)
            _run_folder.write_run(path, run)
            writer = cls(path, run, connection)
            undo.pop_all()
        return writer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def trace_path(self, name: str) -> Path:
        """Where a trace of that name belongs.

        Raises:
            UserError: The name is no plain file name.
        """
        return _run_folder.inside(self.path / _run_folder.TRACES, name)

    def stack_path(self, name: str) -> Path:
        """Where a file of stacks of that name belongs; raises as ``trace_path``."""
        return _run_folder.inside(self.path / _run_folder.STACKS, name)

    def add(self, records: Iterable[Record]) -> None:
        """Take records, in any order of time; they stay in memory until ``flush``.

        Raises:
            ValueError: A quantity is not in the catalogue or of the wrong kind, a source is not one word, a
                time is outside int64, a text is longer than 0.5 MB, or a histogram's counts do not fit its
                edges. The records before it were taken.
        """
        for record in records:
            _time(record.t_ns)
            match record:
                case Sample():
                    self._add_sample(record)
                case Histogram():
                    self._add_histogram(record)
                case Request():
                    times = (record.t_ns, record.ttft_s, record.e2e_latency_s)
                    error = None if record.error is None else _text(record.error)
                    self._rows["request"].append((*times, record.input_tokens, record.output_tokens, error))
                case Event():
                    end_ns = None if record.end_ns is None else _time(record.end_ns)
                    detail = _text(msgspec.json.encode(record.detail).decode())
                    self._rows["event"].append((record.t_ns, _text(record.kind), _text(record.name), end_ns, detail))

    def flush(self) -> None:
        """Commit what was added, with its roll-ups; the cost does not grow with the run.

        Raises:
            UserError: The disk refuses, say because it is full. Nothing is dropped; another call tries again.
        """
        newest_ns = dict(self._newest_ns)
        with _run_folder.writing(self.path):
            for source, samples in self._samples.items():
                self._widen(source, samples)
            with _sqlite.transaction(self._connection):
                for table, insert in _sqlite.INSERTS.items():
                    self._connection.executemany(insert, self._rows[table])
                for source, samples in self._samples.items():
                    newest_ns[source] = self._write_samples(source, samples)
        self._newest_ns = newest_ns
        self._samples.clear()
        self._rows.clear()

    def retain(self, *, before_ns: int | None = None, largest_bytes: int | None = None) -> None:
        """Drop a piece of what is too old or too much, oldest first, and say so in one event that grows.

        What goes are spans of ten minutes; a call takes a few thousand rows of them, in some milliseconds, and the
        next call goes on. Call it after each ``flush``.

        Args:
            before_ns: A span that ended before is too old.
            largest_bytes: The database takes no more of the disk, as long as it holds more than one span.

        Raises:
            UserError: The disk refuses. Nothing is dropped; another call tries again.
        """
        sources = [source for source, quantities in self._quantities.items() if quantities]
        with _run_folder.writing(self.path):
            gone = self._retention.drop(sources, self._subjects, before_ns, largest_bytes, self._wal_bytes())
        if gone:
            self._subjects = {name: t_ns for name, t_ns in self._subjects.items() if name not in gone}
            self._reasons = {key: reason for key, reason in self._reasons.items() if key[1] not in gone}
            self._counts = {key: counts for key, counts in self._counts.items() if key[0] not in gone}

    def is_there(self) -> bool:
        """Whether the folder still holds the file that is written to: nobody deleted or moved it."""
        try:
            file = (self.path / _run_folder.DATABASE).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return os.path.samestat(file, self._file)

    def abandon(self) -> None:
        """Let go of a folder that is not there any more; what was not flushed is lost."""
        self._closed = True
        self._connection.close()

    def describe(self, engine: Engine) -> None:
        """Say in ``run.json`` which server this is, where that was learnt after the recording began.

        Raises:
            UserError: The disk refuses; ``run.json`` stays as it was.
        """
        run = replace(self.run, engine=engine)
        with _run_folder.writing(self.path):
            _run_folder.write_run(self.path, run)
        self.run = run

    def close(self, ended_ns: int | None = None) -> None:
        """Flush, and leave a folder that a read-only medium can hold; a second call does nothing.

        With ``ended_ns`` the run is finished; without, it looks like one whose recorder was killed.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self.flush()
            # A reader that is still there keeps the files of the WAL; emptied, they need not be read.
            with suppress(sqlite3.OperationalError):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._connection.execute("PRAGMA journal_mode = DELETE")
        finally:
            self._connection.close()
        if ended_ns is not None:
            self.run = replace(self.run, ended_ns=_time(ended_ns))
            with _run_folder.writing(self.path):
                _run_folder.write_run(self.path, self.run)

    def _wal_bytes(self) -> int:
        with suppress(OSError):
            return (self.path / _run_folder.WAL).stat().st_size
        return 0

    def _add_sample(self, sample: Sample) -> None:
        if not _sqlite.SOURCE_NAME.fullmatch(sample.source):
            raise ValueError(f"{sample.source!r} is no name for a source: one word in lower case")
        unknown = sample.values.keys() - _sqlite.SAMPLED
        if unknown or not sample.values:
            raise ValueError(f"{sample.source}: the catalogue has no sampled {', '.join(sorted(unknown)) or 'nothing'}")
        self._add_subject(sample.subject, sample.t_ns)
        for quantity, value in sample.values.items():
            key = (sample.source, sample.subject, quantity)
            reason = _reason(value)
            if self._reasons.get(key) != reason:
                self._reasons[key] = reason
                self._rows["absence"].append((sample.t_ns, *key, reason))
        self._samples[sample.source].append(sample)

    def _add_histogram(self, histogram: Histogram) -> None:
        quantity = CATALOGUE.get(histogram.quantity)
        if quantity is None or quantity.kind != "histogram":
            raise ValueError(f"the catalogue has no histogram {histogram.quantity}")
        counts = (histogram.edges, histogram.cumulative)
        if len(histogram.cumulative) != len(histogram.edges) + 1:
            raise ValueError(f"{histogram.quantity}: {len(histogram.cumulative)} counts, {len(histogram.edges)} edges")
        if not all(map(math.isfinite, (*chain.from_iterable(counts), histogram.sum))):
            raise ValueError(f"{histogram.quantity}: an edge, a count or the sum is not finite")
        key = (histogram.subject, histogram.quantity)
        self._add_subject(histogram.subject, histogram.t_ns)
        if self._counts.get(key) == counts:
            return
        self._counts[key] = counts
        edges, cumulative = (msgspec.json.encode(numbers).decode() for numbers in counts)
        self._rows["edges"].append((edges,))
        self._rows["histogram"].append((histogram.t_ns, *key, edges, cumulative, histogram.sum))

    def _add_subject(self, name: str, t_ns: int) -> None:
        if name not in self._subjects:
            self._rows["subject"].append((_text(name),))
        self._subjects[name] = max(t_ns, self._subjects.get(name, 0))

    def _widen(self, source: str, samples: list[Sample]) -> None:
        """Give a source a column for each quantity. A commit of its own: it holds if the samples fail."""
        known = self._quantities[source]
        new = sorted(
            set(chain.from_iterable(sample.values for sample in samples)) - set(known), key=list(CATALOGUE).index
        )
        if new:
            with _sqlite.transaction(self._connection):
                _sqlite.widen(self._connection, source, known, new)
            known += new

    def _write_samples(self, source: str, samples: list[Sample]) -> int:
        """Write a source's samples and roll-ups; returns the time of the newest sample there is now."""
        quantities = self._quantities[source]
        self._connection.executemany(
            _sqlite.insert_sample(source, quantities),
            ((sample.t_ns, sample.subject, *map(_number, map(sample.values.get, quantities))) for sample in samples),
        )
        times_ns = {sample.t_ns for sample in samples}
        if source in self._newest_ns:
            times_ns.add(self._newest_ns[source])
        newest_ns = max(times_ns)
        _sqlite.roll_up(self._connection, source, quantities, times_ns, newest_ns)
        return newest_ns


def _time(t_ns: int) -> int:
    if not 0 <= t_ns < _LATEST_NS:
        raise ValueError(f"{t_ns} is no time in nanoseconds since the epoch")
    return t_ns


def _text(text: str) -> str:
    if len(text.encode()) > _sqlite.LONGEST_BYTES // 2:
        raise ValueError(f"a text of {len(text)} characters, which starts {text[:40]!r}, is too long to record")
    return text


def _reason(value: float | Absent) -> str | None:
    """Why a value is absent; None if it is there."""
    if isinstance(value, Absent):
        return _text(value.reason)
    return None if math.isfinite(value) else f"read as {value}, which is no number"


def _number(value: float | Absent | None) -> float | None:
    """A value as its column holds it; NULL is absent."""
    return None if value is None or isinstance(value, Absent) or not math.isfinite(value) else value
