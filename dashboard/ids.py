"""The name of every component that a callback reads or writes, in one place.

A function takes the name of one thing, or dash's ``ALL`` or ``MATCH`` for each of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

ADDRESS = "address"
PICKER = "picker"
TABS = "tabs"
HEADER = "header"
OVERVIEW = "overview"
CLOCK = "clock"
#: What is shown, as it was last read: ``source`` and ``version``.
SHOWN = "shown"
#: The part of the time axis that all panels of a run share; None is all of it.
RANGE = "range"
PAGE = "page"
#: The page that stands there, and the kind of source it was built for.
BUILT = "built"
#: The traces of the source that is shown, the list of them, and the one that is looked at.
TRACES = "traces"
TRACE_LIST = "trace-list"
TRACE = "trace"

Name = Any


def panel(name: Name) -> dict[str, Name]:
    """The graph of a panel."""
    return {"type": "panel", "name": name}


def tab(page: Name) -> dict[str, Name]:
    """The tab of a page."""
    return {"type": "tab", "name": page}


def tables(page: str) -> str:
    """The tables of a page."""
    return f"tables-{page}"


def card(source: Name) -> dict[str, Name]:
    """The card of a source."""
    return {"type": "card", "name": source}


def version(source: Name) -> dict[str, Name]:
    """The version that the card of a source shows."""
    return {"type": "version", "name": source}


def trace_row(name: Name) -> dict[str, Name]:
    """The line of a trace in the list of traces."""
    return {"type": "trace-row", "name": name}


def trace_button(name: Name) -> dict[str, Name]:
    """What opens a trace of the list."""
    return {"type": "trace-button", "name": name}


def is_click(triggered: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a click caused a callback; a button that has only just appeared causes one, too, and was not clicked."""
    return any("trace-button" in cause["prop_id"] and (cause["value"] or 0) > 0 for cause in triggered)
