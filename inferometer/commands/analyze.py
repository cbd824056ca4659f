"""Name the bottleneck of traces and runs."""

import pkgutil
import sys
import time
from contextlib import nullcontext
from functools import partial
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
from inferometer._options import Paths, Price, PricesFile
from inferometer._progress import progress

if TYPE_CHECKING:
    from analyzer.many import Outcome

#: Known by their file names: loading them takes the extra, and ``--help`` must not.
_FORMATS = [info.name for info in pkgutil.iter_modules(reports.__path__) if not info.name.startswith("_")]
_FAULT, _ABSTAINED = 1, 3


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
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", help="Sources read at a time; by default one a core.", min=1)
    ] = None,
    timings: Annotated[bool, typer.Option("--timings", help="Say on stderr how long each step took.")] = False,
    price: Price = None,
    prices: PricesFile = None,
    usd_per_kwh: Annotated[
        float | None,
        typer.Option("--usd-per-kwh", help="Dollars per kWh, where the price leaves power out.", metavar="USD", min=0),
    ] = None,
    pue: Annotated[float, typer.Option(help="Energy of the building over that of its servers.", min=1)] = 1.0,
    gpu_share: Annotated[
        str | None,
        typer.Option(
            "--gpu-share", metavar="SHARE", help="Of a shared GPU: 0.5, a MIG profile (3g.40gb), or pids:812,815."
        ),
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(help="GPUs of the server, where they are not all of the run.", min=1)
    ] = None,
    window: Annotated[float, typer.Option(metavar="SECONDS", help="Width of a window of a run.", min=0.1)] = 5.0,
    slo: Annotated[
        str | None, typer.Option(metavar="FILE|NAME", help="Targets of a run: a TOML file, or published ones by name.")
    ] = None,
    requests: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Requests of a run as a benchmark or spans tell them.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="config.json of a trace's model: what its steps must read at the least."),
    ] = None,
    model_gpus: Annotated[
        int | None, typer.Option("--model-gpus", help="GPUs that share each layer of the model.", min=1)
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Keep what was read of a trace in a file beside it, for the next time.")
    ] = False,
) -> None:
    """Name the bottleneck of a trace or a run, with the evidence, the latency and the cost.

    Several sources share one table, the one with the most time to win back first. Exit code 2 means that one of them
    could not be used, 3 that every verdict abstains.

    Examples:
    ```
    inferometer analyze trace.json.gz
    inferometer analyze runs/monday --format html -o report.html
    inferometer analyze runs/monday --slo llama-3.1-8b-interactive
    inferometer analyze runs/ --format json | jq '.[].verdict.bottleneck'
    inferometer analyze runs/monday --format focus -o charges.csv
    inferometer analyze runs/owned --price 1.80 --usd-per-kwh 0.12 --pue 1.3
    inferometer analyze decode.json.gz --model config.json --full
    inferometer analyze decode.json.gz --format perfetto -o found.json.gz
    ```
    """
    if form not in _FORMATS:
        raise UserError(f"there is no format “{form}”; choose one of {', '.join(_FORMATS)}")
    if output is not None:
        _output.check(output, force=force)
    elif form == "html" and sys.stdout.isatty():
        raise UserError("a web page is no text for a terminal; name a file with -o report.html")
    report: Any = import_extra(f"{reports.__name__}.{form}", "analyzer")
    known = None if model is None else import_extra("analyzer.model", "analyzer").load_model(model, model_gpus)
    billing = import_extra("analyzer.billing", "analyzer")
    pricing = billing.Pricing(
        usd_per_gpu_hour=price,
        prices=billing.load_prices(prices),
        usd_per_kwh=usd_per_kwh,
        pue=pue,
        gpu_share=gpu_share,
        gpus=gpus,
    )
    targets = None if slo is None else import_extra("analyzer.slo", "analyzer").load_slo(slo)
    options = {
        "slo": targets, "requests": requests,
        "price_usd_per_gpu_hour": price, "pricing": pricing, "window_s": window, "model": known, "cache": cache,
    }  # fmt: skip
    keep = getattr(report, "WITH_DATA", False)
    outcomes = _outcomes(paths, options | {"keep": True} if keep else options, jobs)
    began_s = time.perf_counter()
    # What is loaded of a source is kept for one at a time.
    more = {"data": [outcome.data for outcome in outcomes]} if keep else {}
    analyses = [outcome.analysis for outcome in outcomes]
    with nullcontext(sys.stdout) if output is None else _output.writing(output) as out:
        report.write(analyses, out, full=full, **more)
    if timings:
        steps = [step for outcome in outcomes for step in outcome.timings]
        Console(stderr=True).print(_timings([*steps, (f"report as {form}", time.perf_counter() - began_s)]))
    _leave(outcomes)


def _outcomes(paths: list[Path], options: dict[str, Any], jobs: int | None) -> "list[Outcome]":
    """What becomes of every source under the paths, each once; where there is one alone, its trouble is the user's."""
    many = import_extra("analyzer.many", "analyzer")
    console = Console(stderr=True)
    sources = list(dict.fromkeys(source for path in paths for source in many.find_sources(path)))
    analyse = partial(many.analyse, **options)
    if len(sources) > 1 and "keep" in options:
        raise UserError(f"this format shows one source at a time, and here are {len(sources)}: name one of them")
    if len(sources) > 1 and options["requests"] is not None:
        raise UserError(f"the requests of one file belong to one run, and here are {len(sources)} sources: name one")
    if len(sources) == 1:
        with progress(f"reading {plain(sources[0].name, 50)}", console) as report:
            return [analyse(sources[0], report)]
    with progress(f"reading {len(sources)} sources", console) as report:
        outcomes: list[Outcome] = many.outcomes(sources, analyse, jobs or many.cores(), report)
    return outcomes


def _leave(outcomes: "list[Outcome]") -> None:
    """Say what failed, and end with the exit code that tells who has to act."""
    for outcome in outcomes:
        if outcome.fault:
            sys.stderr.write(outcome.fault)
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    if any(outcome.fault for outcome in failed):
        raise typer.Exit(_FAULT)
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise UserError(f"{len(failed)} of {len(outcomes)} sources cannot be used: {failed[0].failure}{more}")
    if all(outcome.analysis.verdict.abstained is not None for outcome in outcomes):
        raise typer.Exit(_ABSTAINED)


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
