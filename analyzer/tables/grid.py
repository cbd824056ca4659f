"""A table as text ready to show, whoever shows it: every cell is safe to print, nothing is escaped for HTML."""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from analyzer.bottlenecks import BOTTLENECKS, Bottleneck, bottleneck


class Column(NamedTuple):
    """One column."""

    #: May hold a line break where there is little room.
    title: str
    #: ``figure``: aligned to the right and never cut. ``class``: a letter and a bottleneck class. Else ``words``.
    kind: Literal["figure", "class", "words"]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """One table."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]

    def head(self, rows: int) -> "Grid":
        """The first rows."""
        return replace(self, rows=self.rows[:rows])


def columns(*titles: str) -> tuple[Column, ...]:
    """Columns by their titles; ``>`` before a title stands for figures, ``@`` for bottleneck classes."""
    kinds: dict[str, Literal["figure", "class"]] = {">": "figure", "@": "class"}
    return tuple(Column(title.lstrip(">@"), kinds.get(title[:1], "words")) for title in titles)


def class_name(name: str) -> str:
    """A bottleneck class with its letter: ``B batching``."""
    item = bottleneck(name)
    return f"{item.letter} {item.title}"


def class_of(cell: str) -> Bottleneck:
    """The class whose letter a cell begins with."""
    return next((item for item in BOTTLENECKS.values() if item.letter == cell[:1]), BOTTLENECKS["unknown"])
