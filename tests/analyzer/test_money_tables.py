"""The tables of cost: what is printed of a bill adds up, and what is not known has no line."""

import datetime as dt
import re
from dataclasses import replace
from decimal import Decimal

import pytest

from analyzer.schema import Cost, PriceChange
from analyzer.tables import lines, money
from tests import builders


def bill(**fields: object) -> Cost:
    cost = builders.run_analysis().cost
    assert cost is not None
    return replace(cost, **fields)  # type: ignore[arg-type]


def figures(cost: Cost) -> list[Decimal]:
    return [Decimal(re.sub(r"[$,]", "", row[1])) for row in money.invoice(cost).rows]


@pytest.mark.parametrize("usd", [(0.0,), (1 / 3, 1 / 3, 1 / 3), (1234.567, 0.005), (1e-7, 2e-7), (5e6, 1 / 7)])
def test_the_lines_of_an_invoice_add_up_to_its_last(usd: tuple[float, ...]) -> None:
    cost = bill(invoice=builders.invoice(**dict(zip(("startup", "answered", "idle"), usd, strict=False))))

    *parts, whole = figures(cost)

    assert whole == sum(parts)
    assert float(whole) == pytest.approx(sum(usd), rel=1e-3, abs=1e-9)


def test_without_an_invoice_there_is_no_table() -> None:
    assert () == money.invoice(bill(invoice=None)).rows


def test_a_phase_of_which_no_rate_is_known_has_no_line() -> None:
    known = builders.cost_window("load", usd_per_1000_slo=0.5, joules_per_1000=7200.0)

    (row,) = money.rates([builders.cost_window("idle"), known]).rows

    assert ("load", "$0.500", "–", "–", "2", "–") == row


def test_the_bill_is_said_where_a_thousand_has_no_price() -> None:
    silent = builders.cost_window(usd=6.88, usd_per_1000=None, reason="no request succeeded in this time")

    assert ["no cost: no request succeeded in this time · the bill is $6.88"] == lines.cost(bill(overall=silent))


def test_shares_targets_and_warnings_are_said_beneath_the_cost() -> None:
    share = replace(bill().share, ratio=0.5, origin="mig")
    within = builders.cost_window(usd_per_1000_slo=0.061)

    said = lines.cost(bill(overall=within, share=share, warnings=("the price is old",)))

    assert "$0.0610 in SLO" in said[0]
    assert "× 50 % of 1 NVIDIA H200" in said[1]
    assert "the price is old" == said[2]


def test_what_a_price_does_not_say_is_left_out_of_its_line() -> None:
    said = lines.price(bill(price=builders.price(region="unstated")))

    assert ["at $3.83 / hour × 1 NVIDIA H200: example cloud on demand 2026-11-21"] == said


def test_a_list_of_prices_marks_what_is_old_and_what_changes() -> None:
    old = builders.price(read_on="2026-01-01", changes=(PriceChange(from_s=0.0, usd_per_gpu_hour=1.0),))

    first, second = money.prices([old, builders.price()], dt.date(2026, 11, 21)).rows

    assert ("$3.83 *", "2026-01-01 (old)") == (first[1], first[6])
    assert ("$3.83", "2026-11-21") == (second[1], second[6])
