"""Rules and verdict, on evidence drawn by hand: seconds of each part in each window."""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer import rules
from analyzer.bottlenecks import BOTTLENECKS
from analyzer.columns import Float64
from analyzer.evidence import PARTS, Evidence
from analyzer.verdict import judge
from collector.plugins import discover

Columns: TypeAlias = Mapping[str, float | list[float]]

RULES = discover(rules)
BUSY_SERVER: Columns = {"requests_running": 32.0, "requests_waiting": 0.0, "front_end_cores": 0.3}


def evidence(
    parts: Columns,
    signals: Columns | None = None,
    missing: dict[str, str] | None = None,
    kind: str = "samples",
) -> Evidence:
    """Evidence of as many windows as the longest list has; a number stands for every window."""
    given_signals = BUSY_SERVER if signals is None else signals
    count = max(
        (len(value) for value in (*parts.values(), *given_signals.values()) if isinstance(value, list)), default=1
    )

    def column(value: float | list[float]) -> Float64:
        return np.full(count, value, np.float64) if isinstance(value, float | int) else np.array(value, np.float64)

    edges = np.arange(count + 1, dtype=np.int64) * 10_000_000_000
    return Evidence(
        kind="trace" if kind == "trace" else "samples",
        start_ns=edges[:-1],
        end_ns=edges[1:],
        parts={name: column(parts.get(name, 0.0)) for name in PARTS},
        signals={name: column(value) for name, value in given_signals.items()},
        missing=missing or {},
    )


@pytest.mark.parametrize(
    ("parts", "signals", "expected"),
    [
        ({"compute_bound": 10}, {**BUSY_SERVER, "compute_roof_ratio": 0.7}, "compute"),
        ({"memory_bound": 10}, {**BUSY_SERVER, "compute_roof_ratio": 0.1}, "memory_bandwidth"),
        ({"memory_bound": 10}, {**BUSY_SERVER, "requests_waiting": 40.0, "compute_roof_ratio": 0.1}, "batching"),
        ({"idle_no_demand": 10}, {"requests_running": 0.0, "requests_waiting": 0.0}, "low_traffic"),
        ({"idle_starved": 4, "compute_bound": 6}, {**BUSY_SERVER, "compute_roof_ratio": 0.9}, "host_overhead"),
        ({"idle_starved": 4, "compute_bound": 6}, {**BUSY_SERVER, "front_end_cores": 0.93}, "cpu_preprocessing"),
    ],
)
def test_each_class_is_named_by_its_own_evidence(parts: Columns, signals: Columns, expected: str) -> None:
    verdict = judge(evidence(parts, signals))

    assert (expected, None) == (verdict.bottleneck, verdict.abstained)
    assert verdict.shares[0].evidence


def test_with_requests_waiting_beyond_the_ridge_it_is_still_compute() -> None:
    verdict = judge(evidence({"compute_bound": 10}, {**BUSY_SERVER, "requests_waiting": 40.0}))

    assert verdict.bottleneck == "compute"


def test_what_can_be_won_back_outranks_what_lasts_longest() -> None:
    # GIVEN 55 % of the time at the compute roof itself, and 45 % lost between launches
    verdict = judge(evidence({"compute_bound": 5.5, "idle_starved": 4.5}, {**BUSY_SERVER, "compute_roof_ratio": 1.0}))

    assert (verdict.bottleneck, verdict.runner_up) == ("host_overhead", "compute")


def test_a_crumb_is_no_headline() -> None:
    # GIVEN a GPU at its roof 98 % of the time: the last 2 % are recoverable, and beside the point
    verdict = judge(evidence({"compute_bound": 9.8, "idle_starved": 0.2}, {**BUSY_SERVER, "compute_roof_ratio": 1.0}))

    assert verdict.bottleneck == "compute"


def test_a_mixed_run_shows_both_causes_in_proportion() -> None:
    verdict = judge(evidence({"memory_bound": [10, 0], "idle_no_demand": [0, 10]}, BUSY_SERVER))

    assert {share.bottleneck: share.share for share in verdict.shares} == {"memory_bandwidth": 0.5, "low_traffic": 0.5}
    assert [window.bottleneck for window in verdict.windows] == ["memory_bandwidth", "low_traffic"]


def test_idle_time_of_unseen_demand_is_never_called_low_traffic() -> None:
    verdict = judge(
        evidence({"idle_unknown": 8, "memory_bound": 2}, {}, {"idle_unknown": "no serving samples in this run"})
    )

    assert verdict.bottleneck == "unknown"
    assert "no serving samples in this run" in (verdict.abstained or "")


def test_starvation_with_an_unseen_front_end_is_left_open() -> None:
    seen = {"requests_running": 200.0, "requests_waiting": 0.0}

    verdict = judge(evidence({"idle_starved": 8, "compute_bound": 2}, seen, {"idle_starved": "not exported"}))

    assert verdict.bottleneck == "unknown"
    assert "not exported" in (verdict.abstained or "")


def test_less_evidence_gives_less_confidence_never_a_bolder_guess() -> None:
    full = judge(evidence({"memory_bound": 10}))
    no_queue = judge(evidence({"memory_bound": 10}, {}))
    with_doubt = judge(evidence({"memory_bound": 7, "busy_other": 3}, {}))

    assert full.confidence > no_queue.confidence > with_doubt.confidence
    assert {"memory_bandwidth"} == {verdict.bottleneck for verdict in (full, no_queue, with_doubt)}


def test_a_record_with_holes_costs_confidence_and_then_the_verdict() -> None:
    whole, holes, ruin = (judge(evidence({"compute_bound": 10}), coverage=share) for share in (1.0, 0.8, 0.3))

    assert pytest.approx(0.8 * whole.confidence) == holes.confidence
    assert (ruin.bottleneck, ruin.confidence) == ("unknown", 0.0)
    assert "30 %" in (ruin.abstained or "")


def test_nothing_observed_is_an_abstention_with_a_reason() -> None:
    verdict = judge(evidence({}, {}, {"gpu": "no GPU samples in this run"}))

    assert ("unknown", "no GPU samples in this run", ()) == (verdict.bottleneck, verdict.abstained, verdict.shares)


def test_a_phase_is_judged_on_its_own_windows() -> None:
    windows = evidence({"memory_bound": [10, 0, 0], "idle_no_demand": [0, 10, 10]})

    verdict = judge(windows, [("loaded", np.array([True, False, False])), ("quiet", np.array([False, True, True]))])

    assert [("loaded", "memory_bandwidth"), ("quiet", "low_traffic")] == [
        (phase.name, phase.bottleneck) for phase in verdict.phases
    ]


SECONDS = st.lists(st.floats(0, 10, allow_subnormal=False), min_size=3, max_size=3)
SIGNAL = st.lists(st.floats(0, 300) | st.just(float("nan")), min_size=3, max_size=3)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(PARTS, SECONDS)),
    st.fixed_dictionaries(
        {},
        optional={
            "requests_running": SIGNAL,
            "requests_waiting": SIGNAL,
            "front_end_cores": SIGNAL,
            "step_tokens": SIGNAL,
            "roof_margin": st.lists(st.floats(0, 1), min_size=3, max_size=3),
            "compute_roof_ratio": st.lists(st.floats(0, 1) | st.just(float("nan")), min_size=3, max_size=3),
        },
    ),
    st.sampled_from(["trace", "samples"]),
)
def test_whatever_the_evidence_shares_sum_to_one_and_no_second_is_claimed_twice(
    parts: Columns, signals: Columns, kind: str
) -> None:
    drawn = evidence(parts, signals, kind=kind)

    verdict = judge(drawn)

    if drawn.observed_s.sum() > 0:
        assert verdict.shares
        assert sum(share.share for share in verdict.shares) == pytest.approx(1)
    assert 0 <= verdict.confidence <= 1
    for share in verdict.shares:
        assert 0 <= share.recoverable_s <= share.share * drawn.observed_s.sum() * (1 + 1e-9)
    assert (verdict.bottleneck == "unknown") == (verdict.abstained is not None)


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_rule_is_a_class_and_a_whole_page(name: str) -> None:
    page = RULES[name].__doc__ or ""

    assert name in BOTTLENECKS
    for section in ("**What you see.**", "**Why.**", "**What to try.**", "**What it is confused with.**"):
        assert section in page
    assert RULES[name].REMEDY.endswith(".")
