"""The terminal report: golden screens, their size, and that colour is never needed.

Refresh the golden files with ``UPDATE_GOLDEN=1 pytest tests/analyzer/test_reports_text.py``.
"""

import io
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from analyzer.bottlenecks import BOTTLENECKS
from analyzer.reports import text
from analyzer.schema import Analysis
from tests import builders

GOLDEN = Path(__file__).parent / "golden"
SCREENS: dict[str, tuple[Sequence[Analysis], bool]] = {
    "trace": ([builders.trace_analysis()], False),
    "trace_full": ([builders.trace_analysis()], True),
    "run": ([builders.run_analysis()], False),
    "run_full": ([builders.run_analysis()], True),
    "targets_full": ([builders.run_analysis(slo=builders.service())], True),
    "abstained": ([builders.trace_analysis(verdict=builders.abstention(), kernels=(), steps=None, budget=None)], False),
    "several": ([builders.run_analysis(), builders.trace_analysis()], False),
}
LONG = "a name that goes on and on, as names do " * 8


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM", "TERM", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def written(*analyses: Analysis, full: bool = False, out: io.StringIO | None = None) -> str:
    out = out or io.StringIO()
    text.write(analyses, out, full=full)
    return out.getvalue()


def crowded(kind: str) -> Analysis:
    """As much of everything as there can be, in words as long as they come."""
    facts = tuple(builders.fact(measure=f"{index} {LONG}", threshold=LONG, where=LONG) for index in range(9))
    shares = tuple(builders.share(name, 1 / 11, evidence=facts, remedy=LONG) for name in BOTTLENECKS)
    verdict = replace(builders.verdict(), bottleneck="compute", shares=shares)
    quality = builders.quality(notes=(LONG,) * 5)
    if kind == "trace":
        kernels = tuple(builders.kernel(f"{index} {LONG}") for index in range(50))
        return builders.trace_analysis(verdict=verdict, quality=quality, kernels=kernels)
    phases = tuple(builders.verdict_window(f"{index} {LONG}", index) for index in range(30))
    verdict = replace(verdict, phases=phases)
    return builders.run_analysis(verdict=verdict, quality=quality, slo=builders.service())


@pytest.mark.parametrize("name", sorted(SCREENS))
def test_the_screen_is_the_golden_one(name: str) -> None:
    analyses, full = SCREENS[name]
    path = GOLDEN / f"{name}.txt"
    screen = written(*analyses, full=full)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(screen, encoding="utf-8")

    assert path.read_text("utf-8") == screen


@pytest.mark.parametrize("kind", ["trace", "run"])
def test_a_crowded_analysis_fits_a_screen(kind: str) -> None:
    lines = written(crowded(kind)).splitlines()

    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", sorted(SCREENS))
def test_no_line_is_wider_than_the_terminal(name: str) -> None:
    analyses, full = SCREENS[name]

    assert max(len(line) for line in written(*analyses, full=full).splitlines()) <= 80


def test_no_figure_of_the_phases_is_cut() -> None:
    header, *rows = written(crowded("run")).partition("bottleneck")[2].splitlines()

    assert header.split() == ["SM", "sor", "DRAM", "NVML", "p99", "p50", "/s", "1,000"]
    assert not [row for row in rows if row.rstrip().endswith("…")]


def test_the_bar_divides_the_width_by_the_shares() -> None:
    bar = written(builders.trace_analysis()).splitlines()[2]

    assert len(bar) == 80
    assert re.fullmatch(r"H█+M█+C█+", bar)
    assert bar.index("M") == pytest.approx(0.62 * 80, abs=1)


def test_a_terminal_gets_colour_and_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("COLUMNS", "80")
    coloured = written(builders.run_analysis(), out=Terminal())

    assert "\x1b[" in coloured
    assert written(builders.run_analysis()).split() == re.sub(r"\x1b\[[\d;]*m", "", coloured).split()


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")

    assert not re.search(r"\x1b\[[\d;]*[34]8;", written(builders.run_analysis(), out=Terminal()))


def test_an_abstention_says_what_is_missing() -> None:
    screen = written(builders.trace_analysis(verdict=builders.abstention("no kernel ran in the window")))

    assert "? " in screen
    assert "cannot tell: no kernel ran in the window" in screen


def test_the_full_report_has_every_kernel_and_window() -> None:
    kernels = tuple(builders.kernel(f"kernel_{index:02}") for index in range(50))

    assert "kernel_49" in written(builders.trace_analysis(kernels=kernels), full=True)
    assert "Windows" in written(builders.run_analysis(), full=True)
    assert "kernel_49" not in written(builders.trace_analysis(kernels=kernels))


def test_markup_in_a_name_is_shown() -> None:
    source = replace(builders.trace_analysis().source, name="[red]x[/red] [/]")

    assert "[red]x[/red] [/]" in written(builders.trace_analysis(source=source))


def test_without_a_price_the_reason_is_said() -> None:
    cost = builders.run_analysis().cost
    assert cost is not None
    unpriced = replace(
        cost, price=None, overall=builders.cost_window(usd_per_1000=None, reason="no price for this GPU")
    )

    assert "no cost: no price for this GPU" in written(builders.run_analysis(cost=unpriced))


def test_many_devices_share_a_line_with_the_idlest_named() -> None:
    budget = builders.trace_analysis().budget
    assert budget is not None
    devices = tuple(replace(budget.devices[0], device=index, idle_s=0.3 + index / 100) for index in range(8))
    screen = written(builders.trace_analysis(budget=replace(budget, devices=devices)))

    assert "8 GPUs: busy 26 % to 40 %" in screen
    assert "GPU 7, the idlest" in screen
