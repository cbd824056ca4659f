"""What a reader of a run is told before its figures."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analyzer.columns import Loss, RunData
from analyzer.pipeline import conclude
from analyzer.quality import run_quality
from collector.schema import Engine
from tests.analyzer.runs import run, scrape, serving


def told(data: RunData) -> tuple[str, ...]:
    return run_quality(data, 10.0, 10.0).notes


def counted(http: float, ok: float, failed: float | None = 0.0) -> RunData:
    """Ten seconds in which each counter climbs to this."""
    climbed = np.linspace(0, 1, 11)
    failures: dict[str, Any] = {} if failed is None else {"requests_failed_total": failed * climbed}
    return run(serving(10, http_requests_total=http * climbed, requests_ok_total=ok * climbed, **failures))


def test_requests_that_the_engine_left_out_are_counted_against_http() -> None:
    (note,) = told(counted(1010, 980, 10))

    assert "answered 1,010 HTTP requests and its engine finished 990 sequences: 20 were refused or aborted" in note


def test_more_sequences_than_requests_are_said_to_be_several_each() -> None:
    (note,) = told(counted(100, 400, None))

    assert "n > 1" in note


@pytest.mark.parametrize("data", [counted(100, 99), counted(10_000, 9_950), run(serving(requests_ok_total=0.0)), run()])
def test_requests_in_flight_at_the_ends_are_not_worth_a_word(data: RunData) -> None:
    assert () == told(data)


def test_what_of_a_histogram_cannot_be_used_is_said() -> None:
    rows = [scrape(0, (0, 9)), scrape(2, (9, 99)), scrape(5, (1, 2, 3))]

    assert ("ttft_s: buckets changed or differ between replicas; only their 1 common edges count.",) == told(
        run(histograms=rows)
    )


def test_what_an_importer_says_comes_first() -> None:
    data = run(losses=(Loss(kind="cut_off", count=2, note="n"),), notes=("Written by GuideLLM.",))

    quality = run_quality(data, 10.0, 10.0)

    assert ("Written by GuideLLM.", 2) == (quality.notes[0], quality.losses[0].count)


@pytest.mark.parametrize(("engine", "said"), [("vllm", "n > 1"), ("triton", "samples"), ("unheard-of", "the server")])
def test_what_counts_as_one_inference_is_said_by_engine(engine: str, said: str) -> None:
    data = run()
    named = replace(data, run=replace(data.run, engine=Engine(name=engine)))

    found = conclude(named).latency

    assert found is not None
    assert said in found.inference
