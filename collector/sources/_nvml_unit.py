"""A GPU, or one GPU instance of MIG: what is read of it, and when. Private to the ``nvml`` source."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType

from collector.schema import Absent
from collector.sources import _gpm
from collector.sources._nvml_errors import LASTING, UNKNOWN, GpuLost, absent, code_of, errors
from collector.sources._nvml_processes import Found, Processes
from collector.sources._nvml_readings import Handle, Reading, Value

_NS = 1_000_000_000


@dataclass
class Task:
    """A reading that is not for every tick."""

    period_s: float
    run: Callable[[], Found]
    #: None until it was read for the first time.
    due_ns: int | None = None

    def due(self, now_ns: int, slack_ns: int, phase: float) -> bool:
        """Whether to read now; sets when to read next.

        Args:
            now_ns: The time.
            slack_ns: A reading due so soon is read now, because the next tick would be later still.
            phase: Part of the period by which the second reading is early, so that not all fall on one tick.
        """
        period_ns = round(self.period_s * _NS)
        if self.due_ns is None:
            self.due_ns = now_ns + round(period_ns * (1 - phase))
            return True
        if now_ns + slack_ns < self.due_ns:
            return False
        self.due_ns = max(self.due_ns, now_ns - period_ns) + period_ns
        return True


class Unit:
    """One GPU or GPU instance. What it cannot offer is asked for once."""

    def __init__(
        self,
        nv: ModuleType,
        subject: str,
        handle: Handle,
        fast: Iterable[Reading],
        windows: _gpm.Windows | Absent,
    ) -> None:
        """Read nothing yet.

        Args:
            nv: The module ``pynvml``.
            subject: Its name in the samples.
            handle: NVML's handle of it.
            fast: What is read at every tick.
            windows: Its GPM windows, or why it has none.
        """
        self._nv, self._handle, self._fast = nv, handle, tuple(fast)
        self._windows = windows
        self._slow_windows: _gpm.Windows | None = None
        self.subject = subject
        self._tasks: list[Task] = []
        self._never: dict[Reading, Absent] = {}
        self._quantities = {quantity for reading in self._fast for quantity in reading.quantities}
        self._quantities.update(_gpm.QUANTITIES)

    def also(self, period_s: float, readings: tuple[Reading, ...]) -> None:
        """Read these less often."""
        self._quantities.update(quantity for reading in readings for quantity in reading.quantities)
        self._tasks.append(Task(period_s, lambda: {self.subject: self._take(readings)}))

    def also_graphics(self, period_s: float, windows: _gpm.Windows | Absent) -> None:
        """Read the graphics activity in windows of its own."""
        if isinstance(windows, _gpm.Windows):
            self._slow_windows = windows
            self._tasks.append(Task(period_s, lambda: {self.subject: windows.read()}))

    def also_processes(self, handles: tuple[Handle, ...], memory_s: float, utilization_s: float) -> None:
        """Read the processes on these handles: their memory, and their shares."""
        processes = Processes(self._nv, self.subject, handles)
        self._tasks.append(Task(memory_s, processes.memory))
        self._tasks.append(Task(utilization_s, processes.utilization))

    def read(self, now_ns: int, slack_ns: int, turn: float) -> Found:
        """Everything that is due, by subject.

        Args:
            now_ns: The time, on a clock that never goes back.
            slack_ns: How early a slow reading may be.
            turn: This unit's place among all, 0–1; it spreads the slow readings of many GPUs.

        Raises:
            GpuLost: It cannot be read at all.
            Unavailable: NVML cannot.
        """
        own = self._take(self._fast)
        # One call may fail so for reasons of its own; where all do, the GPU is gone.
        if len(self._fast) > 1 and all(value == Absent(UNKNOWN) for value in own.values()):
            raise GpuLost(f"GPU is lost: {UNKNOWN}")
        own |= self._gpm()
        found: Found = {self.subject: own}
        for place, task in enumerate(self._tasks):
            if task.due(now_ns, slack_ns, (turn + place / len(self._tasks)) % 1):
                for subject, values in task.run().items():
                    found.setdefault(subject, {}).update(values)
        return found

    def lost(self, reason: Absent) -> Found:
        """What to say of everything, once it is lost."""
        return {self.subject: dict.fromkeys(sorted(self._quantities), reason)}

    def close(self) -> None:
        """Let go of the GPM samples."""
        for windows in (self._windows, self._slow_windows):
            if isinstance(windows, _gpm.Windows):
                windows.close()

    def _gpm(self) -> dict[str, Value]:
        if isinstance(self._windows, Absent):
            return dict.fromkeys(_gpm.QUANTITIES, self._windows)
        return self._windows.read()

    def _take(self, readings: Iterable[Reading]) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for reading in readings:
            if reading in self._never:
                values |= dict.fromkeys(reading.quantities, self._never[reading])
                continue
            try:
                values |= zip(reading.quantities, reading.ask(self._nv, self._handle), strict=True)
            except errors(self._nv) as error:
                reason = absent(code_of(error), error)
                if code_of(error) in LASTING:
                    self._never[reading] = reason
                values |= dict.fromkeys(reading.quantities, reason)
        return values
