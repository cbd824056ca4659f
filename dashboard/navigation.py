"""Where a person is, as the address of the page says it: so that a link shows another person the same thing."""

from collections.abc import Mapping
from types import ModuleType
from typing import NamedTuple
from urllib.parse import parse_qs, urlencode

from dashboard import ids
from dashboard.data import Library


class Place(NamedTuple):
    """A source and a page that exists for it, and the address of the two from the question mark on."""

    search: str
    tab: str
    source: str


def link(source: str, tab: str | None = None) -> str:
    """The address of a source's page; of the page that is open, where none is named."""
    return f"?{urlencode({'source': source} | ({'tab': tab} if tab else {}))}"


def pages_for(pages: Mapping[str, ModuleType], kind: str) -> list[str]:
    """The pages that a kind of source has, in their order."""
    return sorted((name for name, page in pages.items() if kind in page.KINDS), key=lambda name: pages[name].ORDER)


def go(
    library: Library,
    pages: Mapping[str, ModuleType],
    trigger: str | None,
    *,
    search: str | None,
    tab: str | None,
    source: str | None,
) -> Place:
    """Where a person is after the address, the tabs or the picker changed; the address counts when a page opens.

    A source that is not there becomes the first one, a page that the source does not have its first one.
    """
    if trigger not in {ids.TABS, ids.PICKER}:
        asked = parse_qs((search or "").removeprefix("?"))
        source = asked.get("source", [""])[-1]
        tab = asked.get("tab", [tab])[-1]
    entry = library.entry(source)
    open_to_it = pages_for(pages, entry.kind)
    here = tab if tab in open_to_it else open_to_it[0]
    return Place(link(entry.id, here), here, entry.id)
