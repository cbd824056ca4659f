"""Every panel, for every kind of analysis it may meet: what is missing is said, nothing is drawn as zero."""

import json
from dataclasses import replace
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from analyzer import panels, theme
from analyzer.bottlenecks import BOTTLENECKS
from analyzer.drawing.decimate import LIMIT, break_gaps, extremes
from analyzer.panels import View
from analyzer.schema import Analysis, Percentile
from collector.plugins import discover
from collector.schema import Event
from tests import builders

PANELS = discover(panels)
RUN_PANELS = [name for name, panel in PANELS.items() if panel.KIND == "run"]
TRACE_PANELS = [name for name, panel in PANELS.items() if panel.KIND == "trace"]
HOSTILE = '<img src=x onerror="alert(1)"><b>bold</b>'


def view(analysis: Analysis, **fields: Any) -> View:
    return View(analysis=analysis, **fields)


def own(panel: ModuleType, **fields: Any) -> View:
    """A view of the kind of source that a panel draws."""
    return view(builders.run_analysis(**fields) if panel.KIND == "run" else builders.trace_analysis(**fields))


def texts(figure: go.Figure) -> str:
    return " ".join(str(annotation.text) for annotation in figure.layout.annotations)


def points(figure: go.Figure) -> int:
    return sum(len(trace.x) for trace in figure.data if trace.x is not None)


def nvml(rows: int, subjects: tuple[str, ...] = ("gpu:0",), **columns: Any) -> pd.DataFrame:
    """Ten samples a second of every subject."""
    t_ns = (np.arange(rows) * 100_000_000 + int(builders.START_S * 1e9)).astype(np.int64)
    defaults = {"sm_active_ratio": np.linspace(0, 1, rows), "power_watts": np.full(rows, 400.0)}
    parts = [pd.DataFrame({"t_ns": t_ns, "subject": subject} | defaults | columns) for subject in subjects]
    return pd.concat(parts).sort_values("t_ns", kind="stable", ignore_index=True)


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_says_what_it_is_and_how_to_read_it(name: str) -> None:
    panel = PANELS[name]
    summary = (panel.__doc__ or "").split("\n", 1)[0]
    assert len(summary) > 30
    assert panel.TITLE
    assert panel.KIND in {"run", "trace"}


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_draws_what_the_builders_give(name: str) -> None:
    figure = PANELS[name].figure(own(PANELS[name]))
    assert points(figure) > 0
    json.loads(figure.to_json())


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_of_nothing_says_so(name: str) -> None:
    nothing = {"budget": None, "steps": None, "kernels": None, "roofline": None, "latency": None, "cost": None}
    figure = PANELS[name].figure(own(PANELS[name], verdict=builders.abstention(), **nothing))
    assert points(figure) == 0
    assert "no data: " in texts(figure)


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_escapes_names_from_files(name: str) -> None:
    panel = PANELS[name]
    source = own(panel)
    analysis = replace(
        source.analysis,
        verdict=builders.verdict(
            windows=(builders.verdict_window(bottleneck=HOSTILE, abstained=HOSTILE),),
            phases=(builders.verdict_window(HOSTILE),),
        ),
        kernels=(builders.kernel(HOSTILE, family=HOSTILE),),
        roofline=builders.roofline(gpu=HOSTILE, families=(builders.family_roofline(HOSTILE, warning=HOSTILE),)),
    )
    if analysis.latency and analysis.cost:
        latency = replace(analysis.latency, phases=(builders.latency_window(HOSTILE),))
        cost = replace(analysis.cost, phases=(builders.cost_window(HOSTILE, usd_per_1000=None, reason=HOSTILE),))
        analysis = replace(analysis, latency=latency, cost=cost)
    event = Event(t_ns=int(builders.START_S * 1e9), kind="trace", name=HOSTILE)
    drawn = panel.figure(view(analysis, reference=analysis, events=(event,))).to_json()
    assert "<img" not in drawn.replace("\\u003c", "<")
    assert "<b>bold" not in drawn.replace("\\u003c", "<")


@pytest.mark.parametrize("name", RUN_PANELS)
def test_run_panels_share_one_time_axis(name: str) -> None:
    if PANELS[name].PAGE == "reference" or name == "invoice":
        return
    axis = PANELS[name].figure(own(PANELS[name])).layout.xaxis
    assert axis.type == "date"
    assert [str(end)[:19] for end in axis.range] == ["2026-11-21 16:58:56", "2026-11-21 16:59:36"]


def test_the_ribbon_joins_neighbours_and_letters_each_stretch_once() -> None:
    classes = ["batching", "batching", "compute", "batching"]
    windows = tuple(builders.verdict_window(index=i, bottleneck=name) for i, name in enumerate(classes))
    figure = PANELS["ribbon"].figure(view(builders.run_analysis(verdict=builders.verdict(windows=windows))))
    stretches = {trace.name: len(trace.x) for trace in figure.data if trace.showlegend is not False}
    assert stretches == {"<b>B</b> batching": 2, "<b>C</b> compute": 1}
    (letters,) = {tuple(trace.text) for trace in figure.data if trace.name == "<b>C</b> compute"}
    assert letters == ("<b>C</b>",)


def test_the_ribbon_hatches_what_nobody_can_tell_and_gives_the_reason() -> None:
    window = builders.verdict_window(bottleneck="unknown", abstained="no GPM", shares={})
    figure = PANELS["ribbon"].figure(view(builders.run_analysis(verdict=builders.verdict(windows=(window,)))))
    unknown = next(trace for trace in figure.data if trace.name == "<b>?</b> unknown")
    assert unknown.marker.pattern.shape == "/"
    assert any("cannot tell: no GPM" in words for trace in figure.data for words in trace.hovertext or ())


def test_the_ribbon_marks_events_beneath_the_phases() -> None:
    event = Event(t_ns=int((builders.START_S + 3) * 1e9), kind="trace", name="decode.json.gz")
    figure = PANELS["ribbon"].figure(view(builders.run_analysis(), events=(event,)))
    assert figure.data[-1].hovertext == ("trace: decode.json.gz",)


@pytest.mark.parametrize("rows", [3, LIMIT, 100_000])
def test_no_line_has_more_points_than_a_browser_can_bear(rows: int) -> None:
    figure = PANELS["utilization"].figure(view(builders.run_analysis(), samples={"nvml": nvml(rows)}))
    assert all(len(trace.x) <= LIMIT for trace in figure.data)


def test_a_peak_survives_the_thinning() -> None:
    values = np.full(100_000, 0.1)
    values[77_777] = 0.99
    figure = PANELS["utilization"].figure(
        view(builders.run_analysis(), samples={"nvml": nvml(100_000, sm_active_ratio=values)})
    )
    (line,) = [trace for trace in figure.data if trace.name == "SM active"]
    assert max(line.y) == 0.99


def test_nvml_is_drawn_behind_the_others_grey_and_dashed() -> None:
    frame = nvml(10, gpu_utilization_ratio=np.ones(10))
    figure = PANELS["utilization"].figure(view(builders.run_analysis(), samples={"nvml": frame}))
    assert (figure.data[0].line.color, figure.data[0].line.dash) == (theme.GREY, "4px,3px")
    assert figure.data[0].line.width < figure.data[1].line.width


def test_several_gpus_are_their_mean_in_a_band() -> None:
    frame = nvml(50, ("gpu:0", "gpu:1"))
    frame.loc[frame["subject"] == "gpu:1", "sm_active_ratio"] = 0.0
    figure = PANELS["utilization"].figure(view(builders.run_analysis(), samples={"nvml": frame}))
    low, high, mean = (trace for trace in figure.data if trace.name == "SM active")
    assert (low.y[-1], high.y[-1], mean.y[-1]) == (0.0, 1.0, 0.5)


def test_a_value_that_was_not_read_is_a_hole_not_a_zero() -> None:
    values = np.array([0.5, np.nan, 0.5])
    figure = PANELS["utilization"].figure(
        view(builders.run_analysis(), samples={"nvml": nvml(3, sm_active_ratio=values)})
    )
    (line,) = [trace for trace in figure.data if trace.name == "SM active"]
    assert np.isnan(line.y[1])
    assert not line.connectgaps


def test_a_missing_window_breaks_the_staircase() -> None:
    latency = builders.run_analysis().latency
    assert latency is not None
    windows = tuple(builders.latency_window(index=i, requests_per_s=value) for i, value in enumerate((3.0, None, 5.0)))
    figure = PANELS["throughput"].figure(view(builders.run_analysis(latency=replace(latency, windows=windows))))
    assert list(figure.data[0].y) == [3.0, 3.0, None, 5.0, 5.0]


def test_buckets_are_boxes_and_requests_are_lines() -> None:
    percentile = Percentile(q=0.99, value_s=None, low_s=0.25, high_s=0.5)
    above = Percentile(q=0.99, value_s=None, low_s=20.0, high_s=None)
    coarse = [builders.stats(origin="histogram", percentiles=(replace(p, q=0.5), p)) for p in (percentile, above)]
    windows = tuple(builders.latency_window(index=i, stats=(stats,)) for i, stats in enumerate(coarse))
    latency = builders.run_analysis().latency
    assert latency is not None
    figure = PANELS["latency"].figure(view(builders.run_analysis(latency=replace(latency, windows=windows))))
    boxes, marks = (trace for trace in figure.data if trace.name == "p99")
    assert list(boxes.y) == [0.25, 0.25, 0.5, 0.5, 0.25, None]
    assert (marks.marker.symbol, list(marks.y)) == ("triangle-up", [20.0])
    (words,) = (trace.customdata for trace in figure.data if trace.name == "first token, p99")
    assert list(words) == ["250–500 ms, n 690, from buckets", "> 20 s, n 690, from buckets"]


def test_a_phase_without_an_answer_has_words_for_a_price() -> None:
    cost = builders.run_analysis().cost
    assert cost is not None
    silent = builders.cost_window("idle", usd_per_1000=None, reason="no request finished")
    figure = PANELS["cost"].figure(view(builders.run_analysis(cost=replace(cost, phases=(silent,)))))
    assert texts(figure) == "no answer"


def test_the_reference_is_a_dotted_outline_with_its_name() -> None:
    figure = PANELS["reference"].figure(view(builders.run_analysis(), reference=builders.run_analysis()))
    assert {shape.line.dash for shape in figure.layout.shapes} == {"dot"}
    assert "reference: vLLM 0.23.0 on H200" in [trace.name for trace in figure.data]


def test_without_a_reference_no_outline_is_drawn() -> None:
    figure = PANELS["reference"].figure(view(builders.run_analysis()))
    assert not figure.layout.shapes
    assert not [trace.name for trace in figure.data if trace.name.startswith("reference")]


def test_the_parts_of_the_budget_add_up_to_the_span() -> None:
    figure = PANELS["kernel_budget"].figure(view(builders.trace_analysis()))
    assert sum(trace.x[0] for trace in figure.data) == pytest.approx(0.5)


def test_idle_time_without_a_cause_is_hatched() -> None:
    analysis = builders.trace_analysis()
    assert analysis.budget is not None
    device = replace(analysis.budget.devices[0], idle_launch_s=0.1)
    budget = replace(analysis.budget, devices=(device,))
    figure = PANELS["kernel_budget"].figure(view(replace(analysis, budget=budget)))
    last = figure.data[-1]
    assert (last.name, last.marker.pattern.shape) == ("idle, cause unknown", "/")
    assert sum(trace.x[0] for trace in figure.data) == pytest.approx(0.5)


def test_a_family_above_its_roof_is_a_ring_and_one_without_shapes_is_no_point() -> None:
    families = (*builders.roofline().families, builders.family_roofline("sampling", warning="a wrong peak"))
    figure = PANELS["roofline"].figure(view(builders.trace_analysis(roofline=builders.roofline(families=families))))
    marks = figure.data[-1]
    assert (marks.text, marks.marker.symbol) == (("gemm", "sampling"), ("circle", "circle-open"))


def test_the_roof_is_the_memorys_until_the_ridge_and_flat_beyond() -> None:
    roof = PANELS["roofline"].figure(view(builders.trace_analysis())).data[0]
    assert list(roof.y) == pytest.approx([4.8e12 * roof.x[0], 989e12, 989e12][: len(roof.y)])
    assert roof.x[1] == pytest.approx(989 / 4.8)


def test_without_roofs_the_points_stand_alone() -> None:
    unknown = builders.roofline(
        gpu=None, tensor_flops_per_s={}, achieved_flops_per_s={}, dram_bytes_per_s=None, achieved_bytes_per_s=None
    )
    assert len(PANELS["roofline"].figure(view(builders.trace_analysis(roofline=unknown))).data) == 1


def test_long_traces_keep_their_longest_step() -> None:
    steps = builders.trace_analysis().steps
    assert steps is not None
    many = [replace(steps.steps[0], start_s=builders.START_S + i) for i in range(5000)]
    many[4321] = replace(many[4321], duration_s=0.9)
    figure = PANELS["steps"].figure(view(builders.trace_analysis(steps=replace(steps, steps=tuple(many)))))
    assert len(figure.data[0].x) <= LIMIT
    assert max(figure.data[1].y) == 0.9


def test_captures_are_shaded_from_top_to_bottom() -> None:
    start_ns = int(builders.START_S * 1e9)
    event = Event(t_ns=start_ns, kind="trace", name="t", end_ns=start_ns + 10**9)
    figure = PANELS["latency"].figure(view(builders.run_analysis(), events=(event,)))
    (shade,) = figure.layout.shapes
    assert (shade.yref, shade.y0, shade.y1) == ("paper", 0, 1)


def test_unknown_measures_leave_their_row_but_not_a_zero() -> None:
    figure = PANELS["power_clocks"].figure(view(builders.run_analysis()))
    assert "no data: the SM clock was not read" in texts(figure)


def test_extremes_keep_holes_as_holes() -> None:
    values = np.full(10_000, np.nan)
    values[:100] = 1.0
    kept = extremes(values, limit=100)
    assert len(kept) <= 100
    assert np.isnan(values[kept][-1])


def test_gaps_in_time_are_broken() -> None:
    t_ns = np.array([0, 1, 2, 30, 31], dtype=np.int64) * 10**9
    instants, values = break_gaps(t_ns, np.ones(5))
    assert np.isnan(values).nonzero()[0].tolist() == [3]
    assert all(a < b for a, b in pairwise(instants))


def test_every_class_has_a_marker() -> None:
    for name, known in BOTTLENECKS.items():
        assert theme.fill(name)["color"] == known.colour


def test_a_logarithmic_axis_is_marked_in_words_and_not_too_often() -> None:
    for low, high in ((0.004, 0.006), (0.02, 0.9), (0.001, 40.0), (1e-6, 1e3)):
        axis = theme.decades([low, high], lambda value: f"{value:g} s")
        start, end = (10**edge for edge in axis["range"])
        inside = [mark for mark in axis["tickvals"] if start <= mark <= end]
        assert start < low < high < end
        assert 1 <= len(inside) <= 10
        assert len(axis["ticktext"]) == len(axis["tickvals"])
    assert theme.decades([0.0], str) == {"type": "log"}


def test_the_reference_is_named_with_its_engine_and_hardware() -> None:
    source = builders.run_analysis().source
    several = replace(source, gpus=("NVIDIA H200",) * 4)
    nameless = replace(source, engine=None, gpus=())
    assert theme.reference_name(builders.run_analysis(source=several)) == "reference: vLLM 0.23.0 on 4 × H200"
    assert theme.reference_name(builders.run_analysis(source=nameless)) == "reference: vllm_h200"


def test_the_bars_of_the_invoice_climb_to_its_sum() -> None:
    figure = PANELS["invoice"].figure(view(builders.run_analysis()))

    *parts, whole = [(bar.base[0], bar.y[0]) for bar in figure.data]
    assert [base for base, _ in parts[1:]] == pytest.approx([base + usd for base, usd in parts[:-1]])
    assert whole == pytest.approx((0.0, parts[-1][0] + parts[-1][1]))
    assert "idle: $0.00420, 9.9 %, 10 s" in [bar.hovertext[0] for bar in figure.data]


def test_an_invoice_of_nothing_is_drawn_as_nothing_paid() -> None:
    cost = builders.run_analysis().cost
    assert cost is not None
    free = replace(cost, invoice=builders.invoice(idle=0.0))

    figure = PANELS["invoice"].figure(view(builders.run_analysis(cost=free)))

    assert [bar.text[0] for bar in figure.data] == ["$0.00", "$0.00"]


def test_a_run_without_an_invoice_says_why() -> None:
    cost = builders.run_analysis().cost
    assert cost is not None
    unpriced = replace(cost, invoice=None, overall=builders.cost_window(reason="no price for this GPU"))

    assert "no data: no price for this GPU" in texts(
        PANELS["invoice"].figure(view(builders.run_analysis(cost=unpriced)))
    )


def test_a_target_is_a_dashed_line_in_the_row_of_its_measure() -> None:
    service = builders.service()
    targets = replace(service, slo=replace(service.slo, limits_s={"tpot_s": 0.1}))

    figure = PANELS["latency"].figure(view(builders.run_analysis(slo=targets)))

    (line,) = (shape for shape in figure.layout.shapes if shape.line.dash == "dash")
    assert (0.1, 0.1, "y2") == (line.y0, line.y1, line.yref)
    (words,) = (each for each in figure.layout.annotations if each.text == "target 100 ms")
    assert -1.0 == words.y


def test_sums_and_counts_are_no_percentiles_to_draw() -> None:
    latency = builders.run_analysis().latency
    assert latency is not None
    means = builders.latency_window(stats=(builders.stats(origin="sums", percentiles=()),))

    figure = PANELS["latency"].figure(view(builders.run_analysis(latency=replace(latency, windows=(means,)))))

    assert "percentiles nowhere" in figure.layout.annotations[0].text


def test_the_queue_s_delay_is_a_line_in_the_box_of_its_bounds() -> None:
    latency = builders.run_analysis().latency
    assert latency is not None
    bounds = [(0.25, 0.5), (0.5, None), (0.5, 0.5)]
    windows = tuple(
        builders.latency_window(index=i, queue_delay_s=0.5, queue_delay_low_s=low, queue_delay_high_s=high)
        for i, (low, high) in enumerate(bounds)
    )

    figure = PANELS["queue"].figure(view(builders.run_analysis(latency=replace(latency, windows=windows))))

    boxes, marks, line, words = (trace for trace in figure.data if trace.name == "queue delay")
    assert [0.25, 0.25, 0.5, 0.5, 0.25, None] == list(boxes.y)
    assert [0.5] == list(marks.y)
    assert {0.5} == set(line.y)
    assert ["500 ms (estimate: 250–500 ms)", "500 ms (estimate: > 500 ms)", "500 ms (estimate: 500 ms)"] == list(
        words.customdata
    )
