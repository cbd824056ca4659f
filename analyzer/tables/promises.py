"""Targets in words and in a table: how many requests were within them, and how fast the error budget is spent."""

from collections.abc import Iterable

from analyzer.formatting import MISSING, count, duration, number, percent
from analyzer.schema import Service, Slo, SloWindow
from analyzer.tables.grid import Grid, columns
from analyzer.wording import label, plain


def promise(slo: Slo) -> str:
    """Targets in one line: ``99 % of requests: TTFT ≤ 500 ms, TPOT ≤ 30 ms``."""
    limits = ", ".join(f"{label(measure)} ≤ {duration(limit)}" for measure, limit in slo.limits_s.items())
    return f"{percent(slo.target_ratio)} of requests: {limits}"


def sentences(service: Service | None) -> list[str]:
    """What was promised, by whom it was published, and how it was kept over the whole run."""
    if service is None:
        return []
    slo, whole = service.slo, service.overall
    origin = " ".join(plain(word, 80) for word in (slo.source, slo.read_on) if word)
    if whole.requests is None:
        kept = f"cannot tell: {plain(whole.reason or 'nothing is known')}"
    else:
        kept = (
            f"{within(whole)} of {count(whole.requests)} within · {goodput(whole)} good/s · budget spent {burn(whole)}"
        )
    return [f"{plain(slo.name, 60)}: {kept}", f"{promise(slo)} ({origin})"]


def within(window: SloWindow) -> str:
    """The share of the requests that were within the targets, or the two shares it lies between."""
    return _between(percent(window.good_low_ratio), percent(window.good_high_ratio))


def goodput(window: SloWindow) -> str:
    """Good requests a second."""
    low, high = window.goodput_low_requests_per_s, window.goodput_high_requests_per_s
    return MISSING if low is None else _between(number(low), number(high))


def burn(window: SloWindow) -> str:
    """How many times the error budget of this time was spent in it: ``×0.4``, ``×0 – ×12``."""
    low, high = window.burn_rate_low, window.burn_rate_high
    return MISSING if low is None else _between(f"×{number(low)}", f"×{number(high)}")


def _between(low: str, high: str) -> str:
    return low if low == high else f"{low} – {high}"


def promises(windows: Iterable[SloWindow]) -> Grid:
    """How the targets were kept in each window."""
    return Grid(
        title="Targets",
        columns=columns("phase", ">requests", ">failed", ">within", ">good\n/s", ">budget\nspent", "from", "why not"),
        rows=tuple(
            (
                plain(window.name or "all", 40),
                count(window.requests),
                count(window.failed),
                within(window),
                goodput(window),
                burn(window),
                {"histogram": "buckets", None: MISSING}.get(window.origin, window.origin or MISSING),
                plain(window.reason or ""),
            )
            for window in windows
        ),
    )
