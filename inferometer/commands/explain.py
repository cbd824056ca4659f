"""Print what a bottleneck class means, how it shows, and what to try."""

import difflib
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analyzer.bottlenecks import BOTTLENECKS, Bottleneck
from collector.errors import UserError
from collector.plugins import discover
from inferometer._extras import import_extra

_READABLE_COLUMNS = 100


def run(
    name: Annotated[str | None, typer.Argument(metavar="[ID]", help="A bottleneck class, such as batching.")] = None,
) -> None:
    """Explain a bottleneck class: what you see, why, what to try. Without ID, list them all.

    Examples:
    ```
    inferometer explain
    inferometer explain memory_bandwidth
    ```
    """
    console = Console()
    console.width = min(console.width, _READABLE_COLUMNS)
    if name is None:
        console.print(_every_class())
        return
    from rich.markdown import Markdown  # noqa: PLC0415 - 30 ms, and every other command pays them too

    item = find(name)
    console.print(_heading(item), "", Markdown(_page(item)), sep="\n")


def find(name: str) -> Bottleneck:
    """The class of that id, spelled with hyphens or underscores.

    Raises:
        UserError: There is none; the message names the closest ids.
    """
    asked = name.strip().lower().replace("-", "_").replace(" ", "_")
    if asked in BOTTLENECKS:
        return BOTTLENECKS[asked]
    close = difflib.get_close_matches(asked, BOTTLENECKS, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "inferometer explain lists them all"
    raise UserError(f"there is no bottleneck class “{name}”; {hint}")


def _page(item: Bottleneck) -> str:
    """The rule's own docstring; the bare meaning for a class that no rule finds yet."""
    rules = import_extra("analyzer.rules", "analyzer")
    import_extra("analyzer.schema", "analyzer")
    rule = discover(rules).get(item.id)
    if rule is None or rule.__doc__ is None:
        meaning = f"{item.meaning[0].upper()}{item.meaning[1:]}."
        return meaning if item.id == "unknown" else f"{meaning}\n\nNo rule of this version finds it yet."
    return f"{rule.__doc__}\n\n**First thing to try.** {rule.REMEDY}"


def _chip(item: Bottleneck) -> Text:
    return Text(f" {item.letter} ", style=f"bold {item.ink} on {item.colour}")


def _heading(item: Bottleneck) -> Text:
    return Text.assemble(_chip(item), "  ", (item.title, "bold"))


def _every_class() -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for item in BOTTLENECKS.values():
        table.add_row(_chip(item), Text(item.id, style="bold"), Text(item.meaning))
    return table
