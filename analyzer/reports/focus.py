"""Charges for a cost tool: rows in the columns of FOCUS 1.2, the FinOps Open Cost and Usage Specification.

One row for each part of a run's invoice, so that their ``BilledCost`` sums to it. What FOCUS has no column for begins
with ``x_``. What a run does not know of its bill, such as the account, is *unstated*; prices of units are left out,
since a part may hold several. A source without a bill has no row, so it is refused.
"""

import csv
import datetime as dt
import json
import math
from collections.abc import Iterator, Sequence
from typing import TextIO

from analyzer.invoice import PARTS
from analyzer.prices import UNSTATED
from analyzer.reports._cells import cell
from analyzer.schema import Analysis, Cost, CostWindow, InvoicePart, Price
from analyzer.wording import plain
from collector.errors import UserError

SUFFIX = ".focus.csv"

#: https://github.com/FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec, tag v1.2, specification/columns.
VERSION = "1.2"
COLUMNS = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd",
    "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "EffectiveCost", "InvoiceIssuerName",
    "ListCost", "PricingCategory", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "RegionId",
    "RegionName", "ResourceId", "ResourceName", "ResourceType", "ServiceCategory", "ServiceName", "SkuId", "Tags",
    "x_InvoicePart", "x_UsdPerGpuHour", "x_RequestsOk", "x_RequestsFailed", "x_UsdPer1000", "x_FocusVersion",
)  # fmt: skip

_CATEGORIES = {"on-demand": "Standard", "reserved-1y": "Committed", "reserved-3y": "Committed", "spot": "Dynamic"}


def write(analyses: Sequence[Analysis], out: TextIO, *, full: bool) -> None:  # noqa: ARG001 - a bill is always full
    """Write the charges of every source.

    Raises:
        UserError: One of them has no bill.
    """
    rows = [row for analysis in analyses for row in _rows(analysis)]
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: cell(value) for name, value in row.items()})


def _rows(analysis: Analysis) -> Iterator[dict[str, str | float | None]]:
    cost = analysis.cost
    if cost is None or cost.price is None or cost.invoice is None:
        reason = "only runs have one" if cost is None else cost.overall.reason or "it has no price throughout"
        raise UserError(f"{plain(analysis.source.name, 80)} has no bill: {plain(reason)}")
    for part in cost.invoice.parts:
        yield _when(cost) | _charge(analysis, cost, part) | _what(analysis, cost.price, cost.overall, part)


def _when(cost: Cost) -> dict[str, str | float | None]:
    """The run as the period of the charge, in the month of its beginning, to whole seconds that hold it."""
    start = dt.datetime.fromtimestamp(math.floor(cost.overall.start_s), dt.UTC)
    end = dt.datetime.fromtimestamp(math.ceil(cost.overall.end_s), dt.UTC)
    month = start.replace(day=1, hour=0, minute=0, second=0)
    following = (month + dt.timedelta(days=32)).replace(day=1)
    names = ("ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodStart", "BillingPeriodEnd")
    return {
        name: f"{when:%Y-%m-%dT%H:%M:%SZ}" for name, when in zip(names, (start, end, month, following), strict=True)
    }


def _charge(analysis: Analysis, cost: Cost, part: InvoicePart) -> dict[str, str | float | None]:
    gpu_hours = part.seconds / 3600 * cost.gpus * cost.share.ratio
    usd = dict.fromkeys(("BilledCost", "EffectiveCost", "ContractedCost", "ListCost"), part.usd)
    return {
        **usd,
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargeClass": None,
        "ChargeDescription": f"{PARTS[part.part]}, {analysis.source.name}",
        "ChargeFrequency": "Usage-Based",
        "ConsumedQuantity": gpu_hours,
        "ConsumedUnit": "GPU-Hours",
        "PricingQuantity": gpu_hours,
        "PricingUnit": "GPU-Hours",
    }


def _what(analysis: Analysis, price: Price, whole: CostWindow, part: InvoicePart) -> dict[str, str | float | None]:
    return {
        "BillingAccountId": UNSTATED,
        "BillingAccountName": None,
        "InvoiceIssuerName": price.provider,
        "PricingCategory": _CATEGORIES.get(price.market, "Other"),
        "ProviderName": price.provider,
        "PublisherName": price.provider,
        "RegionId": None if price.region == UNSTATED else price.region,
        "RegionName": None if price.region == UNSTATED else price.region,
        "ResourceId": analysis.source.name,
        "ResourceName": analysis.source.name,
        "ResourceType": "GPU",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": analysis.source.engine or "inference server",
        "SkuId": price.sku,
        "Tags": json.dumps({"gpu": plain(price.gpu), "market": plain(price.market)}),
        "x_InvoicePart": part.part,
        "x_UsdPerGpuHour": price.usd_per_gpu_hour,
        "x_RequestsOk": whole.requests_ok,
        "x_RequestsFailed": whole.requests_failed,
        "x_UsdPer1000": whole.usd_per_1000,
        "x_FocusVersion": VERSION,
    }
