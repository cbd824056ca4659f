"""Whatever a run holds, it is concluded from or abstained on: no crash, no NaN, shares that sum to one."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.columns import RunData
from analyzer.pipeline import conclude
from analyzer.schema import Analysis
from tests.analyzer.runs import IDLE, capture, gpu, idle_gpu, phase, request, run, scrape, serving

NAN = float("nan")
UNREAD: dict[str, Any] = dict.fromkeys(IDLE, NAN)

ODD: dict[str, RunData] = {
    "nothing at all": run(samples={}),
    "a source without samples": run(gpu(0)[:0]),
    "one reading": run(gpu(0), serving(0)),
    "requests alone": run(samples={}, requests=[request(0), request(3)]),
    "requests that all failed": run(requests=[request(1, error="timeout", ttft_s=None, e2e_latency_s=None)]),
    "histograms alone": run(samples={}, histograms=[scrape(0, (0, 0)), scrape(9, (4, 5))]),
    "nothing could be read": run(gpu(**UNREAD), serving(requests_running=NAN, requests_waiting=NAN)),
    "no GPU": run(serving(), gpus=()),
    "no server": run(gpu()),
    "an unknown GPU": run(gpu(), serving(), gpus=("Voodoo2",)),
    "all of it a capture": run(events=[capture(-5, 50)]),
    "a capture that goes on": run(events=[capture(5, None)]),
    "a phase that goes on": run(events=[phase(5, None)]),
    "a phase after the last sample": run(events=[phase(20, None), phase(30, 40)]),
    "a phase that ends before it starts": run(events=[phase(8, 2)]),
    "phases that overlap": run(events=[phase(1, 8, "a"), phase(4, 9, "b"), phase(4, 4, "empty")]),
    "engines that come and go": run(gpu(), serving(3), serving(3, at_s=7, subject="engine:1")),
    "GPUs that come and go": run(gpu(3), idle_gpu(3, at_s=7, subject="gpu:1"), serving()),
    "edges that changed": run(histograms=[scrape(0, (0, 0)), scrape(4, (3, 4)), scrape(8, (1, 2, 3))]),
    "a counter that jumps back and forth": run(gpu(), serving(requests_ok_total=[0, 9, 3, 1e15, 0, 1, 1, 1, 0, 0, 2])),
    "requests outside the samples": run(requests=[request(-100), request(100)]),
    "nameless edges": run(histograms=[scrape(0, (0,)), scrape(5, (5,))]),
    "samples at one instant": run(gpu(0), gpu(0), gpu(0), serving(0)),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_run_is_concluded_from_or_abstained_on(odd: str) -> None:
    _whole(conclude(ODD[odd]))


@pytest.mark.parametrize("window_s", [1e-3, 0.7, 1e9])
def test_windows_of_any_length_give_the_same_run(window_s: float) -> None:
    data = run(events=[phase(2, 6)])

    found = conclude(data, window_s=window_s)

    _whole(found)
    assert found.budget is not None
    assert 10.0 == pytest.approx(found.budget.span_s)


EVENT = st.builds(
    lambda make, start, length: make(start, None if length is None else start + length),
    st.sampled_from([phase, capture]),
    st.floats(-5, 15),
    st.none() | st.floats(-3, 20),
)
VALUE = st.sampled_from([NAN, 0.0, 0.5, 1.0])
GPU = st.builds(
    lambda seconds, at_s, index, busy, dram: gpu(
        seconds, hz=1, at_s=at_s, subject=f"gpu:{index}", graphics_active_ratio=busy, dram_active_ratio=dram
    ),
    st.integers(0, 6),
    st.floats(0, 6),
    st.integers(0, 2),
    VALUE,
    VALUE,
)
SERVER = st.builds(
    lambda seconds, at_s, index, running, counted: serving(
        seconds, at_s=at_s, subject=f"engine:{index}", requests_running=running, requests_ok_total=counted
    ),
    st.integers(0, 6),
    st.floats(0, 6),
    st.integers(0, 1),
    st.sampled_from([NAN, 0.0, 0.3, 12.0]),
    st.sampled_from([NAN, 0.0, 7.0]),
)


@settings(max_examples=40)
@given(st.lists(GPU | SERVER, min_size=1, max_size=4), st.lists(EVENT, max_size=4), st.floats(0.3, 20))
def test_any_mixture_is_concluded_from_or_abstained_on(frames: Any, events: Any, window_s: float) -> None:
    _whole(conclude(run(*frames, events=events), window_s=window_s))


def _whole(found: Analysis) -> None:
    verdict, cost = found.verdict, found.cost
    assert verdict.abstained or verdict.shares
    for window in (*verdict.windows, *verdict.phases):
        assert sum(window.shares.values()) == pytest.approx(1) if window.shares else window.abstained
    if verdict.shares:
        assert 1.0 == pytest.approx(sum(share.share for share in verdict.shares))
    assert cost is not None
    for bill in (cost.overall, *cost.phases, *cost.windows):
        assert bill.usd is None or bill.usd >= 0
        assert bill.end_s >= bill.start_s
        assert bill.usd_per_1000 is not None or bill.reason
    assert all(map(math.isfinite, _numbers(asdict(found))))


def _numbers(value: Any) -> Iterator[float]:
    """Every number in nested dictionaries and lists."""
    if isinstance(value, float | int):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _numbers(inner)
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from _numbers(inner)
