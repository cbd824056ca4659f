"""A page to keep or to send: one file that needs no network, in light and dark, and on paper."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TextIO

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analyzer import panels, theme
from analyzer.bottlenecks import bottleneck
from analyzer.formatting import percent
from analyzer.panels import View
from analyzer.schema import Analysis
from analyzer.tables import every as tables
from analyzer.tables import lines
from analyzer.tables.grid import class_of
from analyzer.wording import plain
from collector.plugins import discover

SUFFIX = ".html"

#: The dashboard's pages in the order of a report: what, since when, how sure; then why; then what it costs. The
#: reference needs a second analysis, which a report does not have.
_ROWS = 40
_HEIGHT = 300
_PAGES = ("overview", "traces", "utilization", "latency", "cost")


@dataclass(frozen=True)
class _Picture:
    """One panel, drawn."""

    title: str
    reading: str
    json: Markup
    height: int


def write(analyses: Sequence[Analysis], out: TextIO, *, full: bool) -> None:
    """Write the page; without ``full`` a long table shows its first rows."""
    templates = Environment(
        autoescape=True,
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    library = files("plotly").joinpath("package_data", "plotly.min.js").read_text("utf-8")
    page = templates.get_template("_html.jinja").render(
        analyses=analyses,
        titles=[plain(analysis.source.name, 80) for analysis in analyses],
        pictures=[list(_pictures(analysis)) for analysis in analyses],
        rows=None if full else _ROWS,
        bottleneck=bottleneck,
        class_of=class_of,
        lines=lines,
        percent=percent,
        tables=tables,
        plotly=Markup(library),  # noqa: S704 - plotly's own, as it was installed
        style=Markup(theme.STYLE),  # noqa: S704 - ours
    )
    out.write(page.strip() + "\n")


def _pictures(analysis: Analysis) -> Iterator[_Picture]:
    """Every panel that draws this kind of source, from the top of the page."""
    view = View(analysis=analysis)
    found = [panel for panel in discover(panels).values() if analysis.source.kind == panel.KIND]
    shown = [panel for panel in found if panel.PAGE in _PAGES]
    for panel in sorted(shown, key=lambda panel: (_PAGES.index(panel.PAGE), panel.ORDER, panel.TITLE)):
        figure = panel.figure(view)
        reading = " ".join((inspect.getdoc(panel) or "").partition("\n\n")[0].split())
        yield _Picture(panel.TITLE, reading, _embeddable(figure.to_json()), figure.layout.height or _HEIGHT)


def _embeddable(json: str) -> Markup:
    """JSON that cannot end the element it stands in, whatever the names in it are."""
    for char in "<>&":
        json = json.replace(char, f"\\u{ord(char):04x}")
    return Markup(json)  # noqa: S704 - just made safe
