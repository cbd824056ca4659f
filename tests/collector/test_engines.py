"""A page of each engine, and what it says in the catalogue's words."""

from pathlib import Path

import pytest

from collector import dialects
from collector.schema import Absent
from collector.scrape import Scrape, read

DATA = Path(__file__).parent / "data"
#: Engine → sampled quantities that its page shows.
VALUES = {
    # Two replicas of two ranks each: ranks are copies, replicas are added up.
    "sglang": {
        "requests_running": 64.0,
        "requests_waiting": 3.0,
        "kv_cache_usage_ratio": 0.375,
        "requests_ok_total": 1200.0,
        "requests_failed_total": 7.0,
        "input_tokens_total": 614400.0,
        "output_tokens_total": 240000.0,
        "preemptions_total": 6.0,
        "prefix_cache_queries_total": 614400.0,
        "prefix_cache_hits_total": 170000.0,
        "front_end_cpu_seconds_total": 312.5,
        "front_end_memory_bytes": 2147483648.0,
    },
    "tgi": {
        "requests_running": 32.0,
        "requests_waiting": 5.0,
        "requests_ok_total": 1000.0,
        "requests_failed_total": 10.0,
        "input_tokens_total": 412000.0,
        "output_tokens_total": 118000.0,
        "spec_accepted_tokens_total": 40000.0,
    },
    # The ensemble counts each request for its steps, too.
    "triton": {
        "requests_running": 64.0,
        "requests_waiting": 11.0,
        "kv_cache_usage_ratio": 0.42,
        "requests_ok_total": 1000.0,
        "requests_failed_total": 5.0,
    },
    "nim": {
        "requests_running": 17.0,
        "requests_waiting": 2.0,
        "kv_cache_usage_ratio": 0.31,
        "requests_ok_total": 98.0,
        "requests_failed_total": 2.0,
        "input_tokens_total": 51200.0,
        "output_tokens_total": 25600.0,
        "front_end_cpu_seconds_total": 99.5,
        "front_end_memory_bytes": 1073741824.0,
    },
    "trtllm": {
        "requests_running": 9.0,
        "requests_waiting": 1.0,
        "kv_cache_usage_ratio": 0.62,
        "requests_ok_total": 100.0,
        "requests_failed_total": 3.0,
        "input_tokens_total": 81920.0,
        "output_tokens_total": 20480.0,
    },
}
#: Engine → histogram → finite edges, observations, their sum.
HISTOGRAMS = {
    "sglang": {
        "ttft_s": (6, 1200.0, 268.5),
        "itl_s": (5, 238800.0, 1671.6),
        "e2e_latency_s": (4, 1200.0, 1980.0),
        "queue_time_s": (3, 1200.0, 4.75),
    },
    "tgi": {
        "tpot_s": (3, 1000.0, 13.0),
        "e2e_latency_s": (4, 1000.0, 1650.0),
        "queue_time_s": (4, 1000.0, 1.5),
    },
    # Counters of microseconds have no edges: their mean is all that is known.
    "triton": {
        "ttft_s": (4, 1000.0, 210.0),
        "e2e_latency_s": (0, 1000.0, 2000.0),
        "queue_time_s": (0, 1000.0, 50.0),
    },
    "nim": {
        "ttft_s": (4, 100.0, 4.1),
        "itl_s": (3, 25500.0, 210.0),
        "e2e_latency_s": (3, 100.0, 222.0),
    },
    "trtllm": {
        "ttft_s": (3, 100.0, 9.5),
        "tpot_s": (2, 100.0, 0.9),
        "e2e_latency_s": (3, 100.0, 101.0),
        "queue_time_s": (2, 100.0, 3.0),
        "prefill_s": (2, 100.0, 6.5),
        "decode_s": (3, 100.0, 91.5),
    },
}


def page(engine: str) -> str:
    return (DATA / f"{engine}.prom").read_text()


def present(scrape: Scrape) -> dict[str, float]:
    return {quantity: value for quantity, value in scrape.values.items() if not isinstance(value, Absent)}


def test_every_engine_has_a_page() -> None:
    assert set(dialects.plugins()) == {*VALUES, "vllm"} == {*HISTOGRAMS, "vllm"}


@pytest.mark.parametrize("engine", sorted(VALUES))
def test_a_page_of_an_engine_in_the_words_of_the_catalogue(engine: str) -> None:
    scrape = read(page(engine), 7)

    assert engine == scrape.engine
    assert VALUES[engine] == present(scrape)
    assert HISTOGRAMS[engine] == {
        each.quantity: (len(each.edges), each.cumulative[-1], each.sum) for each in scrape.histograms
    }


@pytest.mark.parametrize("engine", sorted(VALUES))
def test_what_an_engine_has_not_is_absent_with_its_reason(engine: str) -> None:
    absent = {quantity: value for quantity, value in read(page(engine), 7).values.items() if isinstance(value, Absent)}
    lacks = dialects.plugins()[engine].LACKS

    assert {quantity: Absent(lacks[quantity]) for quantity in absent if quantity in lacks} == {
        quantity: value for quantity, value in absent.items() if quantity in lacks
    }
    assert set(dialects.quantities(None)) == set(absent) | set(VALUES[engine])


def test_milliseconds_become_seconds() -> None:
    ttft = next(each for each in read(page("triton"), 0).histograms if each.quantity == "ttft_s")

    assert (0.1, 0.5, 2.0, 5.0) == ttft.edges
    assert (400.0, 900.0, 990.0, 1000.0, 1000.0) == ttft.cumulative


@pytest.mark.parametrize("engine", ["sglang", "vllm_0_23"])
def test_a_prefix_with_an_underscore_is_the_same(engine: str) -> None:
    rewritten = page(engine).replace("sglang:", "sglang_").replace("vllm:", "vllm_")

    assert present(read(page(engine), 0)) == present(read(rewritten, 0))
    assert read(page(engine), 0).histograms == read(rewritten, 0).histograms


def test_a_triton_without_the_engine_adds_its_models_up() -> None:
    scrape = read(page("triton").replace("tensorrt_llm", "bert"), 0)

    assert 900 + 900 + 1000 == scrape.values["requests_ok_total"]


def test_a_summary_is_its_mean() -> None:
    lines = page("tgi").splitlines()
    start = lines.index("# TYPE tgi_request_duration histogram")
    buckets = [line for line in lines if line.startswith("tgi_request_duration_bucket")]
    rest = [line for line in lines if line not in buckets]
    rest[rest.index(lines[start])] = "# TYPE tgi_request_duration summary"

    duration = next(each for each in read("\n".join(rest), 0).histograms if each.quantity == "e2e_latency_s")

    assert ((), (1000.0,), 1650.0) == (duration.edges, duration.cumulative, duration.sum)


def test_a_tenth_rank_comes_after_the_ninth() -> None:
    name = "sglang:num_running_reqs"
    ranks = "".join(f'{name}{{tp_rank="{rank}"}} {rank}\n' for rank in (10, 9, 11))

    assert 9.0 == read(f"# TYPE {name} gauge\n{ranks}", 0).values["requests_running"]


def test_speculation_is_three_counters() -> None:
    shown = {"drafts": 10.0, "draft_tokens": 50.0, "accepted_tokens": 31.0}
    lines = ["# TYPE vllm:num_requests_running gauge", "vllm:num_requests_running 1"]
    for name, value in shown.items():
        family = f"vllm:spec_decode_num_{name}_total"
        lines += [f"# TYPE {family} counter", f'{family}{{engine="0"}} {value}']

    values = read("\n".join(lines), 0).values

    assert (10.0, 50.0, 31.0) == tuple(
        values[f"spec_{name}_total"] for name in ("drafts", "draft_tokens", "accepted_tokens")
    )
