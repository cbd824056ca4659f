"""The trace written back: what Chrome's format demands, what a viewer needs, and nothing of the recording changed."""

import io
import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer import pipeline
from analyzer.columns import Spans, Trace
from analyzer.importers import kineto
from analyzer.reports import perfetto
from tests import builders
from tests.analyzer.traces import decode_step, document, kernel, launch, load, operator

SAMPLES = Path(__file__).parents[2] / "sample_traces"
Event = dict[str, Any]


def written(trace: Trace) -> tuple[bytes, list[Event]]:
    """The document, and its events."""
    out = io.StringIO()
    perfetto.write([pipeline.conclude(trace)], out, full=False, data=[trace])
    return out.getvalue().encode(), json.loads(out.getvalue(), parse_constant=pytest.fail)["traceEvents"]


def hold(events: list[Event]) -> None:
    """Hold events against the format: the keys each phase needs, their types, nesting, arrows with two ends."""
    slices: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        assert isinstance(event["name"], str)
        assert {int} == {type(event["pid"]), type(event["tid"])}
        assert 0 < event["pid"] < 1 << 31
        assert event["ts"] >= 0
        match event["ph"]:
            case "X":
                assert event["dur"] >= 0
                slices[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
            case "C":
                assert {type(value) for value in event["args"].values()} <= {int, float}
            case "M":
                assert event["name"] in {"process_name", "process_sort_index", "thread_name"}
            case phase:
                assert phase in {"s", "f"}
    assert set(slices) <= {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    for each in slices.values():
        hold_nested(each)
    arrows = {phase: Counter(event["id"] for event in events if event["ph"] == phase) for phase in "sf"}
    assert arrows["s"] == arrows["f"]
    for event in events:
        if event["ph"] in "sf":
            assert event["ts"] in {begin for begin, _ in slices[event["pid"], event["tid"]]}


def hold_nested(slices: list[tuple[float, float]]) -> None:
    """Of two slices on one track one lies within the other, or after it; floats hold a tenth of a nanosecond."""
    open_ends: list[float] = []
    for begin, end in sorted(slices, key=lambda each: (each[0], -each[1])):
        while open_ends and open_ends[-1] <= begin + 1e-4:
            open_ends.pop()
        assert not open_ends or end <= open_ends[-1] + 1e-4
        open_ends.append(end)


def same(before: Spans, names: tuple[str, ...], after: Spans, renamed: tuple[str, ...]) -> None:
    """The same work at the same time in both."""

    def rows(spans: Spans, names: tuple[str, ...]) -> list[tuple[object, ...]]:
        columns = (spans.start_ns, spans.end_ns, spans.row, spans.stream, spans.correlation, spans.external_id)
        title = [names[name] for name in spans.name.tolist()]
        return sorted(zip(*(column.tolist() for column in columns), spans.category.tolist(), title, strict=True))

    assert rows(before, names) == rows(after, renamed)


def counter(events: list[Event], name: str) -> list[tuple[float, float]]:
    return [(event["ts"], event["args"]["value"]) for event in events if event["ph"] == "C" and event["name"] == name]


@pytest.mark.parametrize("path", sorted(SAMPLES.rglob("*.json.gz")), ids=lambda path: path.name)
def test_a_sample_is_written_back_whole_and_read_again(path: Path, tmp_path: Path) -> None:
    trace = kineto.load(path)

    text, events = written(trace)
    hold([event for event in events if event["ph"] not in "sf"])  # the arrows of a sample are many
    (tmp_path / "back.json").write_bytes(text)
    again = kineto.load(tmp_path / "back.json")

    same(trace.device, trace.names, again.device, again.names)
    assert trace.window_ns == again.window_ns
    assert trace.rank == again.rank
    assert sorted(trace.host.start_ns) == sorted(again.host.start_ns)
    first, second = pipeline.conclude(trace), pipeline.conclude(again)
    assert first.budget == second.budget
    assert first.kernels is None or [(each.name, each.count, each.total_s) for each in first.kernels] == [
        (each.name, each.count, each.total_s) for each in second.kernels or ()
    ]


spans = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40)), max_size=14)
HOSTILE = ('"', "\\", "\n", "\u202e", "\x00", "</script>", "é", "🦜", "\ud800", "NaN")


@settings(max_examples=50)
@given(work=spans, ops=spans, names=st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=3))
def test_whatever_overlaps_is_laid_beside_each_other_and_every_name_survives(
    work: list[tuple[int, int]], ops: list[tuple[int, int]], names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    calls = [launch(at, 3, correlation=number + 1) for number, (at, _) in enumerate(work)]
    kernels = [
        kernel(at, us, names[number % len(names)], correlation=number + 1) for number, (at, us) in enumerate(work)
    ]
    trace = load(tmp_path_factory.mktemp("one"), *calls, *kernels, *(operator(at, us) for at, us in ops))

    text, events = written(trace)
    hold(events)

    path = tmp_path_factory.mktemp("back") / "back.json"
    path.write_bytes(text)
    if len(trace.device) + len(trace.host):
        again = kineto.load(path)
        same(trace.device, trace.names, again.device, again.names)


def test_the_findings_are_tracks_and_counters(tmp_path: Path) -> None:
    trace = load(
        tmp_path,
        decode_step(100, 100, requests=4),
        decode_step(300, 50, requests=6),
        *(launch(at, 5, correlation=number + 1) for number, at in enumerate((50, 60, 280))),
        *(kernel(at, 50, correlation=number + 1) for number, at in enumerate((100, 150, 300))),
    )

    _, events = written(trace)

    first_us = 100.0
    at_zero = next(event["ts"] for event in events if event.get("cat") == "kernel") - first_us
    waiting = [(at - at_zero, value) for at, value in counter(events, "GPU 0 launches waiting")]
    assert [(50, 1), (60, 2), (100, 1), (150, 0), (280, 1), (300, 0)] == [(round(at), value) for at, value in waiting]
    assert [4, 6, 0] == [value for _, value in counter(events, "step batch")]
    busy = counter(events, "GPU 0 busy, %")
    assert {0 <= value <= 100 for _, value in busy} == {True}
    assert sorted(busy) == busy
    title = next(event for event in events if event["name"] == "thread_name" and "idle" in event["args"]["name"])
    idle = [event for event in events if event["ph"] == "X" and event["tid"] == title["tid"] and event["pid"] == 1]
    assert 100 == pytest.approx(sum(event["dur"] for event in idle))
    verdict = next(event for event in events if event["name"] == "process_name" and event["pid"] == 1)
    assert verdict["args"]["name"].startswith("Inferometer: ")


def test_two_devices_and_two_sources_do_not_mix(tmp_path: Path) -> None:
    trace = load(tmp_path, kernel(0, 50, device=0), kernel(20, 50, device=1))
    out = io.StringIO()
    analysis = pipeline.conclude(trace)

    perfetto.write([analysis, analysis], out, full=False, data=[trace, trace])

    events = json.loads(out.getvalue())["traceEvents"]
    hold(events)
    assert 4 == len({event["pid"] for event in events if event.get("cat") == "kernel"})


def test_a_run_becomes_windows_and_what_was_not_measured_has_no_counter() -> None:
    run = builders.run_analysis()
    assert run.budget is not None
    windows = tuple(replace(window, means={**window.means, "dram_active_ratio": None}) for window in run.budget.windows)
    out = io.StringIO()

    perfetto.write([replace(run, budget=replace(run.budget, windows=windows))], out, full=False)

    events = json.loads(out.getvalue())["traceEvents"]
    hold(events)
    assert 8 == len([event for event in events if event["ph"] == "X" and event["name"] == "batching"])
    assert 8 == len(counter(events, "SM active"))
    assert [] == counter(events, "DRAM active")


def test_lanes_are_few_and_the_last_takes_the_rest() -> None:
    start = list(range(20))

    lanes = perfetto._lanes(start, [at + 20 for at in start])

    assert list(range(8)) == lanes[:8]
    assert {7} == set(lanes[8:])
    assert [0, 0, 0, 1] == perfetto._lanes([0, 0, 2, 8], [10, 5, 5, 12])
    assert np.all(np.array(lanes) >= 0)


def test_a_document_of_ours_is_like_one_of_kinetos(tmp_path: Path) -> None:
    text, _ = written(load(tmp_path, kernel(0, 50), distributedInfo={"rank": 3}))
    ours = json.loads(text)

    assert list(document(kernel(0, 1)))[:2] == list(ours)[:2]
    assert {"rank": 3} == ours["distributedInfo"]
    assert "NVIDIA H200" == ours["deviceProperties"][0]["name"]
    assert {"verdict", "time", "quality"} <= set(ours["otherData"]["trace.json"])
