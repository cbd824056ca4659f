"""How much work recording is: the run folder beside a plain file and a naive table, in one run.

    python benchmarks/store_ingest.py [--hours 1] [--gpus 8] [--values 25] [--rate-hz 10] [--folder DIR]

Simulated seconds are written as fast as they go; each one ends with a flush, as the collector's does. Beside ours:

- *file*: the same numbers as raw float64, appended and synced to disk once a simulated second. The least that
  recording them durably can be.
- *narrow*: one SQLite table of (series, time, value) with an index on both, the usual first idea, with the same
  journal settings as ours and no roll-ups.
"""

import argparse
import os
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from struct import Struct

from collector.catalogue import CATALOGUE
from collector.schema import Run, Sample
from collector.store import RESOLUTIONS_S, RunReader, RunWriter

_NS = 1_000_000_000
_START_NS = 1_800_000_000 * _NS
_DAY_S = 86_400


@dataclass(frozen=True)
class Load:
    """What is recorded in each simulated second."""

    seconds: int
    rate_hz: int
    gpus: int
    quantities: tuple[str, ...]
    #: The values of one second, which repeat: one mapping a sample, GPU after GPU, tick after tick.
    values: tuple[Mapping[str, float], ...]

    @property
    def values_per_s(self) -> int:
        """Values in a simulated second."""
        return len(self.values) * len(self.quantities)

    def samples(self, second: int) -> list[Sample]:
        """The samples of one simulated second."""
        return [
            Sample(
                t_ns=_START_NS + second * _NS + row // self.gpus * _NS // self.rate_hz,
                source="nvml",
                subject=f"gpu:{row % self.gpus}",
                values=values,
            )
            for row, values in enumerate(self.values)
        ]


@dataclass(frozen=True)
class Result:
    """What one way of recording took."""

    name: str
    wall_s: float
    cpu_s: float
    size_bytes: int
    #: The last tenth of the run over its first tenth, in wall time and in CPU time.
    slowing_wall: float
    slowing_cpu: float


def measure(name: str, load: Load, folder: Path, write: Callable[[int], None], close: Callable[[], None]) -> Result:
    """Write every second of the load and time it."""
    tenth = load.seconds // 10
    marks = [_clocks()]
    for second in range(load.seconds):
        write(second)
        if second + 1 in (tenth, load.seconds - tenth, load.seconds):
            marks.append(_clocks())
    close()
    marks.append(_clocks())
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    (wall_s, cpu_s), (first_wall_s, first_cpu_s), (last_wall_s, last_cpu_s) = (
        (marks[end][0] - marks[start][0], marks[end][1] - marks[start][1]) for start, end in ((0, 4), (0, 1), (2, 3))
    )
    return Result(name, wall_s, cpu_s, size, last_wall_s / first_wall_s, last_cpu_s / first_cpu_s)


def _clocks() -> tuple[float, float]:
    """Seconds of wall time and of CPU time."""
    return time.perf_counter(), time.process_time()


def run_folder(load: Load, folder: Path) -> Result:
    """Ours."""
    writer = RunWriter.create(folder, Run(run_id="benchmark", started_ns=_START_NS))

    def write(second: int) -> None:
        writer.add(load.samples(second))
        writer.flush()

    return measure("run folder", load, folder, write, lambda: writer.close(_START_NS + load.seconds * _NS))


def plain_file(load: Load, folder: Path) -> Result:
    """The physical limit: numbers in a file, synced once a second."""
    folder.mkdir()
    pack = Struct(f"<{load.values_per_s}d").pack
    descriptor = os.open(folder / "values.f64", os.O_CREAT | os.O_WRONLY)

    def write(second: int) -> None:
        rows = (sample.values.values() for sample in load.samples(second))
        os.write(descriptor, pack(*(value for values in rows for value in values)))
        os.fsync(descriptor)

    return measure("file", load, folder, write, lambda: os.close(descriptor))


def narrow_table(load: Load, folder: Path) -> Result:
    """The peer: one row a value."""
    folder.mkdir()
    connection = sqlite3.connect(folder / "values.sqlite")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE value (series INTEGER, t_ns INTEGER, value REAL)")
    connection.execute("CREATE INDEX value_series ON value (series, t_ns)")
    series: dict[tuple[str, str], int] = {}

    def write(second: int) -> None:
        rows = (
            (series.setdefault((sample.subject, quantity), len(series)), sample.t_ns, value)
            for sample in load.samples(second)
            for quantity, value in sample.values.items()
        )
        connection.executemany("INSERT INTO value VALUES (?, ?, ?)", rows)
        connection.commit()

    return measure("narrow table", load, folder, write, connection.close)


def reading_s(folder: Path, load: Load) -> dict[int, float]:
    """Seconds to read one quantity of every GPU at each resolution: the whole run, or its last hour for samples."""
    taken = {}
    end_ns = _START_NS + load.seconds * _NS
    with RunReader.open(folder) as reader:
        for resolution_s in RESOLUTIONS_S:
            start_ns = None if resolution_s else end_ns - 3600 * _NS
            started = time.perf_counter()
            reader.samples("nvml", resolution_s=resolution_s, start_ns=start_ns, quantities=load.quantities[:1])
            taken[resolution_s] = time.perf_counter() - started
    return taken


def main() -> None:
    """Read the options, run all three, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1.0, help="simulated hours (1)")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--values", type=int, default=25, help="values of each GPU, at most 31")
    parser.add_argument("--rate-hz", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    parser.add_argument("--ours-only", action="store_true", help="leave out the file and the narrow table")
    options = parser.parse_args()
    sampled = (name for name, quantity in CATALOGUE.items() if quantity.kind != "histogram")
    quantities = tuple(islice(sampled, options.values))
    rng = random.Random(0)  # noqa: S311 - not a secret
    rows = options.rate_hz * options.gpus
    values = tuple({quantity: rng.random() for quantity in quantities} for _ in range(rows))
    load = Load(round(options.hours * 3600), options.rate_hz, options.gpus, quantities, values)
    ways = [run_folder] if options.ours_only else [plain_file, narrow_table, run_folder]
    with tempfile.TemporaryDirectory(prefix="store-ingest-", dir=options.folder) as scratch:
        results = []
        for way in ways:
            folder = Path(scratch) / way.__name__
            results.append(way(load, folder))
            if way is run_folder:
                reading = reading_s(folder, load)
            shutil.rmtree(folder)
        report(load, results, reading)


def report(load: Load, results: list[Result], reading: dict[int, float]) -> None:
    """Print the table."""
    values = load.values_per_s * load.seconds
    print(
        f"{load.seconds / 3600:g} h of {load.gpus} GPUs x {len(load.quantities)} values at {load.rate_hz} Hz: "
        f"{values:,} values, {load.values_per_s * 8 * _DAY_S / 1e9:.2f} GB a day as float64\n"
    )
    print(f"{'':<14}{'values/s':>12}{'times real':>12}{'CPU':>14}{'disk':>13}{'last tenth over first':>26}")
    print(f"{'':<14}{'':>12}{'time':>12}{'ms per s':>14}{'GB a day':>13}{'wall time':>14}{'CPU time':>12}")
    for result in results:
        print(
            f"{result.name:<14}{values / result.wall_s:>12,.0f}{load.seconds / result.wall_s:>12,.0f}"
            f"{result.cpu_s / load.seconds * 1e3:>14.2f}{result.size_bytes / load.seconds * _DAY_S / 1e9:>13.2f}"
            f"{result.slowing_wall:>14.2f}{result.slowing_cpu:>12.2f}"
        )
    by_name = {result.name: result for result in results}
    ours = by_name["run folder"]
    for name, other in by_name.items():
        if other is not ours:
            print(
                f"\nrun folder over {name}: {ours.wall_s / other.wall_s:.2f} of the time, "
                f"{ours.size_bytes / other.size_bytes:.2f} of the disk"
            )
    print("\nReading one quantity of every GPU afterwards:")
    for resolution_s, taken_s in reading.items():
        what = f"{resolution_s} s roll-ups, whole run" if resolution_s else "samples, last hour"
        print(f"  {what:<26}{taken_s * 1e3:>9.1f} ms")


if __name__ == "__main__":
    main()
