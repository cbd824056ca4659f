import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer import formatting
from analyzer.formatting import duration, gain, interval, money, number, per_thousand, percent, scaled

UNITS_S = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
#: Half a unit of the third digit, with room for the error of the float itself.
THREE_DIGITS = 0.00501


def read(text: str) -> float:
    return float(text.replace(",", ""))


def read_duration(text: str) -> float:
    words = text.removeprefix("-").split()
    size = sum(read(value) * UNITS_S[unit] for value, unit in zip(words[::2], words[1::2], strict=True))
    return -size if text.startswith("-") else size


def test_the_examples_in_the_docstrings_hold() -> None:
    failed, attempted = doctest.testmod(formatting)

    assert failed == 0
    assert attempted


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_a_missing_figure_says_why(value: float | None) -> None:
    why = "no GPM: pre-Hopper"

    assert [why] * 8 == [
        number(value, missing=why),
        formatting.count(value, missing=why),
        scaled(value, "B", missing=why),
        duration(value, missing=why),
        percent(value, missing=why),
        money(value, missing=why),
        per_thousand(value, missing=why),
        gain(value, missing=why),
    ]
    assert interval(None, None, missing=why) == why


@given(st.floats(min_value=-1e18, max_value=1e18))
def test_a_number_keeps_three_digits(value: float) -> None:
    assert math.isclose(value, read(number(value)), rel_tol=THREE_DIGITS, abs_tol=1e-300)


@given(st.floats(min_value=-1e18, max_value=1e18))
def test_a_number_is_short(value: float) -> None:
    assert len(number(value)) <= len("-999,000,000,000,000")


@given(st.floats(min_value=1e-9, max_value=1e7) | st.floats(min_value=-1e7, max_value=-1e-9))
def test_a_duration_keeps_three_digits(seconds: float) -> None:
    assert math.isclose(seconds, read_duration(duration(seconds)), rel_tol=THREE_DIGITS, abs_tol=1e-12)


@given(st.floats(min_value=1e-9, max_value=119))
def test_a_short_duration_never_reaches_the_next_unit(seconds: float) -> None:
    value, unit = duration(seconds).split()

    assert read(value) < 1000 or unit == "s"


@given(st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True))
def test_a_part_is_never_written_as_nothing_or_all(ratio: float) -> None:
    assert percent(ratio) not in {"0 %", "0.0 %", "100 %", "100.0 %"}


@given(st.floats(min_value=0, max_value=1))
def test_a_percentage_is_close_to_its_ratio(ratio: float) -> None:
    assert abs(100 * ratio - read(percent(ratio).strip("<> %"))) <= 0.51


@given(st.floats(min_value=-1e9, max_value=1e9))
def test_money_keeps_three_digits_and_its_sign(usd: float) -> None:
    text = money(usd)

    assert text.startswith("-$") == (usd < 0)
    assert math.isclose(abs(usd), read(text.lstrip("-$")), rel_tol=THREE_DIGITS, abs_tol=1e-300)


@pytest.mark.parametrize(
    ("expected", "low", "high"),
    [
        ("1.62–1.71 s", 1.62, 1.71),
        ("1.62 s", 1.62, 1.6201),
        ("59.1 µs – 1.20 ms", 59.1e-6, 1.2e-3),
        ("2 min 5 s – 2 min 9 s", 125, 129),
        ("> 7.68 s", 7.68, None),
        ("> 7.68 s", 7.68, math.inf),
        ("< 5 ms", None, 0.005),
        ("0 s", 0, 0),
        ("< 300 ms", 0, 0.3),
    ],
)
def test_an_interval_is_one_expression(expected: str, low: float | None, high: float | None) -> None:
    assert expected == interval(low, high)


@pytest.mark.parametrize(
    ("expected", "seconds"),
    [("1.00 s", 0.9999), ("1.00 ms", 0.0009999), ("2 min 0 s", 119.9), ("-3.20 ms", -0.0032), ("0 s", 0.0)],
)
def test_a_duration_rounds_over_to_the_next_unit(expected: str, seconds: float) -> None:
    assert expected == duration(seconds)
