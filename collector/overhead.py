"""What the collector itself costs, and how it keeps that down."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from collector.health import Health
from collector.schema import Absent, Sample

#: CPU use is judged over this long: shorter, and one roll-up of the store would look like a burst.
_WINDOW_S = 10.0
#: The rates are halved at most so often.
_MOST_SLOWDOWN = 16.0
#: Rates go up again once the use is this far below the limit, so that they do not swing.
_RELAX_RATIO = 0.4

_PROC = Path("/proc/self")


@dataclass(frozen=True)
class Usage:
    """What this process has used since it began; None where the system does not say."""

    cpu_s: float
    memory_bytes: int | None
    written_bytes: int | None


def own_usage() -> Usage:
    """Read this process's CPU time, resident memory and bytes written to disk."""
    memory = written = None
    with suppress(OSError, ValueError, IndexError):
        memory = int((_PROC / "statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        fields = dict(line.split(": ") for line in (_PROC / "io").read_text("ascii").splitlines())
        written = int(fields.get("write_bytes", ""))
    return Usage(time.process_time(), memory, written)


class Governor:
    """Stretches every interval before the collector passes its share of a core, and relaxes it afterwards."""

    def __init__(self, max_cpu_ratio: float) -> None:
        """``max_cpu_ratio`` is a share of one core; 0 never slows anything down."""
        self._limit = max_cpu_ratio
        self._slowdown = 1.0
        self._mark: tuple[float, float] | None = None

    def slowdown(self, cpu_s: float, now: float) -> float:
        """The factor on every interval, from the CPU time used until now (both seconds); at least 1."""
        if self._mark is None:
            self._mark = (cpu_s, now)
        since_s = now - self._mark[1]
        if since_s >= _WINDOW_S and self._limit > 0:
            ratio = (cpu_s - self._mark[0]) / since_s
            self._mark = (cpu_s, now)
            if ratio > self._limit:
                self._slowdown = min(2 * self._slowdown, _MOST_SLOWDOWN)
            elif ratio < _RELAX_RATIO * self._limit:
                self._slowdown = max(self._slowdown / 2, 1.0)
        return self._slowdown


def own_samples(t_ns: int, usage: Usage, health: Mapping[str, Health], lost_records: int) -> Iterator[Sample]:
    """The collector's own cost, and the state of each source, as samples like any other."""
    unsaid = Absent("the system does not say")
    yield Sample(
        t_ns=t_ns,
        source="collector",
        subject="collector",
        values={
            "collector_cpu_seconds_total": usage.cpu_s,
            "collector_memory_bytes": unsaid if usage.memory_bytes is None else usage.memory_bytes,
            "collector_written_bytes_total": unsaid if usage.written_bytes is None else usage.written_bytes,
            "collector_lost_records_total": lost_records,
        },
    )
    for name, state in health.items():
        age_s = None if state.last_success_ns is None else max(0, t_ns - state.last_success_ns) / 1e9
        yield Sample(
            t_ns=t_ns,
            source="collector",
            subject=f"source:{name}",
            values={
                "source_success": float(state.success),
                "source_age_s": Absent("never read") if age_s is None else age_s,
                "source_readings_total": state.readings,
                "source_failures_total": state.failures,
                "source_missed_ticks_total": state.missed_ticks,
                "source_read_seconds_total": state.read_s,
                "source_cpu_seconds_total": state.cpu_s,
            },
        )
