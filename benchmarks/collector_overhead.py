"""What the collector costs: CPU and memory against the rate of the GPU readings and the number of GPUs.

    python benchmarks/collector_overhead.py [--rates 0.1,1,2,5,10] [--gpus 1,4,8 | --gpu real] [--out FILE]

A real ``inferometer collect``, every source on, which records a run folder, reads the page of a server that stands in
for vLLM, and is scraped every 15 s. The GPUs are fakes that answer as an H200 did and spin for as long as each call
took there, so that the CPU time is a real GPU's but for the fake's own Python; ``--gpu real`` takes the GPUs that are
there. The other sources are read every second, and at 0.1 Hz every ten.

Beside it, in the same run, the floor: a bare Python that makes the same NVML calls at the same rate (CPU), and one
that only opened NVML (memory). Fakes bring no driver library, which takes about 30 MB on an H200.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from _stand_ins import Collector, Cost, collector, server, with_gpus

SETTLE_S = 6.0
SCRAPE_EVERY_S = 15.0
WINDOWS = 3
SOURCES = ("nvml", "processes", "serving", "host")
#: What was promised for one GPU: share of a core by rate in Hz, and megabytes at 1 Hz.
CPU_TARGETS, MEMORY_TARGET_MB = {1.0: 0.01, 10.0: 0.03}, 75.0
#: What NVIDIA's exporter asks Kubernetes for: deployment/values.yaml of dcgm-exporter, since pull request 618.
DCGM = "dcgm-exporter, as its chart asks: 10 % of a core and 134 MB; killed above 537 MB"
_FLOOR = Path(__file__).with_name("_nvml_floor.py")


@dataclass(frozen=True)
class Row:
    """One rate on one number of GPUs; CPU in shares of one core."""

    gpus: int
    rate_hz: float
    cpu: float
    cpu_least: float
    cpu_most: float
    memory_mb: float
    by_source: dict[str, float]
    missed_ticks: int
    #: The same NVML calls alone.
    calls_cpu: float

    @property
    def verdict(self) -> str:
        """Whether what was promised is kept, where something was."""
        target = CPU_TARGETS.get(self.rate_hz) if self.gpus == 1 else None
        return "" if target is None else f"{'kept' if self.cpu <= target else 'MISSED'}: {100 * target:.0f} %"


def main() -> None:
    """Measure row by row, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="0.1,1,2,5,10", help="readings of the GPU a second")
    parser.add_argument("--gpus", default="1,4,8", help="how many fake GPUs")
    parser.add_argument("--gpu", choices=["fake", "real"], default="fake")
    parser.add_argument("--endpoint", help="a server that is up, in place of the one that stands in for vLLM")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each row is measured, twice (30)")
    parser.add_argument("--out", type=Path, help="where the figures go, as JSON")
    options = parser.parse_args()
    rates = [float(rate) for rate in options.rates.split(",")]
    gpus = [None] if options.gpu == "real" else [int(count) for count in options.gpus.split(",")]
    took_min = len(rates) * len(gpus) * 2 * (options.seconds + SETTLE_S + 2) / 60
    say(f"{len(rates) * len(gpus)} rows, about {took_min:.0f} min; load average {os.getloadavg()[0]:.2f}")

    bare_mb = {count: bare(count) for count in gpus}
    rows = []
    with nullcontext(options.endpoint) if options.endpoint else server() as url:
        for count in gpus:
            for rate_hz in rates:
                rows.append(measure(url, count, rate_hz, options.seconds))
                say(f"{rows[-1].gpus} GPU at {rate_hz:g} Hz: {100 * rows[-1].cpu:.2f} %, {rows[-1].memory_mb:.0f} MB")
    report(rows, bare_mb[gpus[0]], options.gpu)
    if options.out:
        found = {
            "what": " ".join(sys.argv),
            "gpu": options.gpu,
            "cpu_cores": os.cpu_count(),
            "bare_mb": bare_mb[gpus[0]],
        }
        options.out.write_text(json.dumps({**found, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")


def say(sentence: str) -> None:
    """Progress."""
    print(sentence, file=sys.stderr, flush=True)


def measure(url: str, gpus: int | None, rate_hz: float, seconds: float) -> Row:
    """The collector, then the calls alone."""
    interval_s = 1 / rate_hz
    rates = ("--gpu-interval", f"{interval_s}s", "--interval", f"{max(1.0, interval_s)}s")
    with collector(gpus, "--endpoint", url, "--max-cpu", "0", *rates) as process:
        time.sleep(SETTLE_S)
        before, began = process.metrics(), time.monotonic()
        looks = watch(process, seconds)
        after, took = process.metrics(), time.monotonic() - began
    with floor(gpus, "calls", str(interval_s)) as pid:
        time.sleep(1)
        alone = Cost.of(pid)
        time.sleep(seconds)
        calls_cpu = Cost.of(pid).cores_since(alone)
    shares = [late.cores_since(early) for early, late in pairwise(looks)]
    spent = {name: f'source_cpu_seconds_total{{source="{name}"}}' for name in SOURCES}
    by_source = {name: (after[key] - before[key]) / took for name, key in spent.items()}
    return Row(
        gpus=sum(name.startswith("gpu_info") for name in after),
        rate_hz=rate_hz,
        cpu=statistics.median(shares),
        cpu_least=min(shares),
        cpu_most=max(shares),
        memory_mb=max(look.memory_bytes for look in looks) / 1e6,
        by_source={**by_source, "rest": looks[-1].cores_since(looks[0]) - sum(by_source.values())},
        missed_ticks=round(sum(value for name, value in after.items() if name.startswith("source_missed_ticks"))),
        calls_cpu=calls_cpu,
    )


def watch(process: Collector, seconds: float) -> list[Cost]:
    """Looks at what it has used, at the ends of equal windows; scraped meanwhile."""
    began = time.monotonic()
    looks, next_scrape = [Cost.of(process.pid)], began + SCRAPE_EVERY_S
    for window in range(1, WINDOWS + 1):
        while (left := began + seconds * window / WINDOWS - time.monotonic()) > 0:
            time.sleep(min(left, 1.0))
            if time.monotonic() > next_scrape:
                next_scrape += SCRAPE_EVERY_S
                process.metrics()
        looks.append(Cost.of(process.pid))
    return looks


@contextmanager
def floor(gpus: int | None, *arguments: str) -> Iterator[int]:
    """A bare Python on those GPUs; its process id, once it is ready."""
    command = [sys.executable, str(_FLOOR), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=with_gpus(gpus)) as process:
        try:
            if process.stdout is None or not process.stdout.readline():
                raise SystemExit("NVML does not open here")
            yield process.pid
        finally:
            process.kill()


def bare(gpus: int | None) -> float:
    """Megabytes of a Python that only opened NVML."""
    with floor(gpus, "bare") as pid:
        return Cost.of(pid).memory_bytes / 1e6


def report(rows: list[Row], bare_mb: float, gpu: str) -> None:
    """The table."""
    parts = (*SOURCES, "rest")
    print(f"{'GPUs':>4} {'Hz':>4} {'CPU':>7}  {'least – most':<15} {'RSS':>6}   ", end="")
    print(*(f"{part:>9}" for part in parts), f"{'NVML alone':>11} {'ratio':>6} {'missed':>6}  promised")
    for row in rows:
        print(f"{row.gpus:>4} {row.rate_hz:>4g} {100 * row.cpu:>5.2f} %", end="  ")
        print(f"{f'{100 * row.cpu_least:.2f} – {100 * row.cpu_most:.2f} %':<15} {row.memory_mb:>3.0f} MB   ", end="")
        print(*(f"{100 * row.by_source[part]:>7.2f} %" for part in parts), end=" ")
        print(f"{100 * row.calls_cpu:>9.2f} % {row.cpu / row.calls_cpu:>6.1f} {row.missed_ticks:>6}  {row.verdict}")
    print(f"\na bare Python that opened NVML ({gpu} GPUs): {bare_mb:.0f} MB")
    print(f"{DCGM}\nCPU: median, least and most of {WINDOWS} windows, in shares of one core of {os.cpu_count()}")
    if gpu == "real":
        kept = "kept" if max(row.memory_mb for row in rows if row.rate_hz <= 1) <= MEMORY_TARGET_MB else "MISSED"
        print(f"memory at 1 Hz: {kept}: {MEMORY_TARGET_MB:.0f} MB")


if __name__ == "__main__":
    main()
