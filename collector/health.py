"""The time, and how a source is doing: what the sampler keeps and the exposition reads."""

import time
from collections.abc import Callable
from dataclasses import dataclass

#: A reading that lasts this many intervals, and this many seconds at least, hangs.
_HANG_INTERVALS, _HANG_S = 3, 5.0


_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True)
class Clock:
    """The time, as the system tells it; tests bring their own."""

    now_ns: Callable[[], int] = time.time_ns
    #: Seconds that never go back, and stand still while the machine is suspended.
    monotonic: Callable[[], float] = time.monotonic
    #: The same, but they go on while it is suspended; where the system has no such clock, a suspension is not told.
    boottime: Callable[[], float] = lambda: time.clock_gettime(_BOOTTIME)
    #: CPU time of the thread that asks, seconds.
    thread_cpu: Callable[[], float] = time.thread_time


@dataclass
class Health:
    """What one source did so far; read by the exposition."""

    #: Seconds between two readings, and what they are stretched by.
    interval_s: float = 0.0
    slowdown: float = 1.0
    #: Whether the last reading succeeded; the reason where it did not.
    success: bool = False
    reason: str = "not read yet"
    last_success_ns: int | None = None
    readings: int = 0
    failures: int = 0
    missed_ticks: int = 0
    read_s: float = 0.0
    cpu_s: float = 0.0
    #: Monotonic instant at which the reading under way began.
    began: float | None = None

    def hangs(self, now: float) -> bool:
        """Whether the reading under way takes far too long."""
        return self.began is not None and now - self.began > max(_HANG_S, _HANG_INTERVALS * self.interval_s)
