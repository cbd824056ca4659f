"""What each GPU's counters read on average, over a run, its phases and its windows."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from analyzer.columns import Int64, RunData
from analyzer.evidence import Evidence
from analyzer.schema import Budget, GpuUse, UseWindow
from analyzer.windows import captures, gpus, mean_between, mean_of, or_none, outside, sections
from collector.catalogue import CATALOGUE

if TYPE_CHECKING:
    import pandas as pd  # 0.3 s, and a trace needs none

#: What is shown, in this order; clock event flags become the share of readings that had them.
SHOWN = (
    "gpu_utilization_ratio", "sm_active_ratio", "sm_occupancy_ratio", "tensor_active_ratio", "dram_active_ratio",
    "memory_used_bytes", "power_watts", "sm_clock_hz", "temperature_celsius", "pcie_rx_bytes_per_s",
    "pcie_tx_bytes_per_s", *(name for name in CATALOGUE if name.startswith("clock_event_")),
)  # fmt: skip


_Means = Mapping[str, float | None]


def run_budget(data: RunData, evidence: Evidence, start: Int64, end: Int64) -> Budget:
    """Where a run's time went, and every GPU's means; profiler captures are left out of both."""
    idle = sum(float(values.sum()) for name, values in evidence.parts.items() if name.startswith("idle"))
    span = float(evidence.observed_s.sum())
    read = {subject: _outside_captures(frame, data) for subject, frame in gpus(data).items()}
    names, start, end = sections(data, start, end)
    every = tuple(
        UseWindow(name=name, start_s=int(low) / 1e9, end_s=int(high) / 1e9, means=means)
        for name, low, high, means in zip(names, start, end, _means(list(read.values()), start, end), strict=True)
    )[1:]
    uses = [
        GpuUse(device=_device(subject, place), means=_means([frame], start[:1], end[:1])[0])
        for place, (subject, frame) in enumerate(read.items())
    ]
    phases = len(data.phases)
    return Budget(
        span_s=span,
        busy_s=span - idle,
        idle_s=idle,
        gpus=tuple(sorted(uses, key=lambda use: use.device)),
        phases=every[:phases],
        windows=every[phases:],
    )


def _outside_captures(frame: "pd.DataFrame", data: RunData) -> "pd.DataFrame":
    return frame[outside(frame["t_ns"].to_numpy(np.int64), captures(data))]


def _device(subject: str, place: int) -> int:
    """The number in ``gpu:<number>``; of a subject that is named otherwise its place."""
    named = re.fullmatch(r"gpu:(\d{1,6})", subject)
    return int(named[1]) if named else place


def _means(gpus: "Sequence[pd.DataFrame]", start: Int64, end: Int64) -> list[_Means]:
    """Quantity → mean over the GPUs, one mapping a window; None where it was not read."""
    columns: dict[str, list[float | None]] = {}
    for quantity in SHOWN:
        read = [
            mean_between(frame["t_ns"].to_numpy(np.int64), frame[quantity].to_numpy(np.float64), start, end)
            for frame in gpus
            if quantity in frame
        ]
        columns[quantity] = or_none(mean_of(read) if read else None, len(start))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
