"""What a thousand inferences cost.

``usd = rate · GPUs · hours`` over the whole window, idle or not, because that is what the bill says. Requests that
failed used the GPU, so their time stays in the numerator; only those that succeeded are in the denominator. An
inference is one client request that finished with an answer. Where a figure would have to be made up it is None,
with the reason.
"""

import re
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from analyzer.columns import Float64, Int64, RunData
from analyzer.energy import joules
from analyzer.schema import Cost, CostWindow, Price
from analyzer.windows import empty_ratio, increase, mean_between, or_none, sections, series


def price_of(gpu_name: str) -> Price | None:
    """The default price of a GPU by the driver's name for it, or None where no row fits."""
    for row in tomllib.loads(files("analyzer").joinpath("prices.toml").read_text("utf-8"))["price"]:
        if re.search(row.pop("match"), gpu_name):
            return Price(**row)
    return None


def own_price(gpu_name: str, usd_per_gpu_hour: float) -> Price:
    """A price the user gave."""
    return Price(
        gpu=gpu_name,
        usd_per_gpu_hour=usd_per_gpu_hour,
        provider="yours",
        sku="as given",
        region="as given",
        market="as given",
        source="--price",
        read_on="as given",
    )


def cost(data: RunData, price: Price | None, start: Int64, end: Int64) -> Cost:
    """Cost of the whole run, of its phases, and of the given windows."""
    every = _windows(data, price, *sections(data, start, end))
    phases = len(data.phases)
    return Cost(
        price=price,
        gpus=len(data.run.gpus),
        overall=every[0],
        phases=every[1 : 1 + phases],
        windows=every[1 + phases :],
    )


def _windows(
    data: RunData, price: Price | None, names: Sequence[str | None], start: Int64, end: Int64
) -> tuple[CostWindow, ...]:
    def grown(counter: str) -> list[float | None]:
        return or_none(increase(data, "serving", counter, start, end), len(start))

    use = (
        grown("requests_ok_total"),
        grown("requests_failed_total"),
        grown("input_tokens_total"),
        grown("output_tokens_total"),
        or_none(joules(data, start, end), len(start)),
        or_none(_idle_ratio(data, start, end), len(start)),
    )
    rows = zip(names, start, end, zip(*use, strict=True), strict=True)
    return tuple(
        _window(price, len(data.run.gpus), name, (int(low), int(high)), _Use(*row)) for name, low, high, row in rows
    )


class _Use(NamedTuple):
    """What one window served and drew; None where it was not recorded."""

    ok: float | None
    failed: float | None
    input_tokens: float | None
    output_tokens: float | None
    joules: float | None
    idle_ratio: float | None


def _window(price: Price | None, gpus: int, name: str | None, window_ns: tuple[int, int], use: _Use) -> CostWindow:
    hours = (window_ns[1] - window_ns[0]) / 3.6e12
    usd = price.usd_per_gpu_hour * gpus * hours if price and gpus else None
    # Counters are read between scrapes; less than half a request is none.
    ok = use.ok if use.ok is None or use.ok >= _HALF else 0.0
    tokens = None if use.input_tokens is None or use.output_tokens is None else use.input_tokens + use.output_tokens
    per_1000 = 1000 * usd / ok if usd is not None and ok else None
    busy = None if use.idle_ratio is None else 1 - use.idle_ratio
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
        reason=_reason(price, gpus, ok),
    )


_HALF = 0.5


def _reason(price: Price | None, gpus: int, ok: float | None) -> str | None:
    if not gpus:
        return "the run does not say how many GPUs the replica holds"
    if price is None:
        return "no price for this GPU: give one with --price"
    if ok is None:
        return "the number of finished requests was not recorded"
    return None if ok else "no request succeeded in this time"


def _idle_ratio(data: RunData, start: Int64, end: Int64) -> Float64 | None:
    """Share of each window with no request running; None where the load was not recorded.

    Of several engines the busiest counts: the GPUs are paid for while any of them works.
    """
    readings = series(data, "serving", "requests_running").values()
    idle = [mean_between(t_ns, empty_ratio(running), start, end) for t_ns, running in readings]
    return np.min(idle, axis=0) if idle else None
