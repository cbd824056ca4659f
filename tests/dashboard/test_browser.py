"""A real Chromium uses the real command: it sees figures, and nothing goes wrong or goes out."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, expect, sync_playwright

from tests.dashboard import runs

pytestmark = pytest.mark.browser

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
#: What the test machine may take, not what a person should wait.
_PATIENCE_MS = 30_000

TABS = {
    "Utilization": ("utilization", "power_clocks"),
    "Tail latency": ("latency", "queue"),
    "Cost": ("cost", "invoice", "throughput"),
    "Reference": ("reference",),
    "Traces": ("kernel_budget", "steps", "kernels"),
}


@dataclass
class Trouble:
    """What a page must not do: complain, fail, or reach for another machine."""

    found: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.found.append(f"page error: {error}"))
        page.on("request", self._request)
        page.on("requestfailed", lambda request: self.found.append(f"failed: {request.url} {request.failure}"))
        page.on("response", self._response)

    def _response(self, answer: Response) -> None:
        if not answer.ok:
            self.found.append(f"{answer.status}: {answer.url}")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.found.append(f"console {message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in {"data", "blob"} and address.hostname != "127.0.0.1":
            self.found.append(f"asks another machine: {request.url}")


@pytest.fixture(name="browser", scope="module")
def _browser() -> Iterator[Browser]:
    executable = next(filter(None, map(shutil.which, _NAMES)), None)
    if executable is None:
        hint = f"none of {', '.join(_NAMES)} is installed (Debian: sudo apt-get install chromium)"
        pytest.fail(hint) if os.environ.get("CI") else pytest.skip(hint)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(name="page")
def _page(browser: Browser) -> Iterator[Page]:
    """A page that fails its test if anything went wrong on it."""
    trouble = Trouble()
    with browser.new_context(viewport={"width": 1440, "height": 1000}) as context:
        page = context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        expect.set_options(timeout=_PATIENCE_MS)
        trouble.watch(page)
        yield page
        assert trouble.found == []


@pytest.fixture(name="served", scope="module")
def _served() -> Iterator[str]:
    """The address of the demo, started by the command a person types."""
    yield from _serve("demo")


def _serve(*arguments: str) -> Iterator[str]:
    command = [sys.executable, "-c", "from inferometer.cli import main; main()"]
    command += [*arguments, "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"Inferometer dashboard: (http://127\.0\.0\.1:\d+)\n", line)
        assert found, line
        try:
            yield found[1]
        finally:
            process.terminate()


def drawn(page: Page, panel: str) -> None:
    """Wait until a panel shows points."""
    page.wait_for_function(
        """name => {
            const plot = document.querySelector(`[id*='"name":"${name}","type":"panel"'] .js-plotly-plot`);
            return plot && plot.querySelector(".main-svg") && plot.calcdata
                && plot.calcdata.some(trace => trace.some(point => point.x !== undefined && point.x !== false));
        }""",
        arg=panel,
    )


def test_the_demo_answers_the_questions_in_ten_seconds(served: str, page: Page) -> None:
    page.goto(served)
    card = page.locator(".card")
    expect(card.locator(".badge.large")).to_have_text(re.compile(r"^[A-Z]$"))
    expect(card).to_contain_text(re.compile(r"\$\d[\d.,]* / 1,000"))
    expect(card).to_contain_text(re.compile(r"confidence [01]\.\d\d"))
    expect(page.locator(".header")).to_contain_text("reference: vLLM 0.23.0 on H200")
    drawn(page, "ribbon")


def test_every_tab_shows_its_pictures_and_tables(served: str, page: Page) -> None:
    page.goto(served)
    for title, panels in TABS.items():
        page.get_by_role("tab", name=title).click()
        for panel in panels:
            drawn(page, panel)
        expect(page.locator(".tables table").first).to_contain_text(re.compile(r"\d"))
        assert f"tab={panels[0] if title != 'Traces' else 'traces'}" in page.url


def test_a_link_shows_another_person_the_same(served: str, page: Page) -> None:
    page.goto(f"{served}/?source=vllm_h200&tab=cost")
    expect(page.get_by_role("tab", name="Cost")).to_have_attribute("aria-selected", "true")
    drawn(page, "cost")
    page.get_by_role("tab", name="Reference").press("Enter")
    drawn(page, "reference")
    page.go_back()
    expect(page.get_by_role("tab", name="Cost")).to_have_attribute("aria-selected", "true")


def test_zooming_one_panel_zooms_them_all_and_stays_on_the_next_page(served: str, page: Page) -> None:
    page.goto(served)
    for panel in ("ribbon", "utilization", "power_clocks"):
        drawn(page, panel)
    plot = page.locator("""[id*='"name":"utilization"'] .nsewdrag""").first
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 500, box["y"] + 70, steps=5)
    page.mouse.up()
    page.wait_for_function(_ONE_RANGE, arg=[3, True])
    page.get_by_role("tab", name="Tail latency").click()
    drawn(page, "latency")
    drawn(page, "queue")
    page.wait_for_function(_ONE_RANGE, arg=[3, True])
    page.locator("""[id*='"name":"queue"'] .nsewdrag""").first.hover()
    page.locator("""[id*='"name":"queue"'] [data-title="Autoscale"]""").click()
    page.wait_for_function(_ONE_RANGE, arg=[3, False])


#: Whether this many panels show one and the same range, and whether that is a part of the whole.
_ONE_RANGE = """([count, part]) => {
    const plots = [...document.querySelectorAll(".panel.run .js-plotly-plot")];
    const span = range => (new Date(range[1]) - new Date(range[0])) / 1000;
    const ends = range => range.map(end => Math.round(new Date(end) / 10)).join();
    const ranges = plots.map(plot => plot._fullLayout.xaxis.range);
    return ranges.length === count && new Set(ranges.map(ends)).size === 1 && (span(ranges[0]) < 100) === part;
}"""


def test_a_trace_of_the_list_can_be_looked_at_closely(served: str, page: Page) -> None:
    page.goto(f"{served}/?tab=traces")
    row = page.locator(".trace-row", has_text="prefill.pt.trace.json.gz")
    expect(row.locator(".bar")).to_be_visible()
    row.get_by_role("button").press("Enter")
    expect(page.get_by_role("textbox", name="Trace to look at closely")).to_have_value("prefill.pt.trace.json.gz")
    drawn(page, "kernels")


def test_light_and_dark_are_a_click_apart_and_both_readable(served: str, page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(served)
    drawn(page, "utilization")
    assert _contrast(page) > 7
    page.get_by_role("button", name="light or dark").click()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "light")
    assert _contrast(page) > 7


def _contrast(page: Page) -> float:
    """Contrast of the ticks of a picture against the panel it stands on, as WCAG counts it."""
    ratio: float = page.evaluate("""() => {
        const light = css => {
            const parts = css.match(/[\\d.]+/g).slice(0, 3).map(value => value / 255);
            const [r, g, b] = parts.map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const tick = document.querySelector(".panel .xtick text");
        const pair = [getComputedStyle(tick).fill, getComputedStyle(tick.closest(".panel")).backgroundColor].map(light);
        return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    }""")
    return ratio


def test_names_from_files_are_text(tmp_path: Path, page: Page) -> None:
    path = runs.finished(tmp_path / "<img src=x onerror=alert(1)>")
    for url in _serve("dashboard", str(path)):
        page.goto(url)
        drawn(page, "ribbon")
        expect(page.locator(".card-name")).to_contain_text("<img src=x onerror=alert(1)>")
        assert page.locator("img[src='x']").count() == 0


def test_several_runs_are_picked_by_card_and_by_list(tmp_path: Path, page: Page) -> None:
    paths = [str(runs.finished(tmp_path / name)) for name in ("first", "second")]
    for url in _serve("dashboard", *paths):
        page.goto(url)
        expect(page.locator(".selected .card-name")).to_contain_text("first")
        page.get_by_role("link", name="second").click()
        expect(page.locator(".selected .card-name")).to_contain_text("second")
        assert "source=second" in page.url
        page.get_by_role("textbox", name="run or trace").click()
        page.get_by_role("option", name="first").click()
        expect(page.locator(".selected .card-name")).to_contain_text("first")


def test_a_run_that_is_being_recorded_is_followed(tmp_path: Path, page: Page) -> None:
    with runs.start(tmp_path / "live") as writer:
        runs.record(writer, 0, tensor=0.8)
        for url in _serve("dashboard", str(writer.path)):
            page.goto(url)
            drawn(page, "utilization")
            expect(page.locator(".header .live")).to_have_text("live")
            expect(page.locator(".card-name")).to_contain_text("run of 4.9")
            page.evaluate("window.stayed = true")

            runs.record(writer, 5, 20, tensor=0.01)

            expect(page.locator(".card-name")).to_contain_text("run of 24.9 s")
            page.wait_for_function(_SECONDS_DRAWN, arg=20)

            writer.close(ended_ns=runs.START_NS + 25 * runs.NS)

            expect(page.locator(".header .live")).to_have_count(0)
            assert page.evaluate("window.stayed")


#: Whether the picture of the GPU's activity covers more than so many seconds.
_SECONDS_DRAWN = """seconds => {
    const plot = document.querySelector(`[id*='"name":"utilization","type":"panel"'] .js-plotly-plot`);
    const range = plot._fullLayout.xaxis.range;
    return (new Date(range[1]) - new Date(range[0])) / 1000 > seconds;
}"""
