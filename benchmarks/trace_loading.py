"""How fast is a trace loaded, in how much memory, and how near is that to the least it could take?

On the largest sample trace, and on larger ones made from its events by repeating them later in time, four readers take
turns, each in a fresh process whose peak memory is its own:

- the floor: inflate, then decode the whole text at once into the fields that are used, and nothing else;
- ours: the importer, up to the finished columns;
- ``json`` of the standard library and a pandas frame of the events;
- HTA (``traceinsight``), with the Python of an environment that holds it: ``--hta-python``.

Times are those of the work inside the process; starting Python and importing is left out for all alike::

    python -m venv ~/.cache/hta && ~/.cache/hta/bin/pip install traceinsight==0.6.1 'pandas<3'
    python benchmarks/trace_loading.py --hta-python ~/.cache/hta/bin/python [--megabytes 70 1000 4000] [--rounds 5]
"""

import argparse
import gzip
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parents[1] / "sample_traces" / "vllm_h200" / "traces"
LARGEST = SAMPLES / "single_stream.pt.trace.json.gz"
#: Readers that hold every object are not asked for more than this: they need 5 to 12 bytes a byte.
MOST_MEGABYTES = {"json + pandas": 200, "HTA": 200}

#: What a child runs; it prints what it took as JSON, and its peak memory.
CHILD = """
import json, os, sys, time
path = sys.argv[1]
{prepare}
def cpu_s():
    return sum(os.times()[:4])
began_s, began_cpu_s = time.perf_counter(), cpu_s()
{work}
print(json.dumps({{"s": time.perf_counter() - began_s, "cpu_s": cpu_s() - began_cpu_s, "events": events}}))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
READERS = {
    "floor": (
        (
            "import msgspec; from isal import igzip; from analyzer.importers._kineto_events import Event\n"
            "Document = msgspec.defstruct('Document', [('traceEvents', list[Event])])\n"
            "decoder = msgspec.json.Decoder(Document)"
        ),
        (
            "file = igzip.open(path) if path.endswith('.gz') else open(path, 'rb')\n"
            "events = len(decoder.decode(file.read()).traceEvents)"
        ),
    ),
    "inferometer": (
        "from pathlib import Path; from analyzer.importers import kineto",
        "trace = kineto.load(Path(path))\nevents = None",
    ),
    "json + pandas": (
        "import gzip, pandas",
        (
            "file = gzip.open(path) if path.endswith('.gz') else open(path, 'rb')\n"
            "events = len(pandas.json_normalize(json.load(file)['traceEvents']))"
        ),
    ),
    "HTA": (
        "from hta.common.trace_parser import parse_trace_dataframe\nfrom hta.configs.parser_config import ParserConfig",
        "meta, frame, symbols = parse_trace_dataframe(path, ParserConfig.get_default_cfg())\nevents = len(frame)",
    ),
}


def main() -> None:
    """Time the readers in turns on each size, and print one table a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path, default=LARGEST, help="what the larger ones are made from")
    parser.add_argument(
        "--megabytes", type=int, nargs="*", default=[70, 1000], help="larger traces to make, MB of JSON"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hta-python", type=Path, help="Python of an environment with traceinsight")
    parser.add_argument("--folder", type=Path, help="where to make the larger traces (default: a temporary one)")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for path in (options.trace, *(grown(options.trace, size, Path(folder)) for size in options.megabytes)):
            compare(path, options.rounds, options.hta_python)
            if path.parent == Path(folder):
                path.unlink()


def grown(trace: Path, megabytes: int, folder: Path) -> Path:
    """A gzip trace of that much JSON: the real events again and again, each time later and with other correlations."""
    text = gzip.decompress(trace.read_bytes())
    opening, closing = text.index(b'"traceEvents": [') + 16, text.rindex(b"\n  ],")
    events = text[opening:closing]
    numbers = re.compile(rb'("ts": |"correlation": |"External id": )(\d+)')
    path, left, copy = folder / f"{megabytes}_MB.json.gz", megabytes * 10**6 - len(text) + len(events), 0
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(text[:opening])
        while left > 0:
            part = events if left >= len(events) else events[: events.index(b"\n  },", left) + 4]
            left -= len(part)
            file.write((b"," if copy else b"") + numbers.sub(lambda found, copy=copy: _later(found, copy), part))
            copy += 1
        file.write(text[closing:])
    return path


def _later(found: re.Match[bytes], copy: int) -> bytes:
    return b"%s%d" % (found[1], int(found[2]) + copy * (600_000 if found[1] == b'"ts": ' else 1_000_000))


def compare(path: Path, rounds: int, hta_python: Path | None) -> None:
    """One table: each reader's median time and largest memory, beside the floor's."""
    with gzip.open(path) as file:
        megabytes = sum(map(len, iter(lambda: file.read(1 << 20), b""))) / 1e6
    pythons = {name: Path(sys.executable) for name in READERS} | {"HTA": hta_python}
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(rounds if megabytes < 500 else 1):  # noqa: PLR2004 - seconds a reader
        for name, python in pythons.items():
            if python is not None and megabytes <= MOST_MEGABYTES.get(name, megabytes):
                runs.setdefault(name, []).append(run(name, python, path))
    floor_s, floor_cpu_s = (statistics.median(one[key] for one in runs["floor"]) for key in ("s", "cpu_s"))
    events = runs["floor"][0]["events"]
    print(f"\n{path.name}: {megabytes:,.0f} MB of JSON, {events:,} events, median of {len(runs['floor'])} in turns")
    titles = ("wall s", "MB/s", "k events/s", "× floor", "CPU s", "× floor", "peak MB")
    print(" " * 14, *(f"{title:>{width}}" for title, width in zip(titles, (8, 6, 10, 8, 8, 8, 8), strict=True)))
    for name, found in runs.items():
        if failed := [one["why"] for one in found if "why" in one]:
            print(f"{name:>14}  fails: {failed[0]}")
            continue
        wall_s, cpu_s = (statistics.median(one[key] for one in found) for key in ("s", "cpu_s"))
        print(
            f"{name:>14} {wall_s:8.2f} {megabytes / wall_s:6.0f} {events / wall_s / 1e3:10.0f} {floor_s / wall_s:8.2f} "
            f"{cpu_s:8.2f} {floor_cpu_s / cpu_s:8.2f} {max(one['mb'] for one in found):8.0f}",
        )


def run(name: str, python: Path, path: Path) -> dict[str, Any]:
    """One reader in a fresh process: what it printed, or the last line of why it failed."""
    prepare, work = READERS[name]
    command = [str(python), "-c", CHILD.format(prepare=prepare, work=work), str(path)]
    helpers_kb: dict[int, int] = {}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(command, stdout=out, stderr=err)
        while child.poll() is None:
            helpers_kb |= _peaks_kb(child.pid)
            time.sleep(0.02)
        for stream in (out, err):
            stream.seek(0)
        lines, complaint = out.read().split("\n"), err.read().strip().split("\n")
    if child.returncode:
        return {"why": complaint[-1] or f"exit code {child.returncode}"}
    found: dict[str, Any] = json.loads(lines[-3])
    return found | {"mb": (int(lines[-2]) + sum(helpers_kb.values())) / 1e3}


def _peaks_kb(pid: int) -> dict[int, int]:
    """The peak memory so far of each process that a process started."""
    found = {}
    try:
        for helper in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            status = Path(f"/proc/{helper}/status").read_text()
            found[int(helper)] = int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        pass  # it is just ending
    return found


if __name__ == "__main__":
    main()
