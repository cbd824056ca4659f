"""What becomes of damaged and odd traces: ours and HTA's, case by case, as the table of ``docs/robustness.md``.

The cases and what is expected of ours are those of the tests (``tests/analyzer/damage.py``); what HTA does is seen by
loading each file and asking for its temporal breakdown, in an environment that holds it::

    python -m venv ~/.cache/hta && ~/.cache/hta/bin/pip install traceinsight==0.6.1 'pandas<3'
    python benchmarks/trace_robustness.py --hta-python ~/.cache/hta/bin/python
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the cases lie with the tests

from tests.analyzer.damage import SECTIONS, Case, outcome  # noqa: E402 - needs the path

DOCUMENT = ROOT / "docs" / "robustness.md"

#: What runs in HTA's environment: one line of JSON a case.
CHILD = """
import json, logging, sys
from hta.trace_analysis import TraceAnalysis
logging.disable(logging.CRITICAL)
for path in sys.argv[1:]:
    try:
        analysis = TraceAnalysis(trace_files={0: path})
        rows = analysis.t.get_trace(0)
        on_device = int((rows["stream"] >= 0).sum()) if "stream" in rows else 0
        said = f"{on_device} device + {len(rows) - on_device} other rows"
        breakdown = analysis.get_temporal_breakdown(visualize=False)
        said += f", idle {breakdown['idle_time(us)'].sum():g} µs"
    except BaseException as error:
        said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    print(json.dumps(said))
"""

INTRODUCTION = """# What becomes of damaged and odd traces

Each row is a small trace (an operator, its launch and its kernel) with one thing wrong that real traces are known to
have. *Expected and found* is what Inferometer makes of it, in the words of the tests: spans that can be used, what was
lost or kept after a repair, idle time of the device, steps, and the share of what should be there that is. It is
checked by `tests/analyzer/test_kineto_damage.py` on every run. Below a coverage of 90 % no bottleneck is named.

The last column is HTA (`traceinsight` 0.6.1, pandas 2): rows on a device and others, and the idle time of its temporal
breakdown; or the exception that loading or the breakdown ended in. Written by `benchmarks/trace_robustness.py`.

Not in the table, since they are no files of three events: bombs. A gzip or zstd bomb, a name of 10 GB, endless brackets
and more spans than memory holds are refused in one sentence after 16 MiB of text without an event, 16 GiB of text, or
67 million spans, whichever comes first.
"""


def main() -> None:
    """Make the files, look at each twice, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hta-python", type=Path, required=True, help="Python of an environment with traceinsight")
    options = parser.parse_args()

    page = INTRODUCTION
    with tempfile.TemporaryDirectory() as folder:
        for title, cases in SECTIONS.items():
            paths = [_written(Path(folder), number, case) for number, case in enumerate(cases)]
            page += f"\n## {title}\n\n| input | seen in | expected and found | HTA |\n|---|---|---|---|\n"
            for case, path, theirs in zip(cases, paths, _hta(options.hta_python, paths), strict=True):
                page += f"| {case.what} | {case.seen} | {outcome(path)[0]} | {_cell(theirs)} |\n"
    DOCUMENT.write_text(page, "utf-8")
    print(f"wrote {DOCUMENT}")


def _written(folder: Path, number: int, case: Case) -> Path:
    path = folder / str(number) / case.file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(case.content)
    return path


def _hta(python: Path, paths: list[Path]) -> list[str]:
    """What HTA says of each file; one process a file, since some take it down."""
    said = []
    for path in paths:
        done = subprocess.run([str(python), "-c", CHILD, str(path)], capture_output=True, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith('"')]
        said.append(json.loads(lines[-1]) if lines else f"exit code {done.returncode}")
    return said


def _cell(words: str) -> str:
    """Text that stays within one cell, without the folder of the file."""
    short = words.replace("|", "/").replace("`", "'")
    return short if len(short) <= 90 else short[:89] + "…"  # noqa: PLR2004 - a cell of a table


if __name__ == "__main__":
    main()
