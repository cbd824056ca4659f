"""Charges in the columns of FOCUS: rows that sum to the invoice, under names that the specification has."""

import csv
import io
import json
import re
from dataclasses import replace

import pytest

from analyzer.reports import focus
from analyzer.schema import Analysis, Cost
from collector.errors import UserError
from tests import builders

#: FOCUS 1.2, specification/columns: what every dataset must have, and of these what must not be null.
MANDATORY = {
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart",
    "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit",
    "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
}  # fmt: skip
NULLABLE = {"BillingAccountName", "ChargeClass"}
#: The same: recommended, or conditional.
OTHERS = {
    "AvailabilityZone", "BillingAccountType", "CapacityReservationId", "CapacityReservationStatus", "ChargeFrequency",
    "CommitmentDiscountCategory", "CommitmentDiscountId", "CommitmentDiscountName", "CommitmentDiscountQuantity",
    "CommitmentDiscountStatus", "CommitmentDiscountType", "CommitmentDiscountUnit", "ConsumedQuantity", "ConsumedUnit",
    "ContractedUnitPrice", "InvoiceId", "ListUnitPrice", "PricingCategory", "PricingCurrency",
    "PricingCurrencyContractedUnitPrice", "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice", "RegionId",
    "RegionName", "ResourceId", "ResourceName", "ResourceType", "ServiceSubcategory", "SkuId", "SkuMeter",
    "SkuPriceDetails", "SkuPriceId", "SubAccountId", "SubAccountName", "SubAccountType", "Tags",
}  # fmt: skip


def bill(analysis: Analysis) -> Cost:
    assert analysis.cost is not None
    return analysis.cost


def rows(*analyses: Analysis) -> list[dict[str, str]]:
    out = io.StringIO()
    focus.write(analyses, out, full=False)
    return list(csv.DictReader(io.StringIO(out.getvalue())))


def test_the_columns_are_those_of_the_specification() -> None:
    own = {name for name in focus.COLUMNS if name.startswith("x_")}

    assert set(focus.COLUMNS) - own >= MANDATORY
    assert set(focus.COLUMNS) - own <= MANDATORY | OTHERS
    assert all(re.fullmatch(r"x_[A-Z]\w+", name) for name in own)


def test_the_charges_are_the_parts_of_the_invoice_and_sum_to_it() -> None:
    analysis = builders.run_analysis()

    found = rows(analysis, analysis)

    invoice = bill(analysis).invoice
    assert invoice is not None
    assert [part.part for part in invoice.parts] * 2 == [row["x_InvoicePart"] for row in found]
    assert 2 * invoice.usd == pytest.approx(sum(float(row["BilledCost"]) for row in found))
    hours = sum(float(row["PricingQuantity"]) for row in found)
    assert 2 * 40 / 3600 == pytest.approx(hours)


def test_what_must_not_be_null_is_not() -> None:
    for row in rows(builders.run_analysis()):
        assert all(row[name] for name in MANDATORY - NULLABLE)
        assert ("USD", "Usage", "Usage-Based") == (
            row["BillingCurrency"],
            row["ChargeCategory"],
            row["ChargeFrequency"],
        )
        assert row["PricingCategory"] in {"Standard", "Dynamic", "Committed", "Other"}
        assert isinstance(json.loads(row["Tags"]), dict)


def test_times_are_whole_seconds_of_utc_within_a_month() -> None:
    row = rows(builders.run_analysis())[0]

    assert ("2026-11-21T16:58:56Z", "2026-11-21T16:59:36Z") == (row["ChargePeriodStart"], row["ChargePeriodEnd"])
    assert ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z") == (row["BillingPeriodStart"], row["BillingPeriodEnd"])


@pytest.mark.parametrize(
    ("market", "category"),
    [("on-demand", "Standard"), ("spot", "Dynamic"), ("reserved-3y", "Committed"), ("as given", "Other")],
)
def test_the_market_is_a_category_of_pricing(market: str, category: str) -> None:
    analysis = builders.run_analysis()
    priced = replace(analysis, cost=replace(bill(analysis), price=builders.price(market=market, region="unstated")))

    row = rows(priced)[0]

    assert (category, "") == (row["PricingCategory"], row["RegionId"])


def test_a_name_from_a_file_is_no_formula() -> None:
    analysis = builders.run_analysis()
    hostile = replace(analysis, source=replace(analysis.source, name="=cmd()\x1b[31m"))

    assert all(row["ResourceId"].startswith("'=cmd()") and "\x1b" not in row["ResourceId"] for row in rows(hostile))


def test_a_source_without_a_bill_is_refused_by_its_name() -> None:
    unpriced = builders.run_analysis()
    unpriced = replace(
        unpriced, cost=replace(bill(unpriced), invoice=None, overall=builders.cost_window(reason="no price for it"))
    )

    with pytest.raises(UserError, match="vllm_h200 has no bill: no price for it"):
        rows(unpriced)
    with pytest.raises(UserError, match="has no bill: only runs have one"):
        rows(builders.run_analysis(), builders.trace_analysis())
