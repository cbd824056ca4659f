"""Does the collector keep its memory and its time? Eight fake GPUs at 10 Hz on the real clock, for ten minutes.

    python benchmarks/collector_soak.py [--minutes 10] [--gpus 8] [--out FILE]

A real ``inferometer collect``, every source on, which records a run folder, reads the page of a server that stands in
for vLLM, and is scraped every 5 s. Resident memory is looked at every second. The rest is read from what was recorded:

- *jitter*: how much later than its schedule a source was read. The schedule is its first reading and the multiples of
  its interval from there; the least late reading of each minute counts as punctual, so that a wall clock that is
  being corrected is not held against the collector.
  Beside it a bare Python process that does nothing but wait for the same 100 ms: what the machine itself adds.
- *ticks*: those between the first and the last reading are read, failed or missed, and nothing else; each that was
  read has its rows.

Ends with 1 where a target is missed.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from _stand_ins import Collector, Cost, collector, server

from collector.store import RunReader

GPU_INTERVAL_S, SCRAPE_EVERY_S, FIRST_MINUTE_S = 0.1, 5.0, 60.0
#: What a reading of each source always has a row of, and its interval in seconds.
SOURCES = {
    "nvml": ("gpu:0", GPU_INTERVAL_S),
    "processes": ("server", 1.0),
    "serving": ("engine:0", 1.0),
    "host": ("host", 1.0),
}
#: One arena of Python's allocator (1 MiB) that is taken late is no growth; a leak of 150 bytes a reading is.
GROWTH_TARGET_MB, JITTER_TARGET_MS = 1.05, 5.0
#: Waits as a source does, and prints how late it was: half of the times, in 99 of 100, and at most, in ms.
_BARE = """
import sys, threading, time
stop, interval_s, count = threading.Event(), float(sys.argv[1]), int(sys.argv[2])
began, late_ms = time.monotonic(), []
for tick in range(count):
    due = began + tick * interval_s
    stop.wait(max(0.0, due - time.monotonic()))
    late_ms.append((time.monotonic() - due) * 1e3)
late_ms.sort()
print(late_ms[count // 2], late_ms[int(count * 0.99)], late_ms[-1])
"""


@dataclass(frozen=True)
class Ticks:
    """What became of the ticks of one source."""

    expected: int
    readings: int
    failures: int
    missed: int
    rows: int
    jitter_p50_ms: float
    jitter_p99_ms: float
    jitter_most_ms: float

    @property
    def unaccounted(self) -> int:
        """Ticks that were lost without a trace, and readings without rows."""
        return abs(self.expected - self.readings - self.failures - self.missed) + abs(self.readings - self.rows)


def main() -> None:
    """Soak, then judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--out", type=Path, help="where the figures go, as JSON")
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        intervals = ("--gpu-interval", f"{GPU_INTERVAL_S}s", "--max-cpu", "0")
        with server() as url, collector(options.gpus, "--endpoint", url, *intervals, folder=Path(folder)) as process:
            command = [
                sys.executable,
                "-c",
                _BARE,
                str(GPU_INTERVAL_S),
                str(round(options.minutes * 60 / GPU_INTERVAL_S)),
            ]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as loop:
                looks = watch(process, options.minutes * 60)
                bare_ms = [float(figure) for figure in loop.communicate()[0].split()]
        ticks = {name: read(process.run, name, *row) for name, row in SOURCES.items()}
    figures = {
        "what": " ".join(sys.argv),
        "cpu_cores": os.cpu_count(),
        "load_average": [load_before, os.getloadavg()[0]],
        "cpu": looks[-1].cores_since(looks[0]),
        "memory_mb": looks[-1].memory_bytes / 1e6,
        "growth_mb": growth_mb(looks),
        "memory_mb_by_10_s": [round(look.memory_bytes / 1e6, 2) for look in looks[::10]],
        "bare_jitter_p50_p99_most_ms": bare_ms,
        "sources": {name: asdict(found) for name, found in ticks.items()},
    }
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    sys.exit(not report(ticks, looks, bare_ms, load_before))


def watch(process: Collector, seconds: float) -> list[Cost]:
    """What it has used, every second; scraped meanwhile. Progress every minute."""
    began = time.monotonic()
    looks: list[Cost] = []
    while (passed_s := time.monotonic() - began) < seconds:
        looks.append(Cost.of(process.pid))
        if len(looks) % SCRAPE_EVERY_S == 1:
            process.metrics()
        if len(looks) % 60 == 1:
            memory_mb = looks[-1].memory_bytes / 1e6
            print(f"{passed_s / 60:.0f} of {seconds / 60:g} min: {memory_mb:.1f} MB", file=sys.stderr, flush=True)
        time.sleep(max(0.0, began + len(looks) - time.monotonic()))
    return looks


def growth_mb(looks: list[Cost]) -> float:
    """Megabytes between the minute after the first and the last minute; NaN where it did not last so long."""
    late = [look.memory_bytes / 1e6 for look in looks if look.at_s - looks[0].at_s >= FIRST_MINUTE_S]
    if not late:
        return float("nan")
    return statistics.median(late[-60:]) - statistics.median(late[:60])


def read(run: Path, source: str, subject: str, interval_s: float) -> Ticks:
    """The ticks of a source, from the run folder."""
    with RunReader.open(run) as reader:
        times_s = [t_ns / 1e9 for t_ns, found in reader.samples(source, quantities=()).rows if found == subject]
        counts = ("source_readings_total", "source_failures_total", "source_missed_ticks_total")
        told = reader.samples("collector", quantities=counts).rows
    _, _, readings, failures, missed = next(row for row in reversed(told) if row[1] == f"source:{source}")
    # The first reading is at once; the rhythm begins with the second, so that sources do not read at one instant.
    rhythm_s = times_s[1:]
    late_start = math.ceil((rhythm_s[0] - times_s[0]) / interval_s - 0.1) - 1
    gaps = sum(max(1, round((late - early) / interval_s)) for early, late in pairwise(rhythm_s))
    # How far each is from the instants of its minute's rhythm, of which a tenth come on time in any case.
    apart_s = [(t_s - rhythm_s[-1] + interval_s / 2) % interval_s - interval_s / 2 for t_s in rhythm_s]
    minutes: dict[int, list[float]] = {}
    for t_s, each_s in zip(rhythm_s, apart_s, strict=True):
        minutes.setdefault(int(t_s // 60), []).append(each_s)
    punctual_s = {minute: sorted(found)[len(found) // 10] for minute, found in minutes.items()}
    late_ms = sorted(
        abs(each_s - punctual_s[int(t_s // 60)]) * 1e3 for t_s, each_s in zip(rhythm_s, apart_s, strict=True)
    )
    return Ticks(
        expected=1 + late_start + 1 + gaps,
        readings=round(readings),
        failures=round(failures),
        missed=round(missed),
        rows=len(times_s),
        jitter_p50_ms=late_ms[len(late_ms) // 2],
        jitter_p99_ms=late_ms[int(len(late_ms) * 0.99)],
        jitter_most_ms=late_ms[-1],
    )


def report(ticks: dict[str, Ticks], looks: list[Cost], bare_ms: list[float], load_before: float) -> bool:
    """Print the table; whether every target is met."""
    print(f"{'':<10} {'expected':>8} {'read':>6} {'failed':>6} {'missed':>6} {'rows':>6}   jitter p50, p99, most")
    for name, found in ticks.items():
        print(f"{name:<10} {found.expected:>8} {found.readings:>6} {found.failures:>6} {found.missed:>6}", end=" ")
        print(f"{found.rows:>6}   {found.jitter_p50_ms:.2f}, {found.jitter_p99_ms:.2f}, {found.jitter_most_ms:.2f} ms")
    print(f"{'bare loop':<46}" + ", ".join(f"{figure:.2f}" for figure in bare_ms) + " ms")
    late_ms = max(found.jitter_p99_ms for found in ticks.values())
    lost = sum(found.unaccounted for found in ticks.values())
    grown = growth_mb(looks)
    verdicts = (
        (grown <= GROWTH_TARGET_MB, f"memory after the first minute: {grown:+.2f} MB (≤ {GROWTH_TARGET_MB} MB)"),
        (late_ms <= JITTER_TARGET_MS, f"jitter p99: {late_ms:.2f} ms (≤ {JITTER_TARGET_MS:g} ms)"),
        (not lost, f"ticks unaccounted for: {lost} (0)"),
    )
    print()
    for kept, sentence in verdicts:
        print(f"{'kept  ' if kept else 'MISSED'}  {sentence}")
    print(f"{100 * looks[-1].cores_since(looks[0]):.2f} % of a core, {looks[-1].memory_bytes / 1e6:.0f} MB; ", end="")
    print(f"load average {load_before:.2f} before, {os.getloadavg()[0]:.2f} after, on {os.cpu_count()} cores")
    return all(kept for kept, _ in verdicts)


if __name__ == "__main__":
    main()
