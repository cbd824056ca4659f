"""Say what explains that one trace took longer than another, or what changed from one run to another."""

import io
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from analyzer import reports
from analyzer.wording import plain
from collector.errors import UserError
from inferometer import _output
from inferometer._extras import import_extra
from inferometer._options import Price, PricesFile
from inferometer._progress import progress

if TYPE_CHECKING:
    from analyzer.schema import Comparison, RunComparison

_FORMATS = ("text", "json")


def run(  # noqa: PLR0913 - each argument is an option
    before: Annotated[Path, typer.Argument(metavar="A", help="A trace, or a run.", show_default=False)],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another, to hold against it.", show_default=False)],
    *,
    form: Annotated[
        str, typer.Option("--format", "-f", metavar="FORMAT", help=f"One of: {', '.join(_FORMATS)}.")
    ] = "text",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file instead of stdout.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Every part that differs, every phase of runs.")] = False,
    price: Price = None,
    prices: PricesFile = None,
) -> None:
    """Say what explains the difference in time between two traces, or what changed between two runs.

    Where both traces have LLM steps the mean step is compared, else the whole window. The parts add up to the
    difference to the nanosecond. Kernels are matched by name; those that only one trace has, by family.

    Of two runs: throughput, latency, cost, energy and the shares of the bottlenecks, overall and by phase of one name,
    each change with the interval that holds it and whether that is more than noise.

    Examples:
    ```
    inferometer compare monday.pt.trace.json.gz tuesday.pt.trace.json.gz
    inferometer compare a.json b.json --format json | jq '.parts[0]'
    inferometer compare runs/before runs/after
    inferometer compare runs/before runs/after --price 2.50 --full
    ```
    """
    if form not in _FORMATS:
        raise UserError(f"there is no format “{form}” for a comparison; choose one of {', '.join(_FORMATS)}")
    if output is not None:
        _output.check(output, force=force)
    pipeline = import_extra("analyzer.pipeline", "analyzer")
    billing = import_extra("analyzer.billing", "analyzer")
    pricing = billing.Pricing(usd_per_gpu_hour=price, prices=billing.load_prices(prices))
    with progress(f"reading {plain(before.name, 40)} and {plain(after.name, 40)}", Console(stderr=True)) as report:
        found: Comparison | RunComparison = pipeline.compare(before, after, report, pricing)
    writer: Any = import_module(f"{reports.__name__}.{form}")
    if output is None:
        writer.write_comparison(found, sys.stdout, full=full)
        return
    text = io.StringIO()
    writer.write_comparison(found, text, full=full)
    _output.write(output, text.getvalue())
