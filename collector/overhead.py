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
#: What every interval may be stretched by.
_FACTORS = (1.0, 2.0, 4.0, 8.0, 16.0)
#: Rates go up again only where that would use no more than this share of the limit, so that they do not swing.
_RELAX_RATIO = 0.8

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
    """Stretches every interval where the collector would pass its share of a core, and relaxes it afterwards.

    Only what reading costs shrinks with the rate; what the collector uses besides stays. So each window foretells what
    every factor would use, and the least that keeps the limit is taken at once. What was used before the first
    question, to start, does not count.
    """

    def __init__(self, max_cpu_ratio: float) -> None:
        """``max_cpu_ratio`` is a share of one core; 0 never slows anything down."""
        self._limit = max_cpu_ratio
        self._slowdown = 1.0
        self._mark: tuple[float, float, float] | None = None
        #: What the rates that were asked for would use, as a share of one core, by the last window.
        self.wanted_ratio = 0.0

    @property
    def reason(self) -> str:
        """Why intervals are stretched, for a person; empty where they are not."""
        if self._slowdown == 1:
            return ""
        return (
            f"every interval is stretched {self._slowdown:g} times: what was asked for takes "
            f"{100 * self.wanted_ratio:.1f} % of a core, and --max-cpu allows {100 * self._limit:g} %"
        )

    def slowdown(self, cpu_s: float, reading_s: float, now: float) -> float:
        """The factor on every interval, at least 1.

        Args:
            cpu_s: CPU time used until now.
            reading_s: How much of it went into reading the sources.
            now: Seconds on a clock that never goes back.
        """
        if self._mark is None:
            self._mark = (cpu_s, reading_s, now)
        since_s = now - self._mark[2]
        # Stretched likewise: a window without a reading would say that reading costs nothing.
        if since_s >= _WINDOW_S * self._slowdown and self._limit > 0:
            used = (cpu_s - self._mark[0]) / since_s
            reading = min((reading_s - self._mark[1]) / since_s, used)
            self._mark = (cpu_s, reading_s, now)
            before = self._slowdown

            def foretold(factor: float) -> float:
                return used - reading + reading * before / factor

            def fits(factor: float) -> bool:
                return foretold(factor) <= self._limit * (_RELAX_RATIO if factor < before else 1.0)

            self.wanted_ratio = foretold(1.0)
            self._slowdown = next(filter(fits, _FACTORS), _FACTORS[-1])
        return self._slowdown


def own_samples(
    t_ns: int, usage: Usage, health: Mapping[str, Health], lost_records: int, slowdown: float
) -> Iterator[Sample]:
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
            "collector_slowdown_factor": slowdown,
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
