"""Say what can be measured here, what cannot, and what would grant it."""

import os
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from analyzer.wording import label, plain, quantity
from collector.errors import UserError
from inferometer._extras import import_extra

if TYPE_CHECKING:
    from collector.checks import Finding
    from collector.doctor import Metric, Report

_FORMATS = ("text", "json")
_NOT_POSSIBLE = 3
_NARROWEST, _WIDEST = 80, 120
#: Columns for what was looked for, and of what.
_WHAT = 24
#: The worst first.
_STATES = ("missing", "degraded", "ok")
_MARKS = {"missing": "✗", "degraded": "~", "ok": "✓"}
_STYLES = {"missing": "red", "degraded": "yellow", "ok": "green"}
#: A sentence may hold a command line to paste.
_LONGEST = 4000


def run(
    *,
    endpoint: Annotated[str | None, typer.Option(help="Base URL of the inference server.", metavar="URL")] = None,
    engine: Annotated[str | None, typer.Option(help="Its engine; by default it is recognised.")] = None,
    pid: Annotated[
        int | None, typer.Option(help="A process of the server; by default found from the endpoint.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Try whether a run folder can be recorded here.", metavar="DIR")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", "-f", metavar="FORMAT", help=f"One of: {', '.join(_FORMATS)}.")
    ] = "text",
    full: Annotated[bool, typer.Option("--full", help="Also list every metric, with its value or why not.")] = False,
    config: Annotated[Path | None, typer.Option(help="A TOML file with the options of collect.")] = None,
) -> None:
    """Say what can be measured here, what cannot, why, and what would grant it.

    Takes about two seconds, starts no process and changes nothing on the server. Exit code 3 means that something
    is missing which a verdict needs. Every option of collect may also be set as INFEROMETER_<OPTION>.

    Examples:
    ```
    inferometer doctor
    inferometer doctor --endpoint http://127.0.0.1:8000 --run runs/monday
    inferometer doctor --format json | jq '.findings[] | select(.state != "ok")'
    ```
    """
    configuration = import_extra("collector.config", "collector")
    doctor = import_extra("collector.doctor", "collector")
    if form not in _FORMATS:
        raise UserError(f"there is no format “{form}”; choose one of {', '.join(_FORMATS)}")
    flags = {"endpoint": endpoint, "engine": engine, "pid": pid, "run": run}
    report: Report = doctor.examine(configuration.load_options(flags, os.environ, config))
    if form == "json":
        msgspec = import_extra("msgspec", "collector")
        typer.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        _print(report, doctor.titles(), full=full)
    if not report.verdict_possible:
        raise typer.Exit(_NOT_POSSIBLE)


def _print(report: "Report", titles: dict[str, str], *, full: bool) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = min(max(console.width, _NARROWEST), _WIDEST)
    with console.capture() as captured:
        console.print(*_page(report, titles, full=full), sep="\n")
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _page(report: "Report", titles: dict[str, str], *, full: bool) -> Iterator[Text | Table | Group]:
    """The checks with the worst findings first, every metric if asked for, and the last word."""
    checks = {name: [each for each in report.findings if each.check == name] for name in titles}
    for name, findings in sorted(checks.items(), key=lambda check: min(map(_rank, check[1]), default=(9, 9))):
        if findings:
            yield Group(Text(titles[name], style="bold"), _table(findings), Text())
    if full:
        for subject, metrics in groupby(report.metrics, key=lambda metric: (metric.source, metric.subject)):
            yield Group(Text(plain(" ".join(subject)), style="bold"), _metrics(metrics), Text())
    yield Text(plain(report.summary, _LONGEST), style="bold")


def _rank(finding: "Finding") -> tuple[int, int]:
    """What keeps a verdict from being had comes first."""
    return _STATES.index(finding.state), int(finding.needed_for != "verdict")


def _table(findings: Iterable["Finding"]) -> Table:
    """A row for what was found, of all subjects of which it was found alike; below it what would grant more."""
    alike: dict[tuple[str, str, str, str | None], list[Finding]] = {}
    for finding in sorted(findings, key=_rank):
        alike.setdefault((finding.state, finding.name, finding.reason, finding.remedy), []).append(finding)
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", width=_WHAT)
    table.add_column(overflow="fold", ratio=1)
    for (state, name, reason, remedy), group in alike.items():
        subjects = plain(", ".join(finding.subject for finding in group), 100)
        what = Text.assemble(name.replace("_", " "), ("\n" + subjects, "dim"))
        said = Text(plain(reason, _LONGEST))
        if remedy:
            said.append(f"\n→ {plain(remedy, _LONGEST)}", style="cyan")
        table.add_row(Text(f" {_MARKS[state]}", style=_STYLES[state]), what, said)
    return table


def _metrics(metrics: Iterable["Metric"]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for metric in metrics:
        absent = metric.value is None
        value = plain(metric.reason or "", _LONGEST) if absent else quantity(metric.quantity, metric.value)
        table.add_row(f" {_MARKS['missing' if absent else 'ok']}", label(metric.quantity), Text(value))
    return table
