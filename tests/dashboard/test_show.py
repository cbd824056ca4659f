"""What the callbacks answer, without a page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from dash import no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from analyzer import panels
from collector.plugins import discover
from dashboard import ids, layout, pages, show
from dashboard.data import Library
from tests.dashboard import runs

PANELS = discover(panels)
PAGES = discover(pages)
SAMPLE = Path(__file__).parents[2] / "sample_traces" / "vllm_h200"
TRACE = SAMPLE / "traces" / "decode_c32.pt.trace.json.gz"


@pytest.fixture(name="library", scope="module")
def _library() -> Library:
    return Library([SAMPLE, TRACE], reference=SAMPLE)


@pytest.fixture(name="state", scope="module")
def _state(library: Library) -> dict[str, str]:
    return {"source": "vllm_h200", "version": library.version("vllm_h200")}


def words(answer: Any) -> str:
    """All text of components, in order."""
    return " ".join(_words(answer))


def _words(answer: Any) -> Iterator[str]:
    if isinstance(answer, str):
        yield answer
    elif isinstance(answer, list | tuple):
        for item in answer:
            yield from _words(item)
    elif isinstance(answer, Component):
        yield from _words(getattr(answer, "children", None))


def test_a_page_that_asks_first_is_told_every_version(library: Library, state: dict[str, str]) -> None:
    shown, versions = show.poll(library, None, "vllm_h200", None, [None, None])
    assert shown == state
    assert versions == [library.version(entry.id) for entry in library.entries]


def test_a_page_that_knows_is_told_nothing(library: Library, state: dict[str, str]) -> None:
    known = [library.version(entry.id) for entry in library.entries]
    assert show.poll(library, 7, "vllm_h200", state, known) == (no_update, [no_update, no_update])


def test_until_the_address_is_read_no_source_is_shown(library: Library) -> None:
    shown, versions = show.poll(library, 0, None, None, [None, None])
    assert shown is no_update
    assert None not in versions


@pytest.mark.parametrize("name", [name for name, panel in PANELS.items() if panel.KIND == "run"])
def test_every_panel_of_a_run_is_drawn(library: Library, state: dict[str, str], name: str) -> None:
    figure = show.draw(PANELS[name], library, state, None)
    assert sum(len(trace.x) for trace in figure.data if trace.x is not None) >= 5


@pytest.mark.parametrize("name", [name for name, panel in PANELS.items() if panel.KIND == "trace"])
def test_every_panel_of_a_trace_is_drawn(library: Library, state: dict[str, str], name: str) -> None:
    figure = show.draw_trace(PANELS[name], library, TRACE.name, state)
    assert figure.data


def test_a_new_panel_shows_the_part_of_the_axis_that_all_show(library: Library, state: dict[str, str]) -> None:
    span = ["2026-11-21 16:59:00", "2026-11-21 16:59:10"]
    figure = show.draw(PANELS["ribbon"], library, state, span)
    assert [str(end) for end in figure.layout.xaxis.range] == [f"{end}" for end in span]
    assert show.draw(PANELS["reference"], library, state, span).layout.xaxis.type == "log"


@pytest.mark.parametrize("answer", [show.header_of, show.traces])
def test_nothing_is_answered_before_there_is_something_to_show(library: Library, answer: Any) -> None:
    with pytest.raises(PreventUpdate):
        answer(library, None, *([None] if answer is show.traces else []))


def test_the_card_says_what_holds_the_server_back_and_what_it_costs(library: Library) -> None:
    text = words(show.card(library, "1", {"name": "vllm_h200"}))
    for part in ("M", "memory bandwidth", "confidence 0.9", "SM active", "NVML says", "First token, p99", "Waiting"):
        assert part in text
    assert "$0.1" in text
    assert "/ 1,000" in text
    assert "this is the reference" in text


def test_the_card_of_a_trace_leads_to_it(library: Library) -> None:
    card = show.card(library, "1", {"name": TRACE.name})
    assert "?source=decode_c32.pt.trace.json.gz" in str(card)
    assert "GPU busy" in words(card)


def test_a_card_waits_for_its_version(library: Library) -> None:
    with pytest.raises(PreventUpdate):
        show.card(library, None, {"name": TRACE.name})


def test_the_header_names_the_hardware_the_price_and_the_reference(library: Library, state: dict[str, str]) -> None:
    text = words(show.header_of(library, state))
    for part in ("1 × H200", "/ GPU-hour", "reference: vLLM 0.23.0 on H200", "recorded 2026-11-21"):
        assert part in text


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if "trace" not in page.KINDS])
def test_every_page_has_its_tables(library: Library, state: dict[str, str], name: str) -> None:
    assert "A1_decode_c32" in words(show.tables_of(PAGES[name], library, state))


def test_the_page_of_a_trace_has_its_kernels(library: Library, state: dict[str, str]) -> None:
    assert "gemm" in words(show.trace_tables(PAGES["traces"], library, TRACE.name, state))


def test_the_traces_of_a_run_are_listed_once(library: Library, state: dict[str, str]) -> None:
    found = show.traces(library, state, None)
    assert len(found["names"]) == 6
    assert show.traces(library, state, found) is no_update
    assert len(show.trace_list(found)) == 6


def test_a_trace_alone_is_its_own_trace(library: Library) -> None:
    found = show.traces(library, {"source": TRACE.name, "version": ""}, None)
    assert found["names"] == [TRACE.name]


def test_the_first_trace_that_tells_something_is_looked_at(library: Library) -> None:
    found = {"source": "vllm_h200", "names": ["idle.pt.trace.json.gz", TRACE.name, "prefill.pt.trace.json.gz"]}
    assert show.trace_choice(library, found, [], [], None, clicked=False)[1] == TRACE.name
    assert show.trace_choice(library, found | {"names": []}, [], [], None, clicked=False) == ([], None)


@pytest.mark.parametrize(
    ("clicks", "now", "clicked", "expected"),
    [
        ([None, None], "prefill", False, "prefill"),
        ([None, 5], "prefill", True, "low_rate"),
        ([7, 5], "prefill", True, "idle"),
        ([7, 5], "prefill", False, "prefill"),
        ([None, 5], None, False, "low_rate"),
    ],
)
def test_the_last_click_counts_even_when_it_was_overtaken(
    library: Library, clicks: list[int | None], now: str | None, expected: str, *, clicked: bool
) -> None:
    buttons = [{"type": "trace-button", "name": name} for name in ("idle", "low_rate")]
    found = {"source": "vllm_h200", "names": ["idle", "low_rate", "prefill"]}
    assert show.trace_choice(library, found, clicks, buttons, now, clicked=clicked)[1] == expected


def test_a_button_that_appears_is_no_click() -> None:
    prop_id = '{"name":"idle","type":"trace-button"}.n_clicks_timestamp'
    assert not ids.is_click([{"prop_id": prop_id, "value": None}, {"prop_id": "traces.data", "value": {"names": []}}])
    assert not ids.is_click([{"prop_id": prop_id, "value": -1}])
    assert ids.is_click([{"prop_id": prop_id, "value": None}, {"prop_id": prop_id, "value": 1_795_280_336_000}])


def test_a_trace_in_one_line_has_its_own_verdict(library: Library, state: dict[str, str]) -> None:
    assert "memory bandwidth · confidence" in words(show.trace_row(library, {"name": TRACE.name}, state))
    assert "no device work" in words(show.trace_row(library, {"name": "idle.pt.trace.json.gz"}, state))


def test_a_run_without_traces_says_so() -> None:
    assert "No trace was recorded" in words(show.trace_list({"source": "a", "names": []}))


def test_a_page_is_built_once(library: Library) -> None:
    page, built = show.page(PANELS, library, "cost", "vllm_h200", None)
    assert built == ["cost", "run"]
    assert page
    assert show.page(PANELS, library, "cost", "vllm_h200", built) == (no_update, no_update)


def test_a_trace_has_one_page_and_no_time_axis(library: Library) -> None:
    tabs = [{"type": "tab", "name": name} for name in PAGES]
    closed, style = show.doors(PAGES, library, TRACE.name, tabs)
    assert [tab["name"] for tab, is_closed in zip(tabs, closed, strict=True) if not is_closed] == ["traces"]
    assert style == {"display": "none"}
    assert show.doors(PAGES, library, "vllm_h200", tabs) == ([False] * 5, {})


def test_a_source_that_cannot_be_read_says_why_everywhere(tmp_path: Path) -> None:
    path = runs.finished(tmp_path / "<b>broken</b>")
    library = Library([path])
    (path / "samples.sqlite").write_bytes(b"not a database" * 100)
    state = {"source": path.name, "version": ""}
    figure: go.Figure = show.draw(PANELS["ribbon"], library, state, None)
    assert "no data: " in figure.layout.annotations[0].text
    assert "<b>" not in figure.layout.annotations[0].text
    assert "cannot be read" in str(show.card(library, "1", {"name": path.name}))
    assert "samples.sqlite" in words(show.tables_of(PAGES["cost"], library, state))
    assert show.header_of(library, state) == []


def test_every_panel_has_its_place() -> None:
    places = {"overview", *PAGES}
    assert {panel.PAGE for panel in PANELS.values()} <= places
    for name, page in PAGES.items():
        assert layout.panels_of(PANELS, name), f"{name} shows no picture"
        assert (page.__doc__ or "").rstrip().endswith("?")


def test_no_text_is_ever_handed_over_as_html(library: Library, state: dict[str, str]) -> None:
    everything = [
        show.card(library, "1", {"name": "vllm_h200"}),
        show.trace_tables(PAGES["traces"], library, TRACE.name, state),
        *show.page(PANELS, library, "traces", "vllm_h200", None)[0],
    ]
    assert "dangerously" not in str(everything)
