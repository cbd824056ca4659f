"""From the loop to the run folder, whatever the disk does.

Once a second the recorder commits what was read. A disk that refuses, or is about to be full, is a state, not an end:
records wait in memory, the oldest are lost and counted once there are too many, and a ``gap`` event says so as soon
as the disk takes it. A folder that was deleted or moved is made anew.
"""

import secrets
import shutil
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from collector.errors import UserError
from collector.health import Clock
from collector.options import Options
from collector.schema import Engine, Event, Run
from collector.store import Record, RunWriter

#: Records kept while the disk refuses them: a minute of eight GPUs at 10 Hz; older ones are lost, and counted.
BACKLOG = 6000
#: Of a disk this much is left to others, or this share where that is less.
_FREE_BYTES, _FREE_RATIO = 500_000_000, 0.02
#: Once paused, recording goes on when this much more than that is free, so that it does not swing.
_RELAX_RATIO = 1.25
#: How old a sample is cannot be told right after the clock was set: nothing is dropped for its age then.
_SETTLED_S = 3600.0


def _free_bytes(path: Path) -> tuple[int, int]:
    """Size of a disk, and how much of it this user may still fill."""
    usage = shutil.disk_usage(path)
    return usage.total, usage.free


@dataclass
class Recorder:
    """Owns the run folder while it is written; used by one thread."""

    path: Path
    run: Run
    options: Options
    clock: Clock = field(default_factory=Clock)
    free_bytes: Callable[[Path], tuple[int, int]] = _free_bytes
    #: Why nothing can be recorded now; "" while it can.
    fault: str = ""
    lost_records: int = 0
    _backlog: deque[Record] = field(default_factory=deque)
    #: Since when nothing could be recorded, and how many records had been lost by then.
    _gap_began: tuple[int, int] | None = None
    #: How many records were given to the writer and not committed yet.
    _pending: int = 0
    #: Why the first record was left out that no run can hold.
    _refused: str = ""
    _settled_at: float = 0.0
    _closed: bool = False

    def __post_init__(self) -> None:
        """Make the run folder; raises ``UserError`` where it cannot be made."""
        self._writer = RunWriter.create(self.path, self.run)

    def record(self, records: Iterable[Record]) -> None:
        """Commit records, with what waited before them; never raises for what the disk does."""
        lost_before = self.lost_records
        for record in records:
            if isinstance(record, Event) and record.kind == "clock_jump":
                self._settled_at = self.clock.monotonic() + _SETTLED_S
            self._backlog.append(record)
        while len(self._backlog) > BACKLOG:
            self._backlog.popleft()
            self.lost_records += 1
        try:
            if not self._writer.is_there():
                self._begin_anew()
            if low := self._disk_is_low():
                raise UserError(low)  # noqa: TRY301 - one place says what a fault does
            self._commit()
            if self.run.engine is not None and self.run.engine != self._writer.run.engine:
                self._writer.describe(self.run.engine)
            self._retain()
        except UserError as error:
            if self._gap_began is None:
                self._gap_began = (self.clock.now_ns(), lost_before)
            self.fault = str(error)
        else:
            self.fault = ""

    def describe(self, engine: Engine) -> None:
        """Say in ``run.json`` which server this is, with the next records."""
        self.run = replace(self.run, engine=engine)

    def close(self, ended_ns: int | None = None) -> None:
        """Commit what waits, also where recording pauses, and finish the run; a second call does nothing.

        Raises:
            UserError: The disk still refuses; the folder is then like one whose recorder was killed.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._commit()
        finally:
            self._writer.close(ended_ns)

    def _commit(self) -> None:
        """Give everything to the run folder; what no run can hold is left out, counted, and a fault."""
        if self._pending:
            self._writer.flush()
            self._pending = 0
        refused = ""
        while self._backlog:
            try:
                self._writer.add([self._backlog[0]])
                self._pending += 1
            except ValueError as error:
                # A clock that was set to before 1970, say, must not cost the seconds after it.
                refused = refused or str(error)
                self.lost_records += 1
            self._backlog.popleft()
        if refused:
            self._refused = self._refused or refused
            self._writer.flush()
            self._pending = 0
            raise UserError(f"records are left out that no run folder can hold: {self._refused}")
        if self._gap_began is not None:
            self._writer.add([self._gap(*self._gap_began)])
            self._gap_began = None
        self._writer.flush()
        self._pending, self._refused = 0, ""

    def _gap(self, began_ns: int, lost_before: int) -> Event:
        detail: dict[str, str | int] = {"reason": self.fault, "lost_records": self.lost_records - lost_before}
        return Event(t_ns=max(0, began_ns), kind="gap", name="store", end_ns=max(0, self.clock.now_ns()), detail=detail)

    def _retain(self) -> None:
        before_ns = None
        if self.options.keep_for_s is not None and self.clock.monotonic() >= self._settled_at:
            before_ns = self.clock.now_ns() - round(self.options.keep_for_s * 1e9)
        self._writer.retain(before_ns=before_ns, largest_bytes=self.options.keep_size_bytes or None)

    def _begin_anew(self) -> None:
        """Make the folder again, for somebody deleted or moved it; what was not committed by then is lost."""
        self._gap_began = self._gap_began or (self.clock.now_ns(), self.lost_records)
        self.fault = f"{self.path}: it was deleted or moved while it was written"
        self.lost_records, self._pending = self.lost_records + self._pending, 0
        # Closed before another is made: closing removes the WAL by its path.
        self._writer.abandon()
        self.run = replace(self.run, run_id=secrets.token_hex(8), started_ns=self.clock.now_ns())
        self._writer = RunWriter.create(self.path, self.run)

    def _disk_is_low(self) -> str:
        """Why recording pauses; "" while the disk has room for others, or does not say."""
        try:
            total, free = self.free_bytes(self.path)
        except OSError:
            return ""
        floor = self.options.keep_free_bytes
        floor = min(_FREE_BYTES, round(total * _FREE_RATIO)) if floor is None else floor
        if free >= floor * (_RELAX_RATIO if self.fault else 1):
            return ""
        return f"{self.path}: recording pauses while the disk has less than {floor:,} bytes left (--keep-free)"
