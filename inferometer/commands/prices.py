"""List the prices of GPUs, each with its source and its age."""

import datetime as dt
import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from collector.errors import UserError
from inferometer._extras import import_extra
from inferometer._options import PricesFile

if TYPE_CHECKING:
    from analyzer.schema import Price

_FORMATS = ("text", "json")
#: What a list wants of a reader's width before its sources are cut.
_WIDE = 160


def run(
    gpu: Annotated[str | None, typer.Argument(metavar="[GPU]", help="Only prices of GPUs whose name has this.")] = None,
    *,
    prices: PricesFile = None,
    form: Annotated[str, typer.Option("--format", "-f", metavar="FORMAT", help="One of: text, json.")] = "text",
) -> None:
    """List the prices of GPUs that are known here, each with its source and the day it was read.

    Nothing is fetched: prices come with the program, and from your own file, whose rows stand first. The first row that
    fits a GPU is the one that `analyze` uses, the others are shown beside it. Prices read more than 90 days ago are
    marked as old.

    A row of your file:
    ```
    [[price]]
    gpu = "NVIDIA L40"           # as nvidia-smi names it, or a part of that
    usd_per_gpu_hour = 0.99      # or [{from = 2026-11-01, usd_per_gpu_hour = 0.99}, …] where it changes
    read_on = 2026-11-21
    market = "spot"              # and, where you like, provider, sku, region, source, includes_power = false
    ```

    Examples:
    ```
    inferometer prices H100
    inferometer prices --format json | jq '.prices[].usd_per_gpu_hour'
    inferometer prices --prices ours.toml
    ```
    """
    if form not in _FORMATS:
        raise UserError(f"there is no format “{form}”; choose one of {', '.join(_FORMATS)}")
    known = import_extra("analyzer.prices", "analyzer").load_prices(prices)
    named = re.compile(rf"\b{re.escape(gpu)}\b" if gpu else "", re.IGNORECASE)
    rows = [price for price in known.rows if named.search(price.gpu)] or list(known.of(gpu or ""))
    if not rows:
        raise UserError(
            f"no price is known for “{gpu}”: add one in a file for --prices, as inferometer prices -h shows"
        )
    today = dt.datetime.now(dt.UTC).date()
    if form == "json":
        _print_json(rows, today)
    else:
        _print_text(rows, today)


def _print_json(rows: list["Price"], today: dt.date) -> None:
    msgspec = import_extra("msgspec", "analyzer")
    is_old = import_extra("analyzer.tables.money", "analyzer").is_old
    found = [{**msgspec.to_builtins(price), "old": is_old(price, today)} for price in rows]
    text = msgspec.json.format(msgspec.json.encode({"schema_version": 1, "prices": found}), indent=2)
    sys.stdout.write(text.decode() + "\n")


def _print_text(rows: list["Price"], today: dt.date) -> None:
    grid = import_extra("analyzer.tables.money", "analyzer").prices(rows, today)
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _WIDE)
    table = Table(box=None, pad_edge=False)
    for column in grid.columns:
        figure = column.kind == "figure"
        table.add_column(Text(column.title), justify="right" if figure else "left", no_wrap=figure)
    for row in grid.rows:
        table.add_row(*map(Text, row))
    with console.capture() as captured:
        console.print(table)
        if any(price.changes for price in rows):
            console.print(Text("* the newest of several: it changes"))
        if any("(old)" in cell for row in grid.rows for cell in row):
            console.print(Text("(old): read more than 90 days ago, so check it"))
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
