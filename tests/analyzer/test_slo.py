import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.columns import RunData
from analyzer.pipeline import analyze, conclude, load
from analyzer.schema import Slo, SloWindow
from analyzer.slo import answers_within, load_slo, presets, service
from analyzer.tables.promises import sentences
from collector.errors import UserError
from tests.analyzer.runs import phase, request, run, scrape, serving, spans

RUN = Path(__file__).parents[2] / "sample_traces" / "vllm_h200"
EDGES = (0.1, 0.2, 0.5, 1.0)


def slo(target: float = 0.9, **limits_s: float) -> Slo:
    return Slo(name="chat", target_ratio=target, limits_s=limits_s, source="yours", read_on="")


def overall(data: RunData, targets: Slo) -> SloWindow:
    return service(data, targets, *spans()).overall


def pages(quantity: str, values: list[float], subject: str = "engine:0") -> list[dict[str, Any]]:
    """A histogram before and after these values were observed."""
    counts = (*(sum(value <= edge for value in values) for edge in EDGES), len(values))
    named = {"quantity": quantity, "edges": EDGES, "subject": subject}
    return [scrape(0, (0,) * len(counts), **named), scrape(10, counts, **named, sum=sum(values))]


# --------------------------------------------------------------------------------------------------- from requests


def test_a_request_is_good_within_every_limit_and_a_failed_one_never() -> None:
    asked = [
        request(1, ttft_s=0.1, e2e_latency_s=1.1),
        request(2, ttft_s=0.5, e2e_latency_s=1.5),
        request(3, ttft_s=0.1, e2e_latency_s=9.0),
        request(4, ttft_s=0.01, e2e_latency_s=0.02, error="503"),
    ]

    found = overall(run(serving(10), requests=asked), slo(ttft_s=0.5, tpot_s=0.02))

    assert ("requests", 4, 1, 2, 2) == (
        found.origin, found.requests, found.failed, found.good_low, found.good_high
    )  # fmt: skip
    assert (0.5, 0.5, 5.0, 5.0) == pytest.approx(
        (found.good_low_ratio, found.good_high_ratio, found.burn_rate_low, found.burn_rate_high)
    )
    assert 0.2 == pytest.approx(found.goodput_low_requests_per_s)


def test_an_answer_of_one_token_keeps_any_limit_between_tokens() -> None:
    found = overall(run(serving(10), requests=[request(1, output_tokens=1)]), slo(ttft_s=1.0, tpot_s=1e-9))

    assert 1 == found.good_low


def test_what_is_not_known_of_a_request_may_be_good_or_not() -> None:
    found = overall(run(serving(10), requests=[request(1), request(2, ttft_s=None)]), slo(ttft_s=1.0))

    assert (1, 2) == (found.good_low, found.good_high)
    assert [None] == answers_within(
        service(run(requests=[request(1), request(2, ttft_s=None)]), slo(ttft_s=1), *spans())
    )


def test_requests_count_where_they_arrived_and_the_parts_add_up() -> None:
    asked = [request(at_s, ttft_s=at_s / 10, error="x" if at_s == 3 else None) for at_s in range(10)]
    data = run(serving(10), requests=asked, events=[phase(0, 5), phase(5, None)])

    found = service(data, slo(ttft_s=0.6), *spans(0, 5, 11))

    assert [4, 2] == [each.good_low for each in found.windows] == [each.good_low for each in found.phases]
    assert 1.0 == pytest.approx(found.budget_requests)
    assert [6 / 9, 4 / 4, 2 / 5, 4 / 4, 2 / 5] == answers_within(found)


def test_no_request_is_no_share() -> None:
    found = service(run(serving(10), requests=[request(1)]), slo(ttft_s=1), *spans(5, 10)).windows[0]

    assert (None, None, "no request in this time") == (found.requests, found.good_low_ratio, found.reason)


# ---------------------------------------------------------------------------------------------------- from buckets


def test_a_limit_between_two_edges_leaves_what_is_between_them_open() -> None:
    values = [0.05, 0.15, 0.3, 0.4, 2.0]

    found = overall(run(serving(10), histograms=pages("ttft_s", values)), slo(ttft_s=0.35))

    assert ("histogram", 5, 2, 4) == (found.origin, found.requests, found.good_low, found.good_high)


def test_a_limit_at_an_edge_is_exact_and_one_beyond_the_last_is_open() -> None:
    data = run(serving(10), histograms=pages("ttft_s", [0.05, 0.15, 2.0]))

    assert (2, 2) == ((found := overall(data, slo(ttft_s=0.2))).good_low, found.good_high)
    assert (2, 3) == ((found := overall(data, slo(ttft_s=5.0))).good_low, found.good_high)


@given(
    st.lists(st.tuples(st.floats(0.001, 2), st.floats(0.001, 2), st.booleans()), min_size=1, max_size=40),
    st.floats(0.01, 3),
    st.floats(0.01, 3),
)
def test_the_bounds_hold_the_share_of_the_requests_that_were_counted(
    drawn: list[tuple[float, float, bool]], first: float, whole: float
) -> None:
    """Each request has a TTFT; one that fails has one too, but ends in no histogram."""
    answered = [(ttft, e2e) for ttft, e2e, ok in drawn if ok]
    failed = len(drawn) - len(answered)
    data = run(
        serving(10, requests_failed_total=np.linspace(0, failed, 11)),
        histograms=[
            *pages("ttft_s", [ttft for ttft, *_ in drawn]),
            *pages("e2e_latency_s", [e2e for _, e2e in answered]),
        ],
    )

    found = overall(data, slo(ttft_s=first, e2e_latency_s=whole))

    good = sum(ttft <= first and e2e <= whole for ttft, e2e in answered)
    assert found.good_low is not None
    assert found.good_high is not None
    assert (len(drawn), failed) == (found.requests, found.failed)
    assert found.good_low <= good <= found.good_high


def test_limits_on_what_nobody_recorded_cannot_be_judged() -> None:
    found = service(run(serving(10)), slo(queue_time_s=1), *spans())

    assert "neither requests nor buckets of queue_time_s were recorded" == found.overall.reason
    assert (None, None) == (found.budget_requests, found.overall.origin)
    assert "cannot tell" in sentences(found)[0]


def test_buckets_judge_what_requests_do_not_tell() -> None:
    data = run(serving(10), requests=[request(1)], histograms=pages("queue_time_s", [0.05, 0.7]))

    assert ("histogram", 1) == ((found := overall(data, slo(queue_time_s=0.5))).origin, found.good_low)


# ------------------------------------------------------------------------------------------- targets and the sample


def test_every_preset_can_be_named_and_says_where_it_is_from() -> None:
    for name, each in presets().items():
        assert each == load_slo(name)
        assert "MLPerf" in each.source
        assert set(each.limits_s) == {"ttft_s", "tpot_s"}


def test_a_file_of_targets_is_read(tmp_path: Path) -> None:
    path = tmp_path / "chat.toml"
    path.write_text("target = 0.95\nttft_s = 0.3\nqueue_time_s = 1\n")

    assert Slo(
        name="chat", target_ratio=0.95, limits_s={"ttft_s": 0.3, "queue_time_s": 1.0}, source="yours", read_on=""
    ) == load_slo(str(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("target = 1.0\nttft_s = 1", "target is 1; it is the share"),
        ("target = 0\nttft_s = 1", "target is 0"),
        ("target = nan\nttft_s = 1", "target is nan"),
        ("target = 0.9", "sets no limit"),
        ("target = 0.9\nttft_s = -1", "ttft_s is -1; a limit is"),
        ("target = 0.9\nttft_s = inf", "ttft_s is inf"),
        ("target = 0.9\nttft_ms = 1", "unknown field `ttft_ms`"),
        ("ttft_s = 1", "missing required field `target`"),
        ("target = 'high'\nttft_s = 1", "Expected `float`"),
        ("target = ", "holds no targets that can be used"),
        ("#" * 70_000, "too large"),
        ("\x00", "holds no targets that can be used"),
    ],
)
def test_targets_that_cannot_be_used_say_why(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.toml").write_text(text)

    with pytest.raises(UserError, match=said) as caught:
        load_slo(str(tmp_path / "bad.toml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gpt-5-server", "", "."])
def test_unknown_targets_name_the_known_ones_or_the_trouble(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"there are no targets|cannot be read"):
        load_slo(str(tmp_path) if name == "." else name)


def test_the_buckets_of_the_sample_hold_what_its_requests_tell() -> None:
    """The server sees each request a little sooner than its client, so a few more are within."""
    targets = load_slo("llama-3.1-8b-interactive")
    analysis = analyze(RUN, slo=targets)
    assert analysis.slo is not None
    data = load(RUN)
    assert isinstance(data, RunData)
    scraped = conclude(replace(data, requests=data.requests[:0]), slo=targets).slo
    assert scraped is not None
    assert (811, 1822) == (analysis.slo.overall.good_low, analysis.slo.overall.requests)
    assert (1822, "histogram") == (scraped.overall.requests, scraped.overall.origin)
    low, high = scraped.overall.good_low_ratio, scraped.overall.good_high_ratio
    assert low is not None
    assert high is not None
    assert low - 0.02 <= 811 / 1822 <= high
    assert analysis.cost is not None
    per_1000, within = analysis.cost.overall.usd_per_1000, analysis.cost.overall.usd_per_1000_slo
    assert per_1000 is not None
    assert within == pytest.approx(per_1000 * 1822 / 811)
    assert math.isclose(55.4884742041712, analysis.slo.overall.burn_rate_low or 0)
