"""The tables of cost: the invoice by what it paid for, the rates it comes to, and prices side by side."""

import datetime as dt
import math
from collections.abc import Iterable, Sequence

from analyzer.formatting import MISSING, duration, money, number, percent
from analyzer.invoice import PARTS, rounded
from analyzer.prices import OLD_DAYS, days_apart
from analyzer.schema import Cost, CostWindow, Invoice, Price
from analyzer.tables.grid import Grid, columns
from analyzer.wording import plain

#: Digits of a bill that are shown, and decimals at the least.
_DIGITS, _CENTS, _MOST_DECIMALS = 4, 2, 9
_JOULES_PER_WH = 3600.0


def invoice(cost: Cost) -> Grid:
    """What the bill paid for; the figures shown add up to the last line."""
    found, rows = cost.invoice, []
    if found is not None:
        places = decimals(found)
        for part, usd in zip(found.parts, rounded(found, places), strict=True):
            share = percent(part.usd / found.usd if found.usd else None)
            rows.append((PARTS[part.part], f"${usd:,}", share, duration(part.seconds)))
        seconds = duration(sum(part.seconds for part in found.parts))
        rows.append(("invoice", f"${found.usd:,.{places}f}", percent(1 if found.usd else None), seconds))
    return Grid(title="Invoice", columns=columns("paid for", ">USD", ">share", ">time"), rows=tuple(rows))


def decimals(found: Invoice) -> int:
    """With how many decimals a bill is shown: cents, and more where that would be few digits."""
    if found.usd <= 0:
        return _CENTS
    return min(_MOST_DECIMALS, max(_CENTS, _DIGITS - 1 - math.floor(math.log10(found.usd))))


def rates(windows: Iterable[CostWindow]) -> Grid:
    """What each window comes to within its targets, by token, and in energy; empty where none is known."""
    rows = tuple(
        (
            plain(window.name or "all", 40),
            money(window.usd_per_1000_slo),
            money(window.usd_per_million_input_tokens),
            money(window.usd_per_million_output_tokens),
            number(None if window.joules_per_1000 is None else window.joules_per_1000 / _JOULES_PER_WH),
            number(window.joules_per_output_token),
        )
        for window in windows
    )
    return Grid(
        title="Cost within the SLO, of tokens, and in energy",
        columns=columns(
            "phase", ">$ per 1,000\nin SLO", ">$ / M in-\nput tokens", ">$ / M out-\nput tokens", ">Wh per\n1,000",
            ">J per out-\nput token",
        ),
        rows=tuple(row for row in rows if set(row[1:]) != {MISSING}),
    )  # fmt: skip


def offers(cost: Cost) -> Grid:
    """The same run at every price that is known for its GPU; the first was used."""
    return Grid(
        title="The same at other prices",
        columns=columns("market", "provider", "region", ">$ / GPU-\nhour", ">run", ">$ per\n1,000", "read on"),
        rows=tuple(
            (
                plain(offer.price.market, 30),
                plain(offer.price.provider, 30),
                plain(offer.price.region, 30),
                money(offer.price.usd_per_gpu_hour),
                money(offer.usd),
                money(offer.usd_per_1000),
                plain(offer.price.read_on, 30),
            )
            for offer in cost.offers
        ),
    )


def prices(rows: Sequence[Price], today: dt.date) -> Grid:
    """A list of prices, each with its source and its age."""
    return Grid(
        title="Prices",
        columns=columns("GPU", ">$ / hour", "market", "provider", "product", "region", "read on", "source"),
        rows=tuple(
            (
                plain(price.gpu, 40),
                money(price.usd_per_gpu_hour) + (" *" if price.changes else ""),
                *(plain(word, 60) for word in (price.market, price.provider, price.sku, price.region)),
                plain(price.read_on, 30) + (" (old)" if is_old(price, today) else ""),
                plain(price.source, 100),
            )
            for price in rows
        ),
    )


def is_old(price: Price, today: dt.date) -> bool:
    """Whether a price was read too long ago to be trusted."""
    days = days_apart(price, today)
    return days is not None and days > OLD_DAYS
