"""What every report promises, and what each one owes to those who read it by machine."""

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from html.parser import HTMLParser
from importlib.resources import files
from types import ModuleType

import numpy as np
import pytest

from analyzer import reports
from analyzer.schema import Analysis
from collector.plugins import discover
from tests import builders

REPORTS = discover(reports)
LIBRARY = files("plotly").joinpath("package_data", "plotly.min.js").read_text("utf-8")
KINDS = {"trace": builders.trace_analysis, "run": builders.run_analysis}
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "[red]red[/red]",
    "[/]",
    "\x1b[31mred\x1b[0m",
    "=cmd()",
    "+1",
    "@SUM(A1)",
    "{{ 7 * 7 }}",
    "\u202egnp.exe",
    "n" * 10_000,
)


def written(report: str, *analyses: Analysis, full: bool = True) -> str:
    out = io.StringIO()
    REPORTS[report].write(analyses, out, full=full)
    return out.getvalue()


def named(kind: str, *names: str) -> Analysis:
    """An analysis in which everything that a file can name has one of the names, the source itself the first."""
    base = KINDS[kind]()
    facts = tuple(builders.fact(measure=name, threshold=name, where=name) for name in names)
    verdict = replace(
        base.verdict,
        shares=tuple(builders.share(remedy=name, evidence=facts) for name in names),
        phases=tuple(builders.verdict_window(name, index) for index, name in enumerate(names)),
    )
    return replace(
        base,
        source=replace(base.source, name=names[0], engine=names[0], gpus=names),
        verdict=verdict,
        kernels=tuple(builders.kernel(name) for name in names) if kind == "trace" else None,
        quality=replace(base.quality, notes=names),
    )


#: It has charges or refuses, and tests of its own.
CHARGES = {"focus"}


@pytest.fixture(params=sorted(set(REPORTS) - CHARGES))
def report(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_formats_are_those_the_documentation_names() -> None:
    assert {"text", "json", "html", "csv"} <= set(REPORTS)


def test_a_report_writes_the_same_twice(report: str, kind: str) -> None:
    analysis = KINDS[kind]()

    assert written(report, analysis) == written(report, analysis)
    assert written(report, analysis).endswith("\n")


def test_a_report_takes_an_abstention_and_nothing_at_all(report: str) -> None:
    nothing = builders.trace_analysis(verdict=builders.abstention("no kernel ran"), budget=None, steps=None, kernels=())

    assert "no kernel ran" in written(report, nothing)


def test_a_report_takes_several_sources(report: str) -> None:
    text = written(report, builders.run_analysis(), builders.trace_analysis(), full=False)

    assert "vllm_h200" in text
    assert "decode" in text


def test_names_from_files_command_no_terminal(report: str, kind: str) -> None:
    text = written(report, named(kind, *HOSTILE))

    assert "\x1b" not in text.replace(LIBRARY, "")
    assert "\u202e" not in text or report == "json"


class TestJson:
    def test_the_keys_are_the_contract_in_its_order(self) -> None:
        tree = json.loads(written("json", builders.trace_analysis()))

        assert [
            "schema_version", "source", "quality", "verdict", "budget", "steps", "kernels", "roofline", "stacks",
            "latency", "slo", "cost", "rank",
        ] == list(tree)  # fmt: skip
        assert ["bottleneck", "confidence", "abstained", "shares"] == list(tree["verdict"])[:4]
        assert ["bottleneck", "share", "recoverable_s"] == list(tree["verdict"]["shares"][0])[:3]
        assert {"coverage", "losses"} <= set(tree["quality"])

    def test_what_does_not_apply_is_null(self, kind: str) -> None:
        tree = json.loads(written("json", KINDS[kind]()))
        absent = {"trace": ("latency", "cost"), "run": ("steps", "kernels")}[kind]

        assert [None, None] == [tree[key] for key in absent]

    def test_every_field_of_the_schema_is_there(self) -> None:
        tree = json.loads(written("json", builders.run_analysis()))

        assert [field.name for field in fields(Analysis)] == list(tree)

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_what_is_not_finite_is_null(self, value: float) -> None:
        analysis = builders.trace_analysis(quality=builders.quality(coverage=value))

        assert json.loads(written("json", analysis))["quality"]["coverage"] is None

    def test_numbers_of_numpy_are_numbers(self) -> None:
        analysis = builders.trace_analysis(quality=builders.quality(coverage=np.float32(0.5)))

        assert json.loads(written("json", analysis))["quality"]["coverage"] == 0.5

    def test_several_sources_are_an_array(self) -> None:
        tree = json.loads(written("json", builders.run_analysis(), builders.trace_analysis()))

        assert ["run", "trace"] == [analysis["source"]["kind"] for analysis in tree]

    def test_what_the_schema_does_not_know_is_a_fault_of_ours(self) -> None:
        analysis = builders.trace_analysis(steps=object())

        with pytest.raises(NotImplementedError, match="object"):
            written("json", analysis)


class TestCsv:
    def rows(self, *analyses: Analysis, full: bool = False) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(written("csv", *analyses, full=full))))

    def test_a_row_is_a_figure_with_its_unit(self) -> None:
        rows = self.rows(builders.run_analysis())

        assert {
            "source": "vllm_h200",
            "section": "cost",
            "name": "all",
            "measure": "usd_per_1000",
            "value": "0.0309",
            "unit": "USD",
        } in rows
        assert ("latency from requests", "A3_prefill: ttft_s", "p99_s", "s") in {
            (row["section"], row["name"], row["measure"], row["unit"]) for row in rows
        }

    def test_every_row_is_unique(self, kind: str) -> None:
        rows = self.rows(KINDS[kind](), full=True)
        keys = [(row["section"], row["name"], row["measure"]) for row in rows]

        assert len(keys) == len(set(keys))

    def test_windows_and_steps_are_there_when_asked_for(self, kind: str) -> None:
        analysis = KINDS[kind]()

        assert len(self.rows(analysis)) < len(self.rows(analysis, full=True))

    @pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\x1b[0m=1"])
    def test_no_cell_is_a_formula(self, name: str) -> None:
        cells = [
            cell
            for row in self.rows(named("trace", name), full=True)
            for key, cell in row.items()
            if key != "value" or not _is_number(cell)
        ]

        assert not [cell for cell in cells if cell.lstrip().startswith(("=", "+", "-", "@"))]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?[\d.]+(e[-+]\d+)?", text) is not None


class _Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the words outside scripts."""

    def __init__(self, *analyses: Analysis) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.text = written("html", *analyses).replace(LIBRARY, "")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        inside = self.lasttag in {"script", "style"}
        (self.scripts if inside else self.words).append(data)


class TestHtml:
    def test_nothing_is_loaded_from_anywhere(self, kind: str) -> None:
        page = _Page(KINDS[kind]())
        loading = [
            (tag, name, value)
            for tag, attributes in page.elements
            for name, value in attributes.items()
            if name in {"src", "href", "srcset", "action", "data", "poster"} and not str(value).startswith("#")
        ]

        assert [] == loading
        assert "link" not in {tag for tag, _ in page.elements}
        style = page.text.partition("<style>")[2].partition("</style>")[0]
        assert not re.search(r"url\(|@import", style)

    def test_the_page_forbids_itself_the_network(self) -> None:
        policies = [
            attributes["content"]
            for tag, attributes in _Page(builders.trace_analysis()).elements
            if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
        ]

        assert len(policies) == 1
        assert "default-src 'none'" in str(policies[0])
        assert "http" not in str(policies[0])

    def test_the_library_is_there_once(self) -> None:
        page = written("html", builders.run_analysis(), builders.trace_analysis(), builders.trace_analysis())

        assert page.count("plotly.js v") == 1

    def test_every_panel_of_its_kind_is_drawn(self, kind: str) -> None:
        page = _Page(KINDS[kind]())
        figures = [attributes for tag, attributes in page.elements if tag == "figure"]
        specs = [json.loads(text) for text in page.scripts if text.startswith('{"data"')]

        assert len(figures) == len(specs) > 2

    def test_a_name_adds_no_element(self, kind: str) -> None:
        hostile = _Page(named(kind, *HOSTILE))
        harmless = _Page(named(kind, *("harmless" for _ in HOSTILE)))

        assert [tag for tag, _ in harmless.elements] == [tag for tag, _ in hostile.elements]

    def test_words_are_shown_as_they_are(self) -> None:
        words = "".join(_Page(named("trace", "a < b & {{ 7 * 7 }}")).words)

        assert "a < b & {{ 7 * 7 }}" in words

    def test_a_long_table_is_cut_unless_all_is_asked_for(self) -> None:
        kernels = tuple(builders.kernel(f"kernel_{index}") for index in range(100))
        analysis = builders.trace_analysis(kernels=kernels)

        assert "kernel_99</td>" not in written("html", analysis, full=False)
        assert "kernel_99</td>" in written("html", analysis, full=True)


def test_every_report_says_how_its_files_end() -> None:
    def suffixes(modules: Sequence[ModuleType]) -> list[str]:
        return [module.SUFFIX for module in modules]

    found = suffixes(list(REPORTS.values()))
    assert len(found) == len(set(found))
    assert all(re.fullmatch(r"(\.[a-z]+)+", suffix) for suffix in found)
