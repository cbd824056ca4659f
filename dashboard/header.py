"""The first line of the page: which GPUs, at which price, beside which reference, live or recorded."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from dash import html

from analyzer import theme
from analyzer.formatting import money
from analyzer.prices import UNSTATED
from analyzer.schema import Analysis, Cost
from analyzer.wording import plain
from dashboard.data import Shown


def header(shown: Shown) -> list[Any]:
    """What the line says of the source that is looked at."""
    analysis = shown.view.analysis
    words = [*_gpus(analysis), *_price(analysis.cost), *_reference(shown.view.reference)]
    return [html.Span(words_of, className="fact") for words_of in words] + [_marker(shown)]


def _gpus(analysis: Analysis) -> list[str]:
    names = Counter(theme.gpu_name(plain(name, 40)) for name in analysis.source.gpus)
    return [f"{count} × {name}" for name, count in names.items()]


def _price(cost: Cost | None) -> list[str]:
    if cost is None or cost.price is None:
        return []
    price = cost.price
    origin = plain(
        " ".join(word for word in (price.provider, price.market, price.region) if word and word != UNSTATED), 60
    )
    return [f"{money(price.usd_per_gpu_hour)} / GPU-hour ({origin})"]


def _reference(reference: Analysis | None) -> list[str]:
    return [plain(theme.reference_name(reference), 80)] if reference else []


def _marker(shown: Shown) -> html.Span:
    if shown.live:
        return html.Span("live", className="live")
    started = datetime.fromtimestamp(shown.view.analysis.source.started_s, UTC)
    return html.Span(f"recorded {started:%Y-%m-%d %H:%M} UTC", className="fact faint")
