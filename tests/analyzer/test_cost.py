from typing import Any

import numpy as np
import pytest

from analyzer import cost as costing
from analyzer.billing import Terms
from analyzer.columns import Int64, RunData
from analyzer.prices import own_price
from analyzer.schema import Cost, CostWindow, Price
from tests.analyzer.runs import at, gpu, phase, request, run, serving, spans

NAN = float("nan")
HOUR_S = 3600.0
RATE = own_price("NVIDIA H100 80GB HBM3", 6.88)


def hour(**counted: float) -> RunData:
    """An hour of one GPU; each counter climbs from zero to the figure given."""
    read: dict[str, Any] = {name: [0, count] for name, count in counted.items()}
    return run(serving(HOUR_S, hz=1 / HOUR_S, **read), gpus=("NVIDIA H100 80GB HBM3",))


def cost(data: RunData, price: Price | None, start: Int64, end: Int64) -> Cost:
    """At one price, for all GPUs of the run."""
    return costing.cost(data, Terms(price=price, gpus=len(data.run.gpus)), start, end)


def overall(data: RunData, price: Price | None = RATE) -> CostWindow:
    return cost(data, price, *spans(0, HOUR_S)).overall


# --------------------------------------------------------------------------------------------- worked by hand


def test_an_hour_of_80_000_requests_at_6_88_dollars_costs_8_6_cents_a_thousand() -> None:
    found = overall(hour(requests_ok_total=80_000))

    assert 6.88 == pytest.approx(found.usd)
    assert 0.086 == pytest.approx(found.usd_per_1000)


def test_requests_that_failed_stay_in_the_bill_and_leave_the_count() -> None:
    found = overall(hour(requests_ok_total=40_000, requests_failed_total=40_000))

    assert (40_000, 40_000) == (found.requests_ok, found.requests_failed)
    assert 0.172 == pytest.approx(found.usd_per_1000)


def test_half_an_hour_of_load_in_an_hour_is_half_idle() -> None:
    running = np.where(np.arange(3601) < 1800, 5, 0)
    data = run(serving(HOUR_S, requests_running=running, requests_ok_total=np.arange(3601)), events=[phase(0, HOUR_S)])

    found = cost(data, RATE, *spans(0, 1800, HOUR_S))

    (whole,) = found.phases
    assert 0.5 == whole.idle_ratio
    assert whole.usd_per_1000 is not None
    assert whole.usd_per_1000 / 2 == pytest.approx(whole.usd_per_1000_busy)
    assert [0.0, 1.0] == [window.idle_ratio for window in found.windows]


def test_the_bill_counts_a_restarted_counter_once() -> None:
    data = run(serving(3, requests_ok_total=[100, 150, 20, 60]))

    assert 110 == overall(data).requests_ok


def test_an_idle_hour_is_billed_like_a_busy_one() -> None:
    assert overall(hour(requests_ok_total=0)).usd == overall(hour(requests_ok_total=9)).usd


def test_every_gpu_of_the_replica_is_billed() -> None:
    data = run(serving(HOUR_S, hz=1 / HOUR_S, requests_ok_total=[0, 1000]), gpus=("NVIDIA H200",) * 8)

    found = cost(data, own_price("NVIDIA H200", 2.0), *spans())

    assert 8 == found.gpus
    assert (16.0, 16.0) == pytest.approx((found.overall.usd, found.overall.usd_per_1000))


def test_tokens_cost_by_the_million_read_and_written() -> None:
    found = overall(hour(requests_ok_total=1, input_tokens_total=3e6, output_tokens_total=1e6))

    assert 6.88 / 4 == pytest.approx(found.usd_per_million_tokens)


@pytest.mark.parametrize("known", ["input_tokens_total", "output_tokens_total"])
def test_half_of_the_tokens_are_not_all_of_them(known: str) -> None:
    assert overall(hour(requests_ok_total=1, **{known: 1e6})).usd_per_million_tokens is None


def test_energy_is_shared_by_the_requests_that_succeeded() -> None:
    joules = [gpu(10, hz=0.1, subject=f"gpu:{index}", energy_joules_total=[7e6, 7e6 + 500]) for index in range(2)]
    data = run(*joules, serving(10, hz=0.1, requests_ok_total=[0, 4], requests_failed_total=[0, 9]))

    assert 250.0 == pytest.approx(overall(data).joules_per_request)


def test_the_windows_add_up_to_the_bill() -> None:
    data = run(serving(100, requests_ok_total=np.arange(101)), events=[phase(10, 20), phase(50, None)])

    found = cost(data, RATE, *spans(0, 3, 50, 100))

    assert found.overall.usd == pytest.approx(sum(window.usd or NAN for window in found.windows))
    assert [10, 50] == [window.requests_ok for window in found.phases]


# --------------------------------------------------------------------------------------------------- refusals


def test_without_a_success_there_is_a_bill_but_no_price_a_request() -> None:
    found = overall(hour(requests_ok_total=0, requests_failed_total=12))

    assert 6.88 == pytest.approx(found.usd)
    assert (None, None, None) == (found.usd_per_1000, found.usd_per_1000_busy, found.joules_per_request)
    assert "no request succeeded in this time" == found.reason


def test_less_than_half_a_request_is_none() -> None:
    data = run(serving(10, hz=0.1, requests_ok_total=[0, 1]))

    (window,) = cost(data, RATE, *spans(0, 4)).windows

    assert (0, None) == (window.requests_ok, window.usd_per_1000)


def test_without_a_price_everything_but_dollars_is_known() -> None:
    found = overall(hour(requests_ok_total=5, requests_failed_total=1), None)

    assert (None, None, None) == (found.usd, found.usd_per_1000, found.usd_per_million_tokens)
    assert (5, 1) == (found.requests_ok, found.requests_failed)
    assert found.reason is not None
    assert "--price" in found.reason


def test_a_replica_of_unknown_size_is_not_priced() -> None:
    found = cost(run(serving(10, requests_ok_total=np.arange(11)), gpus=()), RATE, *spans()).overall

    assert (None, None) == (found.usd, found.usd_per_1000)
    assert "the run does not say how many GPUs the replica holds" == found.reason


def test_requests_that_were_not_counted_are_not_none() -> None:
    found = overall(hour())

    assert (None, None) == (found.requests_ok, found.usd_per_1000)
    assert "the number of finished requests was not recorded" == found.reason


def test_without_a_server_that_was_read_its_client_counts() -> None:
    asked = [request(second, input_tokens=300, output_tokens=100) for second in range(4)]
    data = run(gpu(10), requests=[*asked, request(4, error="timeout", input_tokens=NAN, output_tokens=NAN)])

    early, late = cost(data, RATE, *spans(0, 2, 10)).windows

    assert [(2, 0), (2, 1)] == [(window.requests_ok, window.requests_failed) for window in (early, late)]
    assert 1e6 * 6.88 * 2 / 3600 / 800 == pytest.approx(early.usd_per_million_tokens)


def test_tokens_that_its_client_did_not_count_are_not_none() -> None:
    data = run(gpu(10), requests=[request(0), request(1, output_tokens=NAN)])

    found = cost(data, RATE, *spans(0, 10)).overall

    assert (2, None) == (found.requests_ok, found.usd_per_million_tokens)


def test_time_that_nobody_scraped_is_not_time_without_requests() -> None:
    data = run(gpu(100, hz=1), serving(10, requests_ok_total=np.arange(11)))

    seen, unseen = cost(data, RATE, *spans(0, 11, 100)).windows

    assert (10, 0.0, None) == (seen.requests_ok, seen.idle_ratio, seen.reason)
    assert (None, None) == (unseen.requests_ok, unseen.idle_ratio)
    assert "the number of finished requests was not recorded" == unseen.reason


def test_a_phase_that_has_just_begun_costs_nothing_yet() -> None:
    (begun,) = cost(run(serving(10), events=[phase(12, None)]), RATE, *spans()).phases

    assert (0.0, at(12) / 1e9, at(12) / 1e9) == (begun.usd, begun.start_s, begun.end_s)


# --------------------------------------------------------------------------------------------------- idle share


def test_gpus_are_paid_for_while_any_engine_works() -> None:
    running = [0, 1, 1, 1, 0], [0, 0, 0, 1, 0]
    data = run(*(serving(4, subject=f"engine:{place}", requests_running=row) for place, row in enumerate(running)))

    (window,) = cost(data, RATE, *spans(0, 4)).windows

    assert 0.25 == window.idle_ratio


def test_a_mean_of_requests_tells_the_least_idle_share() -> None:
    """As the readings of a long run are: means of many."""
    (window,) = cost(run(serving(4, requests_running=[0.25, 0, 1.5, 2, 9])), RATE, *spans(0, 4)).windows

    assert (0.75 + 1) / 4 == window.idle_ratio


# ------------------------------------------------------------------------------------------------------- prices


def test_a_price_of_nothing_is_a_price() -> None:
    found = overall(hour(requests_ok_total=10), own_price("mine", 0.0))

    assert (0.0, 0.0, None) == (found.usd, found.usd_per_1000, found.reason)
