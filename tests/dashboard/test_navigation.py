"""An address is a place, and every address leads to a place that exists."""

from pathlib import Path

import pytest

from collector.plugins import discover
from dashboard import ids, pages
from dashboard.data import Library
from dashboard.navigation import Place, go, link, pages_for
from tests.dashboard import runs

PAGES = discover(pages)


@pytest.fixture(name="library")
def _library(tmp_path: Path) -> Library:
    return Library([runs.finished(tmp_path / name) for name in ("a", "b & c")])


def test_an_address_opens_its_source_and_page(library: Library) -> None:
    search = link("b & c", "cost")
    assert go(library, PAGES, None, search=search, tab=None, source=None) == Place(search, "cost", "b & c")


@pytest.mark.parametrize("search", [None, "", "?", "?source=nowhere&tab=nothing", "?tab=%00", "?source=a&source="])
def test_any_other_address_opens_the_first(library: Library, search: str | None) -> None:
    assert go(library, PAGES, ids.ADDRESS, search=search, tab=None, source=None)[1:] == ("utilization", "a")


def test_an_address_without_a_page_keeps_the_one_that_is_open(library: Library) -> None:
    place = go(library, PAGES, ids.ADDRESS, search=link("b & c"), tab="cost", source="a")
    assert place == Place(link("b & c", "cost"), "cost", "b & c")


def test_a_tab_keeps_the_source_and_a_source_keeps_the_tab(library: Library) -> None:
    place = go(library, PAGES, ids.TABS, search=link("a", "cost"), tab="latency", source="b & c")
    assert place == Place(link("b & c", "latency"), "latency", "b & c")
    place = go(library, PAGES, ids.PICKER, search=link("b & c", "latency"), tab="latency", source="a")
    assert place == Place(link("a", "latency"), "latency", "a")


def test_pages_come_in_their_order() -> None:
    assert pages_for(PAGES, "run") == ["utilization", "latency", "cost", "reference", "traces"]
    assert pages_for(PAGES, "trace") == ["traces"]
