"""A run's samples as evidence.

Each GPU reading covers the time since the one before. Its busy part is the graphics activity that GPM saw, which
is read less often than the rest; what
that part was bound by follows from how near its DRAM and its tensor activity come to what each can reach. Its
idle part belongs to nobody's traffic as far as the server was empty, and starved a waiting request otherwise.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.columns import Float64, Int64, RunData
from analyzer.evidence import PARTS, Evidence
from analyzer.evidence._activity import spread
from analyzer.roofline import DEFAULT_REACH, Hardware
from analyzer.windows import (
    bucket_increase,
    captures,
    empty_ratio,
    gpus,
    increase,
    mean_between,
    mean_in,
    mean_of,
    outside,
    series,
    window_of,
)

if TYPE_CHECKING:
    import pandas as pd  # 0.3 s, and a trace needs none

#: Below this share of both roofs' reach work is bound by neither (TensorRT-LLM's speed-of-light rules: compute and
#: memory both under 40 % are latency problems).
NEAR_A_ROOF = 0.4

#: A reading stands for the time since the one before it, but never for more than this many usual intervals.
_GAP_INTERVALS = 3

#: Means of these over the busy time go into the evidence as they are.
_SHOWN = (
    "sm_active_ratio",
    "tensor_active_ratio",
    "dram_active_ratio",
    "gpu_utilization_ratio",
    "power_watts",
)


def run_evidence(data: RunData, hardware: Hardware | None, start: Int64, end: Int64) -> Evidence:
    """The evidence of a run over the given windows, shape (n,) each; captures are left out."""
    count = len(start)
    readings = [_Gpu(frame, data, start, end) for frame in gpus(data).values()]
    signals: dict[str, Float64] = {}
    missing: dict[str, str] = {}
    reach = (hardware.tensor_active_reach, hardware.dram_active_reach) if hardware else (DEFAULT_REACH,) * 2
    parts = _average([gpu.parts(reach, count) for gpu in readings], count)
    _split_idle(parts, _empty_ratio(data, start, end), signals, missing)
    if not any(np.isfinite(gpu.busy).any() for gpu in readings):
        missing["gpu"] = _why_absent(data, "nvml", "gpu_utilization_ratio") or "no GPU samples in this run"
    elif not any(gpu.has_gpm for gpu in readings):
        reason = _why_absent(data, "nvml", "dram_active_ratio") or "no GPM counters in this run"
        missing |= {"compute_roof_ratio": reason, "busy_other": reason}
    else:
        roofs = mean_of([np.stack(gpu.roof_ratios(reach, count)) for gpu in readings])
        signals |= dict(zip(("compute_roof_ratio", "memory_roof_ratio", "roof_margin"), roofs, strict=True))
    for name in _SHOWN if readings else ():
        signals[name] = mean_of([gpu.mean(name, count) for gpu in readings])
    _serving_signals(data, start, end, signals, missing)
    return Evidence(
        kind="samples",
        start_ns=start,
        end_ns=end,
        parts=parts,
        signals=signals,
        missing=missing,
        ridge_tokens=hardware.ridge_tokens if hardware else None,
    )


def _why_absent(data: RunData, source: str, quantity: str) -> str | None:
    """Why a quantity is absent from the first subject that lacks it."""
    keys = (key for key in data.absences if key.startswith(f"{source}/") and key.endswith(f"/{quantity}"))
    return next((data.absences[key] for key in keys), None)


class _Roofs(NamedTuple):
    """How near the busy part of each reading comes to each roof, and which share of it lies under memory."""

    compute: Float64
    memory: Float64
    memory_share: Float64


class _Gpu:
    """One GPU's readings: when, in which window, for how long."""

    def __init__(self, frame: "pd.DataFrame", data: RunData, start: Int64, end: Int64) -> None:
        t_ns = frame["t_ns"].to_numpy(np.int64)
        usual = float(np.median(np.diff(t_ns))) if len(t_ns) > 1 else 0.0
        covered = np.minimum(np.diff(t_ns, prepend=t_ns[:1] - int(usual)), _GAP_INTERVALS * usual)
        middle = t_ns - (covered / 2).astype(np.int64)
        self.window = np.where(outside(middle, captures(data)), window_of(middle, start, end), -1)
        self.seconds = covered / 1e9
        self._frame = frame
        self.busy = self._busy(t_ns)

    def column(self, quantity: str) -> Float64:
        """A quantity at each reading, NaN where it is absent."""
        if quantity not in self._frame:
            return np.full(len(self._frame), np.nan)
        return self._frame[quantity].to_numpy(np.float64)

    @property
    def has_gpm(self) -> bool:
        return bool(np.isfinite(self.column("dram_active_ratio") + self.column("tensor_active_ratio")).any())

    def _busy(self, t_ns: Int64) -> Float64:
        """Busy share of each reading: graphics activity, or NVML's utilization where there is no GPM."""
        graphics = spread(t_ns, self.seconds, self.column("graphics_active_ratio"), self.column("sm_active_ratio"))
        return np.clip(np.where(np.isfinite(graphics), graphics, self.column("gpu_utilization_ratio")), 0, 1)

    def roofs(self, reach: tuple[float, float]) -> _Roofs:
        with np.errstate(divide="ignore", invalid="ignore"):
            compute = np.minimum(self.column("tensor_active_ratio") / self.busy / reach[0], 1)
            memory = np.minimum(self.column("dram_active_ratio") / self.busy / reach[1], 1)
            # Twice as near to one roof as to the other is clear; in between the time is shared.
            share = np.clip(0.5 + 0.5 * np.log2(memory / compute), 0, 1)
        return _Roofs(compute, memory, share)

    def parts(self, reach: tuple[float, float], count: int) -> dict[str, Float64]:
        """Seconds of each window in each part, before the idle time is split."""
        busy, roofs = self.busy, self.roofs(reach)
        near = np.fmax(roofs.compute, roofs.memory) >= NEAR_A_ROOF
        near &= np.isfinite(roofs.memory_share)
        memory = np.where(near, busy * roofs.memory_share, 0)
        compute = np.where(near, busy - memory, 0)
        observed = np.isfinite(busy) & (self.window >= 0)

        def seconds(ratio: Float64) -> Float64:
            return np.bincount(self.window[observed], (ratio * self.seconds)[observed], count).astype(np.float64)

        return {
            "compute_bound": seconds(compute),
            "memory_bound": seconds(memory),
            "busy_other": seconds(np.where(near, 0, busy)),
            "idle": seconds(1 - busy),
        }

    def roof_ratios(self, reach: tuple[float, float], count: int) -> tuple[Float64, Float64, Float64]:
        """Busy-weighted means in each window: nearness to the compute roof, to the memory roof, and margin.

        The margin says how clearly one roof is the nearer: 0 is alike, 1 is twice as near or more.
        """
        roofs, weight = self.roofs(reach), self.seconds * np.nan_to_num(self.busy)
        margin = np.abs(2 * roofs.memory_share - 1)
        compute, memory, clear = (mean_in(self.window, values, count, weight)
                                  for values in (roofs.compute, roofs.memory, margin))  # fmt: skip
        return compute, memory, clear

    def mean(self, quantity: str, count: int) -> Float64:
        """Mean of a quantity in each window, weighted by time."""
        return mean_in(self.window, self.column(quantity), count, self.seconds)


def _average(parts: list[dict[str, Float64]], count: int) -> dict[str, Float64]:
    """Mean over the GPUs, with every part of ``PARTS`` there."""
    average = {name: np.zeros(count) for name in PARTS} | {"idle": np.zeros(count)}
    for name in parts[0] if parts else ():
        average[name] = np.mean([gpu[name] for gpu in parts], axis=0)
    return average


def _empty_ratio(data: RunData, start: Int64, end: Int64) -> Float64 | None:
    """Share of each window in which the server held no request; None where its load was never observed."""
    running, waiting = (series(data, "serving", name) for name in ("requests_running", "requests_waiting"))
    if not running:
        return None
    t_ns, total = _sum_of([*running.values(), *waiting.values()])
    return mean_between(t_ns, empty_ratio(total), start, end)


def _sum_of(readings: list[tuple[Int64, Float64]]) -> tuple[Int64, Float64]:
    """Several gauges added up at all their instants; each holds its last value in between and is unknown outside."""
    t_ns = np.unique(np.concatenate([instants for instants, _ in readings]))
    total = np.zeros(len(t_ns))
    for instants, values in readings:
        held = values[np.maximum(np.searchsorted(instants, t_ns, side="right") - 1, 0)]
        total += np.where((t_ns >= instants[0]) & (t_ns <= instants[-1]), held, np.nan)
    return t_ns, total


def _split_idle(
    parts: dict[str, Float64], empty: Float64 | None, signals: dict[str, Float64], missing: dict[str, str],
) -> None:  # fmt: skip
    idle = parts.pop("idle")
    if empty is None:
        reason = "no serving samples, so low traffic cannot be told from starvation"
        missing |= {"requests_running": reason, "idle_unknown": reason}
        parts["idle_unknown"] = idle
        return
    signals["empty_ratio"] = empty
    observed = parts["compute_bound"] + parts["memory_bound"] + parts["busy_other"] + idle
    known = np.isfinite(empty)
    nobody = np.where(known, np.minimum(idle, np.nan_to_num(empty) * observed), 0)
    parts["idle_no_demand"] = nobody
    parts["idle_starved"] = np.where(known, idle - nobody, 0)
    parts["idle_unknown"] = np.where(known, 0, idle)


def _serving_signals(
    data: RunData, start: Int64, end: Int64, signals: dict[str, Float64], missing: dict[str, str],
) -> None:  # fmt: skip
    count, seconds = len(start), (end - start) / 1e9
    for name in ("requests_running", "requests_waiting", "kv_cache_usage_ratio"):
        readings = series(data, "serving", name)
        if readings:
            signals[name] = np.sum([mean_between(*reading, start, end) for reading in readings.values()], axis=0)
        else:
            missing.setdefault(name, _why_absent(data, "serving", name) or "no serving samples in this run")
    cores = increase(data, "serving", "front_end_cpu_seconds_total", start, end)
    if cores is None:
        reason = _why_absent(data, "serving", "front_end_cpu_seconds_total")
        reason = reason or "the server does not export its process_cpu_seconds_total"
        missing |= {"front_end_cores": reason, "idle_starved": reason}
    else:
        signals["front_end_cores"] = cores / seconds
    steps = bucket_increase(data, "step_tokens", start, end)
    if steps is not None:
        number = steps[1].sum(axis=1)
        signals["step_tokens"] = np.divide(steps[2], number, out=np.full(count, np.nan), where=number > 0)
    else:
        missing["step_tokens"] = "the engine does not export the tokens of its steps"
