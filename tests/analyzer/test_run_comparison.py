"""A change between two runs is told from noise, turns with its sign, and none is found in a run against itself."""

import io
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer import pipeline
from analyzer.billing import Pricing
from analyzer.columns import RunData
from analyzer.latency import order_interval
from analyzer.reports import json as json_report
from analyzer.reports import text as text_report
from analyzer.run_comparison import WINDOW_S, Figure, Key, RunSide, compare, normal_interval, side, students_t
from analyzer.schema import ComparedRun, RunComparison, RunDifference
from collector.errors import UserError
from tests.analyzer.runs import gpu, idle_gpu, phase, request, run, scrape, serving

SAMPLE = Path(__file__).parents[2] / "sample_traces" / "vllm_h200"
SECONDS = 60


def served(
    seed: int, *, per_s: float = 20, ttft: float = 1.0, gpu_frame: Any = None, known: bool = True, **fields: Any
) -> RunData:
    """A minute of requests that come at random, with latencies drawn from one distribution, ``ttft`` times as long."""
    draw = np.random.default_rng(seed)
    counts = draw.poisson(per_s, SECONDS)
    total = np.r_[0, np.cumsum(counts)]
    requests = [
        request(second + float(draw.random()), ttft_s=first, e2e_latency_s=first + float(draw.lognormal(0, 0.2)))
        for second, count in enumerate(counts.tolist())
        for first in (ttft * draw.lognormal(-3, 0.3, count)).tolist()
    ]
    drawn = 605.0 * np.arange(10 * SECONDS + 1) / 10
    return run(
        gpu(SECONDS, energy_joules_total=drawn) if gpu_frame is None else gpu_frame,
        serving(SECONDS, requests_ok_total=total, input_tokens_total=100 * total, output_tokens_total=101 * total),
        requests=requests if known else (),
        **fields,
    )


def reduced(data: RunData, usd_per_gpu_hour: float | None = None) -> RunSide:
    pricing = Pricing(usd_per_gpu_hour=usd_per_gpu_hour)
    return side(data, pipeline.conclude(data, pricing=pricing, window_s=WINDOW_S))


def row(found: RunComparison, measure: str, quantile: float | None = None, **fields: Any) -> RunDifference:
    wanted = {"phase": None, "bottleneck": None} | fields | {"measure": measure, "quantile": quantile}
    (only,) = (each for each in found.rows if all(getattr(each, name) == value for name, value in wanted.items()))
    return only


def text(found: RunComparison, *, full: bool = False) -> str:
    out = io.StringIO()
    text_report.write_comparison(found, out, full=full)
    return out.getvalue()


# ------------------------------------------------------------------------------------------------- what must hold

_BOUND = st.none() | st.floats(0, 10)


@st.composite
def figures(draw: st.DrawFn) -> Figure:
    low, high = draw(_BOUND), draw(_BOUND)
    if low is not None and high is not None:
        low, high = min(low, high), max(low, high)
    known = [bound for bound in (low, high) if bound is not None]
    reason = None if len(known) == 2 else "too few"
    return Figure(sum(known) / len(known) if known else None, low, high, reason)


_KEYS = st.sampled_from(
    [Key("requests_per_s"), Key("ttft_s", 0.5), Key("ttft_s", 0.99), Key("itl_s"), Key("share_ratio", None, "compute")]
)
_ORIGINS = st.sampled_from(["requests", "histogram", "sums", "windows"])
sides = st.builds(
    RunSide,
    run=st.just(ComparedRun(name="run", duration_s=1.0, gpus=(), engine=None, usd_per_gpu_hour=None)),
    inference=st.just(""),
    sections=st.dictionaries(
        st.sampled_from([None, ("load", 0), ("load", 1), ("idle", 0)]),
        st.dictionaries(_KEYS, st.dictionaries(_ORIGINS, figures(), min_size=1)),
    ),
)


def judged(found: RunComparison, *, turned: bool = False) -> list[Any]:
    rows = []
    for each in found.rows:
        low, high, change = each.difference_low, each.difference_high, each.difference
        if turned:
            low, high, change = (None if it is None else 0.0 - it for it in (high, low, change))
        ends = (each.after, each.before) if turned else (each.before, each.after)
        key = (each.phase, each.measure, each.quantile, each.bottleneck, each.outcome)
        known = each.origin is not None
        rows.append(repr((key, ends, low, high, change if known else None)).replace("-0.0", "0.0"))
    return sorted(rows)


@settings(max_examples=60)
@given(sides, sides)
def test_the_other_way_round_every_change_has_the_other_sign(a: RunSide, b: RunSide) -> None:
    found, turned = compare(a, b), compare(b, a)

    assert judged(found) == judged(turned, turned=True)
    for each in (found, turned):
        text(each), text(each, full=True)


@settings(max_examples=30)
@given(sides)
def test_a_run_does_not_differ_from_itself(a: RunSide) -> None:
    found = compare(a, replace(a))

    assert found.identical == bool(found.rows)
    assert "more than noise" not in {each.outcome for each in found.rows}
    assert {0.0} >= {each.difference for each in found.rows if each.difference is not None}
    assert ("no difference" if found.rows else "no figure in common") in text(found)


def test_the_sample_does_not_differ_from_itself_and_its_json_says_so() -> None:
    found = pipeline.compare(SAMPLE, SAMPLE)
    out = io.StringIO()
    json_report.write_comparison(found, out, full=False)
    tree = json.loads(out.getvalue())

    assert ["schema_version", "unit", "before", "after", "identical", "rows", "notes"] == list(tree)
    assert tree["identical"]
    assert len(tree["rows"]) > 80
    assert {0.0} == {each["difference"] for each in tree["rows"]}
    assert {None, "A0_idle", "A1_decode_c32"} < {each["phase"] for each in tree["rows"]}


def test_student_s_t_is_that_of_the_tables() -> None:
    for freedom, expected in ((4, 2.776), (5, 2.571), (9, 2.262), (14, 2.145), (19, 2.093)):
        assert students_t(freedom) == pytest.approx(expected, rel=0.003)


@pytest.mark.parametrize("q", [0.5, 0.99])
def test_the_ranks_of_many_values_are_those_of_the_binomial(q: float) -> None:
    for exact, near in zip(order_interval(100_000, q), normal_interval(100_000, q), strict=True):
        assert exact == pytest.approx(near, abs=3)


# ------------------------------------------------------------------------------------------------ noise and change


def test_what_only_chance_tells_apart_is_within_noise() -> None:
    runs = [reduced(served(seed)) for seed in range(12)]
    rows = [each for a, b in pairwise(runs) for each in compare(a, b).rows]

    assert len(rows) > 100
    # Each figure of which both intervals hold is right; one in a hundred may not be.
    assert sum(each.outcome == "more than noise" for each in rows) <= 0.02 * len(rows)
    assert sum(each.outcome == "cannot tell" for each in rows) < 0.2 * len(rows)


def test_a_shifted_tail_is_found_and_nothing_else_is() -> None:
    found = compare(reduced(served(1)), reduced(served(2, ttft=1.5)))

    for q in (0.5, 0.99):
        shifted = row(found, "ttft_s", q)
        assert ("more than noise", "requests") == (shifted.outcome, shifted.origin)
        assert shifted.before is not None
        assert shifted.difference_low is not None
        assert shifted.difference_high is not None
        assert 0 < shifted.difference_low < 0.5 * shifted.before < shifted.difference_high
    assert "within noise" == row(found, "requests_per_s").outcome
    assert "within noise" == row(found, "tpot_s", 0.5).outcome
    assert "changed by more than noise" in text(found)


def test_a_capped_run_serves_less_at_a_higher_cost() -> None:
    found = compare(reduced(served(1)), reduced(served(2, per_s=12)))

    for measure, sign in (("requests_per_s", -1), ("output_tokens_per_s", -1), ("usd_per_1000", 1)):
        change = row(found, measure)
        assert ("more than noise", True) == (change.outcome, sign * (change.difference or 0.0) > 0)
    energy = row(found, "joules_per_1000")
    assert "more than noise" == energy.outcome
    assert energy.after == pytest.approx(605_000 / 12, rel=0.1)
    assert "within noise" == row(found, "ttft_s", 0.5).outcome


def test_the_bottleneck_that_grew_is_named() -> None:
    found = compare(reduced(served(1)), reduced(served(1, gpu_frame=idle_gpu(SECONDS))))

    memory = row(found, "share_ratio", bottleneck="memory_bandwidth")
    assert ("more than noise", 0.0) == (memory.outcome, memory.after)
    assert any(
        each.bottleneck and each.outcome == "more than noise" and (each.difference or 0.0) > 0.5 for each in found.rows
    )


def test_another_price_is_a_change_and_is_said() -> None:
    found = compare(reduced(served(1), 2.0), reduced(served(1), 4.0))

    assert "more than noise" == row(found, "usd_per_1000").outcome
    assert any("different prices" in note for note in found.notes)
    assert {"usd_per_1000"} == {each.measure for each in found.rows if each.outcome == "more than noise"}


# ----------------------------------------------------------------------------------------------- what cannot be told


def scraped(*cumulative: float) -> RunSide:
    page = [scrape(0, [0.0] * len(cumulative)), scrape(30, cumulative)]
    return reduced(served(1, known=False, histograms=page))


def test_buckets_tell_a_change_only_where_no_value_in_them_could_be_the_same() -> None:
    low, high = scraped(0, 0, 0, 0, 1000, 1000), scraped(0, 0, 0, 0, 0, 1000)
    far = compare(scraped(0, 1000, 1000, 1000, 1000, 1000), low)

    assert ("more than noise", "histogram") == (row(far, "ttft_s", 0.5).outcome, row(far, "ttft_s", 0.5).origin)
    assert row(far, "ttft_s", 0.5).difference_low == pytest.approx(0.2)
    assert row(far, "ttft_s", 0.5).difference_high == pytest.approx(0.4)
    beyond = row(compare(low, high), "ttft_s", 0.5)
    assert ("cannot tell", None) == (beyond.outcome, beyond.after)
    assert "beyond the last bucket in B" in beyond.reason


def test_coarse_buckets_and_few_values_cannot_tell() -> None:
    coarse = compare(scraped(900, 1000), scraped(1000, 1000))
    few = compare(scraped(0, 0, 5, 10), scraped(0, 5, 8, 10))

    assert "beyond the last bucket in A" in row(coarse, "ttft_s", 0.99).reason
    assert "too coarse in A and B" in row(coarse, "ttft_s", 0.5).reason
    assert "10 values are too few" in row(few, "ttft_s", 0.99).reason
    assert {"cannot tell"} == {row(it, "ttft_s", 0.99).outcome for it in (coarse, few)}


def test_clients_and_servers_are_not_timed_alike() -> None:
    found = row(compare(reduced(served(1)), scraped(0, 500, 1000, 1000)), "ttft_s", 0.5)

    assert ("cannot tell", None, None) == (found.outcome, found.origin, found.difference)
    assert "not timed alike" in found.reason
    missing = row(compare(reduced(served(1)), scraped(0, 500, 1000, 1000)), "tpot_s", 0.5)
    assert ("cannot tell", "B does not know it") == (missing.outcome, missing.reason)


def test_phases_are_matched_by_name_and_those_of_one_run_are_named() -> None:
    a = served(1, events=[phase(0, 30, "load"), phase(30, 60, "rest")])
    b = served(2, events=[phase(0, 4, "load"), phase(4, 8, "burst")])

    found = compare(reduced(a), reduced(b))

    assert {None, "load"} == {each.phase for each in found.rows}
    short = row(found, "requests_per_s", phase="load")
    assert ("cannot tell", "only 2 windows of about 2 s in B") == (short.outcome, short.reason)
    assert any("burst, rest" in note for note in found.notes)
    assert "Phase load\n" in text(found, full=True)


def test_the_second_phase_of_a_name_is_held_against_the_second() -> None:
    runs = (served(seed, events=[phase(0, 30), phase(30, 60)]) for seed in (1, 2))

    assert {None, "load", "load (2)"} == {each.phase for each in compare(*map(reduced, runs)).rows}


def test_a_run_and_a_trace_are_two_kinds() -> None:
    trace = SAMPLE / "traces" / "decode_c32.pt.trace.json.gz"
    for pair in ((SAMPLE, trace), (trace, SAMPLE)):
        with pytest.raises(UserError, match=r"vllm_h200 is a run and .*decode_c32.* is a trace: compare two of a kind"):
            pipeline.compare(*pair)


def test_names_from_runs_command_no_terminal() -> None:
    data = served(1, events=[phase(0, 30, "\x1b[31mred\u202e")], name="\x1b[2Jrun")

    assert not {"\x1b", "\u202e"} & set(text(compare(reduced(data), reduced(served(2))), full=True))
    assert not {"\x1b", "\u202e"} & set(text(compare(reduced(data), reduced(data)), full=True))
