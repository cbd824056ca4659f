"""What the server costs, as the collector exports it: by its own counters, over a window that it states."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from collector.config import load_options
from collector.errors import UserError
from collector.exposition import Exposition
from collector.options import Options
from collector.price import WINDOW_S, Price
from collector.schema import Absent, Gpu, Sample
from collector.service import Service
from tests.collector.clocks import FakeClock


def answers(t_s: float, count: float | Absent, subject: str = "engine:0") -> Sample:
    return Sample(t_ns=round(t_s * 1e9), source="serving", subject=subject, values={"requests_ok_total": count})


def read(price: Price, now_s: float) -> dict[str, float]:
    return {
        family.name.removeprefix("inferometer_cost_"): family.samples[0].value
        for family in price.families(round(now_s * 1e9))
    }


def test_the_hour_is_known_before_anything_is_answered() -> None:
    assert {"usd_per_hour": 16.0} == read(Price(16.0), 5)


def test_a_thousand_costs_what_the_time_cost_in_which_they_were_answered() -> None:
    price = Price(36.0)
    price.observe([answers(0, 500), answers(60, 1100)])

    # 100 s of a dollar a hundred seconds, and 600 answers.
    assert {"usd_per_hour": 36.0, "usd_per_1000_inferences": 1000 / 600, "window_seconds": 100} == pytest.approx(
        read(price, 100)
    )


def test_only_the_window_counts() -> None:
    price = Price(3600.0)
    price.observe(answers(second, 10 * second) for second in range(1000))
    price.observe(answers(1000 + second, 9990) for second in range(200))

    found = read(price, 1199)

    assert WINDOW_S == found["window_seconds"]
    assert 1000 * WINDOW_S / (9990 - 10 * 899) == pytest.approx(found["usd_per_1000_inferences"])


def test_the_bill_runs_on_while_the_server_is_silent_until_the_window_has_no_answer() -> None:
    price = Price(36.0)
    price.observe([answers(0, 0), answers(10, 100)])

    assert read(price, 20)["usd_per_1000_inferences"] == pytest.approx(2 * read(price, 10)["usd_per_1000_inferences"])
    assert {"usd_per_hour": 36.0} == read(price, 10 + WINDOW_S)


def test_a_counter_that_falls_began_anew_and_engines_add_up() -> None:
    price = Price(3600.0)
    price.observe([answers(0, 100), answers(0, 7, "engine:1"), answers(10, 20), answers(10, 17, "engine:1")])
    price.observe([answers(20, Absent("it went away")), Sample(t_ns=0, source="host", subject="host", values={})])

    assert 1000 * 10 / 30 == pytest.approx(read(price, 10)["usd_per_1000_inferences"])


def test_a_clock_that_was_set_back_begins_a_window() -> None:
    price = Price(3600.0)
    price.observe([answers(5000, 0), answers(5010, 100), answers(10, 150), answers(20, 160)])

    assert {"usd_per_1000_inferences": 1000.0, "window_seconds": 10.0} == pytest.approx(
        {name: value for name, value in read(price, 20).items() if name != "usd_per_hour"}
    )


def test_a_window_at_ten_readings_a_second_stays_short() -> None:
    price = Price(1.0)
    price.observe(answers(tick / 10, tick) for tick in range(20_000))

    assert len(price._window) <= WINDOW_S + 3
    assert 1000 / 10 / 3600 == pytest.approx(read(price, 2000)["usd_per_1000_inferences"], rel=1e-2)


def test_the_page_has_the_cost_and_parses() -> None:
    exposition = Exposition(clock=FakeClock().clock, price=Price(2.0))
    registry = CollectorRegistry()
    registry.register(exposition)

    page = generate_latest(registry).decode()

    assert "inferometer_cost_usd_per_hour 2.0" in page
    assert ["inferometer_cost_usd_per_hour"] == [family.name for family in text_string_to_metric_families(page)]


@pytest.mark.parametrize(
    ("given", "gpus", "usd_per_hour"),
    [({}, 2, None), ({"price": 3.0}, 2, 6.0), ({"price": 3.0, "billed": 0.5}, 2, 1.5), ({"price": 3.0}, 0, None)],
)
def test_every_gpu_that_is_seen_is_billed_unless_told(
    given: dict[str, float], gpus: int, usd_per_hour: float | None
) -> None:
    said: list[str] = []
    seen = tuple(Gpu(index=index, name="NVIDIA H200") for index in range(gpus))
    options = Options(price_per_gpu_hour_usd=given.get("price"), billed_gpus=given.get("billed"))

    price = Service(options, said.append, gpus=seen)._price()

    assert (price and price.usd_per_hour) == usd_per_hour
    assert len(said) == (1 if given and not gpus else 0)


def test_the_price_can_be_told_in_every_way() -> None:
    options = load_options({"price_per_gpu_hour": 2.5}, {"INFEROMETER_BILLED_GPUS": "0.5"}, None)

    assert (2.5, 0.5) == (options.price_per_gpu_hour_usd, options.billed_gpus)


@pytest.mark.parametrize(
    ("name", "value"),
    [("price_per_gpu_hour", -1), ("price_per_gpu_hour", "nan"), ("price_per_gpu_hour", "EUR 2"), ("billed_gpus", 0)],
)
def test_what_is_no_price_is_a_sentence(name: str, value: object) -> None:
    with pytest.raises(UserError, match=r"price|GPU|`float"):
        load_options({name: value}, {}, None)
