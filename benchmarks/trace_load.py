"""How fast is a trace loaded, and how near is that to the least it could take?

In one run, on the same file, in turns: inflating alone (the floor), inflating and parsing with the standard library
(what a reader does that keeps every object), and ours (inflate, decode, columns). Prints medians and ratios::

    python benchmarks/trace_load.py [TRACE] [--rounds 7]
"""

import argparse
import gzip
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from analyzer.importers import kineto

LARGEST = Path(__file__).parents[1] / "sample_traces" / "vllm_h200" / "traces" / "single_stream.pt.trace.json.gz"


def main() -> None:
    """Time the contenders in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", nargs="?", type=Path, default=LARGEST)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()

    path: Path = options.trace
    megabytes = len(gzip.decompress(path.read_bytes())) / 1e6
    contenders: dict[str, Callable[[], object]] = {
        "inflate alone": lambda: gzip.decompress(path.read_bytes()),
        "inflate + json.loads": lambda: json.loads(gzip.decompress(path.read_bytes())),
        "inferometer": lambda: kineto.load(path),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, work in contenders.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)

    print(f"{path.name}: {megabytes:.1f} MB of JSON, {options.rounds} rounds in turns, medians")
    ours = statistics.median(seconds["inferometer"])
    for name, times in seconds.items():
        middle = statistics.median(times)
        print(f"{name:>22}  {middle:6.3f} s  {megabytes / middle:6.0f} MB/s  {middle / ours:5.2f} x ours")


if __name__ == "__main__":
    main()
