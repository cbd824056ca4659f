import math
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector import scrape
from collector._page import Page
from collector.errors import UserError
from collector.schema import Absent, Histogram
from collector.scrape import decode

PAGE = (Path(__file__).parent / "data" / "vllm_0_23.prom").read_text()
SAMPLED: dict[str, float | Absent] = {
    "requests_running": 256.0,
    "requests_waiting": 0.0,
    "kv_cache_usage_ratio": 0.11836097786511013,
    "requests_ok_total": 1410.0,
    "requests_failed_total": 0.0,
    "http_requests_total": 1410.0,
    "input_tokens_total": 258304.0,
    "output_tokens_total": 334883.0,
    "preemptions_total": 0.0,
    "prefix_cache_queries_total": 0.0,
    "prefix_cache_hits_total": 0.0,
    "front_end_cpu_seconds_total": 65.48,
    "front_end_memory_bytes": 1122263040.0,
} | {
    quantity: Absent(f"vllm's /metrics shows no {family}")
    for quantity, family in {
        "spec_drafts_total": "vllm:spec_decode_num_drafts_total",
        "spec_draft_tokens_total": "vllm:spec_decode_num_draft_tokens_total",
        "spec_accepted_tokens_total": "vllm:spec_decode_num_accepted_tokens_total",
    }.items()
}
#: Quantity → number of finite buckets, observations, their sum.
HISTOGRAMS = {
    "ttft_s": (22, 1666.0, 687.2376317977905),
    "itl_s": (19, 333217.0, 3492.3449468514664),
    "tpot_s": (19, 1410.0, 13.305424634079685),
    "e2e_latency_s": (21, 1410.0, 5761.289194822311),
    "queue_time_s": (21, 1410.0, 51.641960603005714),
    "prefill_s": (21, 1410.0, 255.94505864999252),
    "decode_s": (21, 1410.0, 3097.199726831996),
    "step_tokens": (13, 5282.0, 593187.0),
}


def values(page: str) -> dict[str, float | Absent]:
    """The sampled values on a page."""
    _, (sample,), _ = decode(page, 5)
    return dict(sample.values)


def histogram(page: str, quantity: str) -> Histogram | None:
    _, _, found = decode(page, 5)
    return next((each for each in found if each.quantity == quantity), None)


def small(*lines: str) -> str:
    """A page of vLLM with some lines."""
    return "\n".join(["# TYPE vllm:num_requests_running gauge", "vllm:num_requests_running 1.0", *lines])


def test_a_page_of_vllm_becomes_one_sample() -> None:
    engine, samples, _ = decode(PAGE, 1_795_280_379_000_000_000)

    assert "vllm" == engine
    assert [(1_795_280_379_000_000_000, "serving", "engine:0")] == [
        (sample.t_ns, sample.source, sample.subject) for sample in samples
    ]
    assert samples[0].values == SAMPLED


def test_a_page_of_vllm_holds_its_histograms() -> None:
    _, _, histograms = decode(PAGE, 7)

    assert HISTOGRAMS == {each.quantity: (len(each.edges), each.cumulative[-1], each.sum) for each in histograms}
    assert {(7, "engine:0")} == {(each.t_ns, each.subject) for each in histograms}
    assert all(list(each.edges) == sorted(each.edges) for each in histograms)
    assert all(list(each.cumulative) == sorted(each.cumulative) for each in histograms)


def test_steps_are_a_histogram_although_their_name_ends_like_a_counter() -> None:
    steps = histogram(PAGE, "step_tokens")

    assert steps is not None
    assert (1.0, 8.0, 16.0, 32.0) == steps.edges[:4]
    assert "step_tokens" not in values(PAGE)


def test_a_type_line_overrules_what_is_expected() -> None:
    page = small(
        "# TYPE vllm:time_to_first_token_seconds counter",
        "vllm:time_to_first_token_seconds 3.0",
        "# TYPE vllm:num_requests_waiting histogram",
        'vllm:num_requests_waiting_bucket{le="+Inf"} 3.0',
    )

    assert histogram(page, "ttft_s") is None


def test_what_the_page_lacks_is_absent_and_says_so() -> None:
    assert values(small()) == {"requests_running": 1.0} | {
        quantity: Absent(f"vllm's /metrics shows no {family}")
        for quantity, family in {
            "requests_waiting": "vllm:num_requests_waiting",
            "kv_cache_usage_ratio": "vllm:kv_cache_usage_perc",
            "requests_ok_total": "vllm:request_success_total",
            "requests_failed_total": "vllm:request_success_total",
            "http_requests_total": "http_requests_total",
            "input_tokens_total": "vllm:prompt_tokens_total",
            "output_tokens_total": "vllm:generation_tokens_total",
            "preemptions_total": "vllm:num_preemptions_total",
            "prefix_cache_queries_total": "vllm:prefix_cache_queries_total",
            "prefix_cache_hits_total": "vllm:prefix_cache_hits_total",
            "spec_drafts_total": "vllm:spec_decode_num_drafts_total",
            "spec_draft_tokens_total": "vllm:spec_decode_num_draft_tokens_total",
            "spec_accepted_tokens_total": "vllm:spec_decode_num_accepted_tokens_total",
            "front_end_cpu_seconds_total": "process_cpu_seconds_total",
            "front_end_memory_bytes": "process_resident_memory_bytes",
        }.items()
    }


def test_a_value_that_is_no_number_is_absent() -> None:
    page = small("# TYPE vllm:num_requests_waiting gauge", "vllm:num_requests_waiting NaN")

    assert Absent("vllm:num_requests_waiting is nan") == values(page)["requests_waiting"]


def test_the_series_of_several_engines_are_added_and_ratios_averaged() -> None:
    found = values(
        small(
            'vllm:num_requests_running{engine="1"} 5',
            "# TYPE vllm:kv_cache_usage_perc gauge",
            'vllm:kv_cache_usage_perc{engine="0"} 0.5',
            'vllm:kv_cache_usage_perc{engine="1"} 0.7',
            "# TYPE vllm:request_success_total counter",
            'vllm:request_success_total{engine="0",finished_reason="stop"} 1',
            'vllm:request_success_total{engine="1",finished_reason="length"} 2',
            'vllm:request_success_total{engine="1",finished_reason="repetition"} 4',
            'vllm:request_success_total{engine="0",finished_reason="abort"} 8',
            'vllm:request_success_total{engine="1",finished_reason="error"} 16',
            'vllm:request_success_total{engine="1",finished_reason="a new one"} 32',
        )
    )

    assert (6.0, 0.6) == (found["requests_running"], found["kv_cache_usage_ratio"])
    assert (7.0, 24.0) == (found["requests_ok_total"], found["requests_failed_total"])


def test_histograms_of_several_engines_are_added_on_the_edges_they_share() -> None:
    found = histogram(
        small(
            "# TYPE vllm:time_to_first_token_seconds histogram",
            'vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1"} 1',
            'vllm:time_to_first_token_seconds_bucket{engine="0",le="0.5"} 2',
            'vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf"} 3',
            'vllm:time_to_first_token_seconds_count{engine="0"} 3',
            'vllm:time_to_first_token_seconds_sum{engine="0"} 1.5',
            'vllm:time_to_first_token_seconds_bucket{engine="1",le="0.5"} 10',
            'vllm:time_to_first_token_seconds_bucket{engine="1",le="2.5"} 20',
            'vllm:time_to_first_token_seconds_bucket{engine="1",le="+Inf"} 30',
            'vllm:time_to_first_token_seconds_sum{engine="1"} 2.5',
        ),
        "ttft_s",
    )

    assert found == Histogram(
        t_ns=5, subject="engine:0", quantity="ttft_s", edges=(0.5,), cumulative=(12.0, 33.0), sum=4.0
    )


@pytest.mark.parametrize(
    "lines",
    [
        ['vllm:time_to_first_token_seconds_bucket{le="0.5"} 1'],
        ["vllm:time_to_first_token_seconds_sum 1"],
        ['vllm:time_to_first_token_seconds_bucket{le="+Inf"} NaN'],
        [
            'vllm:time_to_first_token_seconds_bucket{le="+Inf"} 1',
            "vllm:time_to_first_token_seconds_sum +Inf",
        ],
        ['vllm:time_to_first_token_seconds_bucket{le="+Inf"} 1'],
        [
            'vllm:time_to_first_token_seconds_bucket{le="0.5"} 2',
            'vllm:time_to_first_token_seconds_bucket{le="+Inf"} 1',
            "vllm:time_to_first_token_seconds_sum 1",
        ],
        [],
    ],
)
def test_a_histogram_that_is_not_whole_is_left_out(lines: list[str]) -> None:
    assert histogram(small("# TYPE vllm:time_to_first_token_seconds histogram", *lines), "ttft_s") is None


def test_older_names_count_where_the_newer_are_not_shown() -> None:
    old = [
        "# TYPE vllm:gpu_cache_usage_perc gauge",
        "vllm:gpu_cache_usage_perc 0.25",
        "# TYPE vllm:time_per_output_token_seconds histogram",
        'vllm:time_per_output_token_seconds_bucket{le="+Inf"} 4',
        "vllm:time_per_output_token_seconds_sum 1",
    ]
    new = [
        "# TYPE vllm:kv_cache_usage_perc gauge",
        "vllm:kv_cache_usage_perc 0.75",
        "# TYPE vllm:inter_token_latency_seconds histogram",
        'vllm:inter_token_latency_seconds_bucket{le="+Inf"} 5',
        "vllm:inter_token_latency_seconds_sum 1",
    ]
    before, both = small(*old), small(*old, *new)
    early, late = histogram(before, "itl_s"), histogram(both, "itl_s")

    assert 0.25 == values(before)["kv_cache_usage_ratio"]
    assert 0.75 == values(both)["kv_cache_usage_ratio"]
    assert early is not None
    assert late is not None
    assert ((4.0,), (5.0,)) == (early.cumulative, late.cumulative)


def test_only_the_lines_that_are_mapped_are_parsed() -> None:
    assert values(small("# TYPE", "# EOF", "other{", "vllm:unknown not a number"))["requests_running"] == 1.0


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("", "not the metrics of an engine known here"),
        ("<html>404</html>", "not the metrics of an engine known here"),
        ("# TYPE another:num_running_reqs gauge\nanother:num_running_reqs 1", "not the metrics of an engine known"),
        (small("vllm:num_requests_running{ 1"), "malformed"),
        (small("vllm:num_requests_running many"), "malformed"),
        (
            small("# TYPE vllm:time_to_first_token_seconds histogram", "vllm:time_to_first_token_seconds_bucket 1"),
            "bucket without an edge",
        ),
        (
            small(
                "# TYPE vllm:time_to_first_token_seconds histogram",
                'vllm:time_to_first_token_seconds_bucket{le="low"} 1',
            ),
            "bucket without an edge",
        ),
    ],
)
def test_a_page_that_cannot_be_read_is_one_sentence(page: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        decode(page, 0)

    assert "\n" not in str(caught.value)


def test_labels_as_long_as_a_settings_page_are_read() -> None:
    """vLLM 0.32 shows the 38 settings of its cache as labels of one series."""
    settings = ",".join(f'setting_{n}="{"x" * 20}"' for n in range(40))
    page = Page(f"# TYPE vllm:cache_config_info gauge\nvllm:cache_config_info{{{settings}}} 1\n")

    (labels,) = page.families(["vllm:cache_config_info"])["vllm:cache_config_info"].values[""]
    assert 40 == len(labels)


def test_a_page_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "LARGEST_PAGE", len(PAGE) - 1)

    with pytest.raises(UserError, match="too large"):
        decode(PAGE, 0)


@given(
    st.lists(
        st.sampled_from(sorted(set(re.findall(r"^(?:# TYPE )?(?:vllm:|process)[^\s{]*", PAGE, re.MULTILINE)))).flatmap(
            lambda start: st.text('{}="\\,le01.+-eINFna# \t', max_size=20).map(lambda end: start + end)
        ),
        max_size=8,
    )
)
@example(["# TYPE vllm:num_requests_running "])
def test_any_page_is_read_or_refused(lines: list[str]) -> None:
    try:
        _, (sample,), histograms = decode(small(*lines), 0)
    except UserError:
        return
    assert all(isinstance(value, Absent) or math.isfinite(value) for value in sample.values.values())
    assert all(len(each.edges) + 1 == len(each.cumulative) for each in histograms)
