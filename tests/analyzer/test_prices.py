"""Prices: each with its source and its day, the user's before those that come along, and every mistake one sentence."""

import datetime as dt
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer import prices
from analyzer.prices import Prices, days_apart, line_to_add, load_prices, own_price
from collector.errors import UserError
from tests import builders

ROW = 'gpu = "NVIDIA T4"\nusd_per_gpu_hour = 0.53\nread_on = 2026-11-01\n'


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "prices.toml"


def loaded(file: Path, text: str) -> Prices:
    file.write_text(text, "utf-8")
    return load_prices(file)


@pytest.mark.parametrize(
    ("driver_s_name", "gpu"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA B200", "B200"),
        ("NVIDIA A100-SXM4-80GB", "A100 80 GB"),
        ("NVIDIA A100 80GB PCIe", "A100 80 GB"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA GH200 480GB", "GH200"),
    ],
)
def test_a_gpu_is_priced_by_the_driver_s_name(driver_s_name: str, gpu: str) -> None:
    assert gpu == load_prices().of(driver_s_name)[0].gpu


@pytest.mark.parametrize("other", ["Tesla T4", "NVIDIA A100-SXM4-40GB", "NVIDIA GB200", "NVIDIA L40", ""])
def test_another_gpu_is_not_priced_by_a_likeness_of_names(other: str) -> None:
    assert () == load_prices().of(other)


def test_every_price_tells_its_source_and_its_day() -> None:
    rows = load_prices().rows
    for price in rows:
        assert 0 < price.usd_per_gpu_hour < 100
        assert dt.date.fromisoformat(price.read_on) > dt.date(2020, 1, 1)
        assert all((price.source, price.provider, price.sku, price.region))
        assert price.market in {"on-demand", "reserved-1y", "reserved-3y", "spot"}
    assert {"on-demand", "reserved-1y", "spot"} <= {price.market for price in load_prices().of("NVIDIA H100 80GB HBM3")}


def test_the_default_of_a_gpu_is_what_anybody_can_rent() -> None:
    rows = load_prices().rows
    for price in rows:
        assert "on-demand" == next(row for row in rows if row.gpu == price.gpu).market


def test_your_own_price_says_that_it_is_yours() -> None:
    price = own_price("NVIDIA H200", 3.5)

    assert (3.5, "NVIDIA H200", "yours", "--price") == (price.usd_per_gpu_hour, price.gpu, price.provider, price.source)


# ---------------------------------------------------------------------------------------------- the user's file


def test_your_row_stands_before_those_that_come_along(own: Path) -> None:
    mine, *others = loaded(
        own, '[[price]]\ngpu = "H200"\nusd_per_gpu_hour = 2\nread_on = 2026-11-01\nprovider = "us"\n'
    ).of("NVIDIA H200")

    assert (2.0, "us", str(own), "2026-11-01") == (mine.usd_per_gpu_hour, mine.provider, mine.source, mine.read_on)
    assert list(load_prices().of("NVIDIA H200")) == others


def test_your_row_replaces_the_one_of_the_same_offer(own: Path) -> None:
    theirs = load_prices().of("NVIDIA L40S")[0]
    offer = f'gpu = "L40S"\nprovider = "{theirs.provider}"\nsku = "{theirs.sku}"\nregion = "{theirs.region}"\n'

    (mine,) = loaded(own, f"[[price]]\n{offer}usd_per_gpu_hour = 9\nread_on = 2026-11-01\n").of("NVIDIA L40S")

    assert 9.0 == mine.usd_per_gpu_hour


def test_a_price_may_change_and_its_days_are_utc_s(own: Path) -> None:
    series = "[{from = 2026-11-01, usd_per_gpu_hour = 2}, {from = 2026-11-02T08:00:00+02:00, usd_per_gpu_hour = 3}]"

    price = loaded(own, ROW.replace("0.53", series).join(["[[price]]\n", ""])).of("NVIDIA T4")[0]

    begins = [dt.datetime.fromtimestamp(step.from_s, dt.UTC) for step in price.changes]
    assert [dt.datetime(2026, 11, 1, tzinfo=dt.UTC), dt.datetime(2026, 11, 2, 6, tzinfo=dt.UTC)] == begins
    assert 3.0 == price.usd_per_gpu_hour


def test_the_line_that_is_asked_for_is_one_that_is_taken(own: Path) -> None:
    line = line_to_add('Te"sla\n T4', dt.date(2026, 11, 21))

    assert 0.5 == loaded(own, line.replace("…", "0.5")).of("Tesla T4")[0].usd_per_gpu_hour


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("price = 3", "is no list of prices"),
        ("[[price]]", "is no list of prices"),
        ("[[price]\n", "is not TOML"),
        (f"[[price]]\n{ROW}currency = 'EUR'", "is in EUR"),
        (f"[[price]]\n{ROW}currency = 3", "is no list of prices"),
        (f"[[price]]\n{ROW}colour = 'red'", "is no list of prices"),
        (f"[[price]]\n{ROW}match = '('", "match is no regular expression"),
        ("[[price]]\n" + ROW.replace("0.53", "-1"), "a price is zero dollars an hour or more"),
        ("[[price]]\n" + ROW.replace("0.53", "nan"), "a price is zero dollars an hour or more"),
        ("[[price]]\n" + ROW.replace("0.53", "inf"), "a price is zero dollars an hour or more"),
        ("[[price]]\n" + ROW.replace("0.53", "1" + "0" * 400), "a price is zero dollars an hour or more"),
        ("[[price]]\n" + ROW.replace("0.53", "1" + "0" * 5000), "is not TOML"),
        ("[[price]]\n" + ROW.replace("0.53", "'2.10'"), "is no number of dollars"),
        ("[[price]]\n" + ROW.replace("0.53", "true"), "is no number of dollars"),
        ("[[price]]\n" + ROW.replace("0.53", "[]"), "is an empty list"),
        ("[[price]]\n" + ROW.replace("0.53", "[3]"), "each step is"),
        ("[[price]]\n" + ROW.replace("0.53", "[{from = 1, usd_per_gpu_hour = 2}]"), "which is no time"),
        (
            "[[price]]\n"
            + ROW.replace(
                "0.53", "[{from = 2026-01-02, usd_per_gpu_hour = 2}, {from = 2026-01-01, usd_per_gpu_hour = 2}]"
            ),
            "not in order of time",
        ),
        ("[[price]]\n" + ROW.replace("2026-11-01", "'2026-11-01'"), "needs the day it was read"),
        ("[[price]]\n" + ROW.replace("NVIDIA T4", " "), "names no GPU"),
    ],
)
def test_a_mistake_in_your_file_is_a_sentence(own: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        loaded(own, text)


def test_a_file_that_is_not_there_or_not_text_or_too_large_is_a_sentence(own: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_prices(own)
    own.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not TOML"):
        load_prices(own)
    own.write_bytes(b"#" * (2 << 20))
    with pytest.raises(UserError, match="larger than any list of prices"):
        load_prices(own)


@given(st.text(max_size=200))
def test_no_text_is_more_than_a_sentence(text: str) -> None:
    with suppress(UserError):
        prices._parse(text, "prices.toml")


def test_a_price_without_a_day_has_no_age() -> None:
    assert days_apart(own_price("mine", 1.0), dt.date(2026, 11, 21)) is None
    assert 20 == days_apart(builders.price(read_on="2026-11-01"), dt.date(2026, 11, 21))
