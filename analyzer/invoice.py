"""The bill of a run by what it paid for, so that nothing of it hides: the parts add up to the whole.

Each reading of the server's load stands for the time until the next one. Time before the server answered is its
start-up, and so is a gap after which its counters began anew. From its last request to the end it drains, where it
stopped answering before the end. What nobody read is *unobserved*, never idle.

The time with requests running is split between them by their number: those that failed used the GPU too. A server
does not tell what each request took of it, so this split is an estimate, and the sum is not.
"""

from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal

import numpy as np

from analyzer.billing import Meter
from analyzer.columns import Bool, Float64, Int64, RunData
from analyzer.schema import Invoice, InvoicePart
from analyzer.windows import empty_ratio, extent, series

#: What each part paid for, in the order of a server's life.
PARTS: Mapping[str, str] = {
    "startup": "start-up",
    "in_slo": "answers within the SLO",
    "out_of_slo": "answers outside the SLO",
    "answered": "answers",
    "failed": "failed requests",
    "unfinished": "requests without an end",
    "idle": "idle",
    "draining": "draining",
    "unobserved": "not observed",
}
#: Said also where they are nothing.
_ALWAYS = {"startup", "in_slo", "out_of_slo", "answered", "failed", "idle"}
#: A reading stands for no more than so many usual intervals.
_GAP_INTERVALS = 3
_COUNTERS = ("requests_ok_total", "requests_failed_total", "input_tokens_total", "output_tokens_total")


def invoice(
    data: RunData, meter: Meter, ok: float | None, failed: float | None, in_slo: float | None
) -> Invoice | None:
    """The bill of a whole run, by part.

    Args:
        data: The run.
        meter: What it is billed by.
        ok: Requests that were answered; None where nobody counted.
        failed: Requests that were not.
        in_slo: Share of the answers that met their targets; None where there are no targets.

    Returns:
        None where a part of the run has no price.
    """
    edges, part, idle = _stretches(data)
    start, end = edges[:-1], edges[1:]
    power_usd, seconds = meter.power_usd(start, end), (end - start) / 1e9
    usd = meter.gpu_usd(start, end) + power_usd
    if not np.isfinite(usd).all():
        return None
    served = part == _SERVING
    money, time = _split(usd, served, idle), _split(seconds, served, idle)
    shares = _shares(ok, failed, in_slo)
    whole: dict[str, tuple[float, float]] = {
        "startup": (float(usd[part == _STARTUP].sum()), float(seconds[part == _STARTUP].sum())),
        **{name: (money[0] * share, time[0] * share) for name, share in shares.items()},
        "idle": (money[1], time[1]),
        "draining": (float(usd[part == _DRAINING].sum()), float(seconds[part == _DRAINING].sum())),
        "unobserved": (float(usd[part == _UNOBSERVED].sum()), float(seconds[part == _UNOBSERVED].sum())),
    }
    parts = (InvoicePart(part=name, usd=whole[name][0], seconds=whole[name][1]) for name in PARTS if name in whole)
    return Invoice(
        usd=float(usd.sum()),
        power_usd=float(power_usd.sum()),
        parts=tuple(item for item in parts if item.part in _ALWAYS or item.seconds),
    )


def rounded(found: Invoice, decimals: int) -> list[Decimal]:
    """The parts as they are printed: rounded so that they still add up to the rounded whole (largest remainder)."""
    unit = Decimal(1).scaleb(-decimals)
    exact = [Decimal(part.usd) for part in found.parts]
    down = [usd.quantize(unit, ROUND_FLOOR) for usd in exact]
    missing = int((Decimal(found.usd).quantize(unit) - sum(down)) / unit)
    by_remainder = sorted(range(len(exact)), key=lambda place: down[place] - exact[place])
    return [usd + unit * (place in by_remainder[:missing]) for place, usd in enumerate(down)]


_SERVING, _STARTUP, _DRAINING, _UNOBSERVED = range(4)


def _stretches(data: RunData) -> tuple[Int64, Int64, Float64]:
    """Edges of stretches of the run (n + 1,), what each one was (n,), and of those served the idle share (n,)."""
    first, last = extent(data)
    readings = list(series(data, "serving", "requests_running").values())
    read = np.unique(np.concatenate([t_ns for t_ns, _ in readings])) if readings else np.empty(0, np.int64)
    if len(read) < 2:  # noqa: PLR2004 - one reading has no interval
        return np.array([first, last]), np.array([_UNOBSERVED]), np.ones(1)
    edges = np.unique(np.r_[first, read, last])
    start = edges[:-1]
    idle = np.min([_idle(t_ns, running, start) for t_ns, running in readings], axis=0)
    gap = np.diff(edges) > _GAP_INTERVALS * np.median(np.diff(read))
    part = np.where(gap, _UNOBSERVED, _SERVING)
    part[gap & (edges[1:] <= read[0])] = _STARTUP
    part[gap & np.isin(edges[1:], _restarts(data))] = _STARTUP
    if part[-1] == _UNOBSERVED:
        busy = np.flatnonzero((part == _SERVING) & (idle < 1))
        rest = np.arange(len(part)) > (busy[-1] if len(busy) else -1)
        part[rest & (part == _SERVING)] = _DRAINING
        part[-1] = _DRAINING
    return edges, part, idle


def _idle(t_ns: Int64, running: Float64, start: Int64) -> Float64:
    """The idle share of one engine from each instant on; before its first reading, as at it."""
    place = np.maximum(np.searchsorted(t_ns, start, side="right") - 1, 0)
    return empty_ratio(running[place])


def _restarts(data: RunData) -> Int64:
    """When a counter was first read after it began anew."""
    found = [np.empty(0, np.int64)]
    for counter in _COUNTERS:
        found += [t_ns[1:][np.diff(values) < 0] for t_ns, values in series(data, "serving", counter).values()]
    return np.concatenate(found)


def _split(amount: Float64, served: Bool, idle: Float64) -> tuple[float, float]:
    """Of what was served, the busy and the idle amount."""
    return float((amount * (1 - idle))[served].sum()), float((amount * idle)[served].sum())


def _shares(ok: float | None, failed: float | None, in_slo: float | None) -> dict[str, float]:
    """Who has which share of the busy time; they sum to 1."""
    ok, failed = ok or 0.0, failed or 0.0
    if not ok + failed:
        return {"failed": 0.0, "unfinished": 1.0}
    answered = ok / (ok + failed)
    if in_slo is None:
        return {"answered": answered, "failed": 1 - answered}
    return {"in_slo": answered * in_slo, "out_of_slo": answered * (1 - in_slo), "failed": 1 - answered}
