"""The pieces a terminal shows: a class's chip, the bar of shares, a table; each readable without colour."""

import math
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analyzer.bottlenecks import Bottleneck, bottleneck
from analyzer.formatting import percent
from analyzer.schema import Share
from analyzer.tables.grid import Grid, class_of

_WIDTH = 80
_WIDEST = 120
#: A column of words keeps this many, however little room there is.
_NARROWEST = 10


def console(out: TextIO) -> Console:
    """A console on a stream: as wide as a terminal is, within reason, and 80 columns elsewhere."""
    made = Console(file=out, highlight=False, markup=False, emoji=False)
    made.width = min(made.width, _WIDEST) if out.isatty() else _WIDTH
    return made


def _letter(item: Bottleneck) -> str:
    return f"bold {item.ink} on {item.colour}"


def chip(name: str) -> Text:
    """The letter of a bottleneck class on its colour."""
    item = bottleneck(name)
    return Text(f" {item.letter} ", style=_letter(item))


def bar(shares: Sequence[Share], width: int) -> Text:
    """Shares as one bar: a block each, as long as its share, that begins with the letter of its class."""
    line = Text(no_wrap=True)
    for share, cells in zip(shares, _cells([share.share for share in shares], width), strict=True):
        item = bottleneck(share.bottleneck)
        if cells:
            line.append(item.letter, style=_letter(item))
            line.append(("░" if item.id == "unknown" else "█") * (cells - 1), style=item.colour)
    return line


def _cells(parts: Sequence[float], width: int) -> list[int]:
    """Divide a width by shares, by largest remainders, so that the cells add up to it."""
    whole = sum(parts)
    if not whole:
        return [0] * len(parts)
    exact = [part / whole * width for part in parts]
    cells = [math.floor(part) for part in exact]
    by_remainder = sorted(range(len(parts)), key=lambda index: cells[index] - exact[index])
    for index in by_remainder[: width - sum(cells)]:
        cells[index] += 1
    return cells


def legend(shares: Sequence[Share], width: int) -> Text:
    """The letters of the bar in words, the largest share first, as many as fit on a line."""
    line = Text(no_wrap=True)
    seen = sorted((share for share in shares if share.share > 0), key=lambda share: -share.share)
    for index, share in enumerate(seen):
        item = bottleneck(share.bottleneck)
        words = f" {item.title} {percent(share.share)}   "
        more = f"and {len(seen) - index} more"
        if len(line) + 1 + len(words) + (len(more) if index + 1 < len(seen) else -3) > width:
            return line.append(more)
        line.append(item.letter, style=_letter(item))
        line.append(words)
    return line


def table(
    grid: Grid, width: int, *, wrap: bool = False, header: bool = True, only: Sequence[str] | None = None
) -> Table:
    """A grid as a table; figures are never cut, words end in ``…`` where there is no room, or wrap.

    Args:
        grid: What to show.
        width: Of the terminal.
        wrap: Let words wrap.
        header: Show the titles of the columns.
        only: The titles of the columns to show; all unless told.
    """
    chosen = [i for i, column in enumerate(grid.columns) if only is None or column.title in only]
    needed = {i: _longest_line([grid.columns[i].title, *(row[i] for row in grid.rows)]) for i in chosen}
    gap = 2 if sum(needed.values()) + 2 * len(chosen) <= width else 1
    made = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), show_header=header, header_style="dim")
    for i in chosen:
        title, kind = grid.columns[i]
        is_figure = kind == "figure"
        least = needed[i] if is_figure else min(needed[i], max(_NARROWEST, _longest_line([title])))
        made.add_column(
            Text(title),
            justify="right" if is_figure else "left",
            no_wrap=is_figure,
            overflow="fold",
            min_width=least if header else None,
        )
    for row in grid.rows:
        made.add_row(*(_cell(row[i], grid.columns[i].kind, wrap=wrap) for i in chosen))
    return made


def _longest_line(texts: Iterable[str]) -> int:
    return max(len(line) for text in texts for line in text.split("\n"))


def _cell(text: str, kind: str, *, wrap: bool) -> Text:
    cell = Text(text) if wrap else Text(text, no_wrap=True, overflow="ellipsis")
    if kind == "class":
        cell.stylize(_letter(class_of(text)), 0, 1)
    return cell
