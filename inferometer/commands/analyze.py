"""Name the bottleneck of traces and runs."""

import io
import pkgutil
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from analyzer import reports
from analyzer.wording import plain
from collector.errors import UserError
from inferometer import _output
from inferometer._extras import import_extra
from inferometer._options import Paths, Price
from inferometer._progress import progress

if TYPE_CHECKING:
    from analyzer.pipeline import Timings
    from analyzer.schema import Analysis

#: Known by their file names: loading them takes the extra, and ``--help`` must not.
_FORMATS = [info.name for info in pkgutil.iter_modules(reports.__path__) if not info.name.startswith("_")]
_ABSTAINED = 3


def run(  # noqa: PLR0913 - each argument is an option
    paths: Paths,
    *,
    form: Annotated[
        str, typer.Option("--format", "-f", metavar="FORMAT", help=f"One of: {', '.join(_FORMATS)}.")
    ] = "text",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file instead of stdout.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Everything: kernels, steps, windows.")] = False,
    timings: Annotated[bool, typer.Option("--timings", help="Say on stderr how long each step took.")] = False,
    price: Price = None,
    window: Annotated[float, typer.Option(metavar="SECONDS", help="Width of a window of a run.", min=0.1)] = 5.0,
) -> None:
    """Name the bottleneck of a trace or a run, with the evidence, the latency and the cost.

    Exit code 3 means that every verdict abstains.

    Examples:
    ```
    inferometer analyze trace.json.gz
    inferometer analyze runs/monday --format html -o report.html
    inferometer analyze runs/ --format json | jq '.[].verdict.bottleneck'
    ```
    """
    if form not in _FORMATS:
        raise UserError(f"there is no format “{form}”; choose one of {', '.join(_FORMATS)}")
    if output is not None:
        _output.check(output, force=force)
    elif form == "html" and sys.stdout.isatty():
        raise UserError("a web page is no text for a terminal; name a file with -o report.html")
    steps: list[tuple[str, float]] = []
    analyses = _analyses(paths, price, window, steps)
    began_s = time.perf_counter()
    _write(analyses, form, output, full=full)
    steps.append((f"report as {form}", time.perf_counter() - began_s))
    if timings:
        Console(stderr=True).print(_timings(steps))
    if all(analysis.verdict.abstained is not None for analysis in analyses):
        raise typer.Exit(_ABSTAINED)


def _analyses(
    paths: list[Path], price: float | None, window_s: float, steps: list[tuple[str, float]]
) -> "list[Analysis]":
    """Analyse every source under the paths, once, and note how long each step took."""
    pipeline = import_extra("analyzer.pipeline", "analyzer")
    console = Console(stderr=True)
    sources = list(dict.fromkeys(source for path in paths for source in pipeline.find_sources(path)))
    analyses = []
    for number, source in enumerate(sources, start=1):
        place = f" ({number} of {len(sources)})" if len(sources) > 1 else ""
        timings: Timings = pipeline.Timings()
        with progress(f"reading {plain(source.name, 50)}{place}", console) as report:
            analyses.append(
                pipeline.analyze(
                    source, price_usd_per_gpu_hour=price, window_s=window_s, progress=report, timings=timings
                )
            )
        steps.extend(timings.steps)
    return analyses


def _write(analyses: "list[Analysis]", form: str, output: Path | None, *, full: bool) -> None:
    report: Any = import_module(f"{reports.__name__}.{form}")
    if output is None:
        report.write(analyses, sys.stdout, full=full)
        return
    text = io.StringIO()
    report.write(analyses, text, full=full)
    _output.write(output, text.getvalue())


def _timings(steps: list[tuple[str, float]]) -> Table:
    """Seconds by step, summed over the sources, in the order of the work."""
    totals: dict[str, float] = {}
    for name, seconds in steps:
        totals[name] = totals.get(name, 0.0) + seconds
    table = Table("step", box=None, pad_edge=False)
    table.add_column("seconds", justify="right")
    for name, seconds in [*totals.items(), ("total", sum(totals.values()))]:
        table.add_row(name, f"{seconds:.3f}")
    return table
