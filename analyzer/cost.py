"""What a thousand inferences cost.

``usd = rate · GPUs · share · hours`` over the whole window, loading, idle and draining too, because that is what the
bill says. Requests that failed used the GPU, so their time stays in the numerator; only those that succeeded are in
the denominator; what one inference is, ``Latency.inference`` says. Where a figure would have to be made up it is
None, with the reason.
"""

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analyzer.billing import Meter, Terms, mean_price
from analyzer.columns import Float64, Int64, RunData
from analyzer.energy import joules
from analyzer.invoice import invoice
from analyzer.schema import Cost, CostWindow, Invoice, Offer, Price
from analyzer.windows import empty_ratio, extent, increase, mean_between, or_none, sections, series

#: What an output token is charged, in input tokens.
OUTPUT_TOKEN_WEIGHT = 4.0
#: The factor and its source: inference-perf, docs/metrics.md, Price/Performance.
TOKEN_SPLIT = (
    f"an output token is charged as {OUTPUT_TOKEN_WEIGHT:g} input tokens, the factor that inference-perf's "
    "docs/metrics.md suggests where one server does both"
)
#: A client and an engine that count requests further apart than this are not counting the same.
_COUNTS_APART = 0.01


def cost(data: RunData, terms: Terms, start: Int64, end: Int64, in_slo: Sequence[float | None] = ()) -> Cost:
    """Cost of the whole run, of its phases, and of the given windows.

    Args:
        data: The run.
        terms: What it is billed by.
        start: Start of each window in ns, shape (n,).
        end: Their ends.
        in_slo: Share of the answered requests that met their targets: of the whole run, of each phase, of each
            window; None where that is not known, and nothing at all where there are no targets.
    """
    meter = terms.meter(data, terms.price)
    every = _windows(data, terms, meter, sections(data, start, end), in_slo)
    phases = len(data.phases)
    first, last = extent(data)
    found, counted = None, _counted(data, *_whole(data))
    if meter is not None:
        found = invoice(data, meter, counted.ok, counted.failed, in_slo[0] if in_slo else None)
    return Cost(
        price=mean_price(meter, first, last) if meter else terms.price,
        gpus=terms.gpus,
        overall=every[0],
        phases=every[1 : 1 + phases],
        windows=every[1 + phases :],
        invoice=found,
        offers=tuple(_offer(data, terms, price, every[0].requests_ok) for price in terms.offers),
        share=terms.share,
        token_split=TOKEN_SPLIT,
        warnings=(*terms.warnings, *_warnings(data, terms, counted, found)),
    )


class _Use(NamedTuple):
    """What one window served and drew; None where it was not recorded."""

    ok: float | None
    failed: float | None
    input_tokens: float | None
    output_tokens: float | None
    joules: float | None
    idle_ratio: float | None
    usd: float | None = None
    in_slo: float | None = None


_COUNTERS = ("requests_ok_total", "requests_failed_total", "input_tokens_total", "output_tokens_total")


def _windows(
    data: RunData,
    terms: Terms,
    meter: Meter | None,
    parts: tuple[Sequence[str | None], Int64, Int64],
    in_slo: Sequence[float | None],
) -> tuple[CostWindow, ...]:
    names, start, end = parts
    use = (
        *(or_none(_grown(data, counter, start, end), len(start)) for counter in _COUNTERS),
        or_none(_joules(data, terms, start, end), len(start)),
        or_none(_idle_ratio(data, start, end), len(start)),
        or_none(None if meter is None else meter.usd(start, end), len(start)),
        [*in_slo, *[None] * (len(start) - len(in_slo))],
    )
    rows = zip(names, start, end, zip(*use, strict=True), strict=True)
    return tuple(_window(terms, name, (int(low), int(high)), _Use(*row)) for name, low, high, row in rows)


def _window(terms: Terms, name: str | None, window_ns: tuple[int, int], use: _Use) -> CostWindow:
    usd = use.usd
    # Counters are read between scrapes; less than half a request is none.
    ok = use.ok if use.ok is None or use.ok >= _HALF else 0.0
    tokens = None if use.input_tokens is None or use.output_tokens is None else use.input_tokens + use.output_tokens
    per_1000 = 1000 * usd / ok if usd is not None and ok else None
    busy = None if use.idle_ratio is None else 1 - use.idle_ratio
    read, written = _by_token(usd, use)
    return CostWindow(
        name=name,
        start_s=window_ns[0] / 1e9,
        end_s=window_ns[1] / 1e9,
        usd=usd,
        requests_ok=None if ok is None else round(ok),
        requests_failed=None if use.failed is None else round(use.failed),
        usd_per_1000=per_1000,
        usd_per_1000_busy=per_1000 * busy if per_1000 is not None and busy else None,
        idle_ratio=use.idle_ratio,
        usd_per_million_tokens=1e6 * usd / tokens if usd is not None and tokens else None,
        joules_per_request=use.joules / ok if use.joules is not None and ok else None,
        reason=_reason(terms, ok, usd),
        usd_per_1000_slo=per_1000 / use.in_slo if per_1000 is not None and use.in_slo else None,
        usd_per_million_input_tokens=read,
        usd_per_million_output_tokens=written,
        joules_per_1000=1000 * use.joules / ok if use.joules is not None and ok else None,
        joules_per_output_token=use.joules / use.output_tokens
        if use.joules is not None and use.output_tokens
        else None,
    )


_HALF = 0.5


def _grown(data: RunData, counter: str, start: Int64, end: Int64) -> Float64 | None:
    """How much a counter grew in each window; where no server was read, by what its client saw, when it asked."""
    if "serving" in data.samples or not len(data.requests):
        return increase(data, "serving", counter, start, end)
    asked = data.requests.sort_values("t_ns", kind="stable")
    answered = asked["error"].isna()
    counted = {
        "requests_ok_total": answered,
        "requests_failed_total": ~answered,
        "input_tokens_total": asked["input_tokens"].where(answered, 0),
        "output_tokens_total": asked["output_tokens"].where(answered, 0),
    }[counter].to_numpy(np.float64)
    total, t_ns = np.r_[0.0, np.cumsum(counted)], asked["t_ns"].to_numpy(np.int64)
    # What nobody counted of one request is not known of those after it either.
    grown: Float64 = total[np.searchsorted(t_ns, end)] - total[np.searchsorted(t_ns, start)]
    return grown


def _by_token(usd: float | None, use: _Use) -> tuple[float | None, float | None]:
    """Dollars for a million input and a million output tokens, which together cost what was paid."""
    if usd is None or use.input_tokens is None or use.output_tokens is None:
        return None, None
    weighed = use.input_tokens + OUTPUT_TOKEN_WEIGHT * use.output_tokens
    each = 1e6 * usd / weighed if weighed else None
    return (
        each if use.input_tokens else None,
        OUTPUT_TOKEN_WEIGHT * each if each is not None and use.output_tokens else None,
    )


def _reason(terms: Terms, ok: float | None, usd: float | None) -> str | None:
    if not terms.gpus:
        return "the run does not say how many GPUs the replica holds"
    if terms.price is None:
        return terms.reason or "no price for this GPU: give one with --price"
    if usd is None:
        first = dt.datetime.fromtimestamp(terms.price.changes[0].from_s, dt.UTC)
        return f"this GPU has no price before {first:%Y-%m-%d %H:%M:%S} UTC, when its price series begins"
    if ok is None:
        return "the number of finished requests was not recorded"
    return None if ok else "no request succeeded in this time"


def _whole(data: RunData) -> tuple[Int64, Int64]:
    first, last = extent(data)
    return np.array([first], np.int64), np.array([last], np.int64)


def _joules(data: RunData, terms: Terms, start: Int64, end: Int64) -> Float64 | None:
    """Energy of the server: of a divided GPU, the share that is charged; NVML has no energy of an instance."""
    drawn = joules(data, start, end)
    return None if drawn is None else drawn * terms.share.ratio


def _counted(data: RunData, start: Int64, end: Int64) -> _Use:
    """What the counters of a whole run say."""
    grown = [or_none(_grown(data, counter, start, end), 1)[0] for counter in _COUNTERS]
    return _Use(grown[0], grown[1], grown[2], grown[3], None, None)


def _offer(data: RunData, terms: Terms, price: Price, ok: int | None) -> Offer:
    """The whole run at another price."""
    meter = terms.meter(data, price)
    usd = None if meter is None else or_none(meter.usd(*_whole(data)), 1)[0]
    shown = price if meter is None else mean_price(meter, *extent(data))
    return Offer(price=shown, usd=usd, usd_per_1000=1000 * usd / ok if usd is not None and ok else None)


def _warnings(data: RunData, terms: Terms, counted: _Use, found: Invoice | None) -> Sequence[str]:
    said = []
    if terms.share.estimated:
        said.append("the share of the GPU is estimated, by the SM time of its processes")
    if found is not None and counted.ok is not None and counted.failed is None:
        said.append("failed requests were not counted: what they cost is in that of the answers")
    ended, sent = (counted.ok or 0) + (counted.failed or 0), len(data.requests)
    if sent and counted.ok is not None and abs(sent - ended) > _COUNTS_APART * sent:
        said.append(
            f"the client sent {sent:,} requests and the engine counts {ended:,.0f} that ended: engines leave out some "
            "that were aborted, and other clients may have asked"
        )
    return said


def _idle_ratio(data: RunData, start: Int64, end: Int64) -> Float64 | None:
    """Share of each window with no request running; None where the load was not recorded.

    Of several engines the busiest counts: the GPUs are paid for while any of them works.
    """
    readings = series(data, "serving", "requests_running").values()
    idle = [mean_between(t_ns, empty_ratio(running), start, end) for t_ns, running in readings]
    return np.min(idle, axis=0) if idle else None
