"""What each GPU's counters read on average, over a run, its phases and its windows."""

import numpy as np

from analyzer.schema import Budget, Evidence, GpuUse, Int64, RunData, UseWindow
from analyzer.windows import captures, extent, mean_in, mean_of, outside, series, window_of
from collector.catalogue import CATALOGUE

#: What is shown, in this order; clock event flags become the share of readings that had them.
SHOWN = (
    "gpu_utilization_ratio", "sm_active_ratio", "sm_occupancy_ratio", "tensor_active_ratio", "dram_active_ratio",
    "memory_used_bytes", "power_watts", "sm_clock_hz", "temperature_celsius", "pcie_rx_bytes_per_s",
    "pcie_tx_bytes_per_s", *(name for name in CATALOGUE if name.startswith("clock_event_")),
)  # fmt: skip


def run_budget(data: RunData, evidence: Evidence, start: Int64, end: Int64) -> Budget:
    """Where a run's time went, and every GPU's means; profiler captures are left out of both."""
    idle = sum(float(values.sum()) for name, values in evidence.parts.items() if name.startswith("idle"))
    span = float(evidence.observed_s.sum())
    subjects = _subjects(data)
    first, last = extent(data)
    whole = np.array([first], np.int64), np.array([last + 1], np.int64)
    phases = [(phase.t_ns, phase.end_ns or last) for phase in data.phases]
    bounds = np.array(phases, np.int64).reshape(-1, 2)
    return Budget(
        span_s=span,
        busy_s=span - idle,
        idle_s=idle,
        gpus=tuple(
            GpuUse(device=row, means=_means(data, (subject,), *whole)[0]) for row, subject in enumerate(subjects)
        ),
        phases=tuple(
            UseWindow(name=phase.name, start_s=low / 1e9, end_s=high / 1e9, means=means)
            for phase, (low, high), means in zip(
                data.phases, phases, _means(data, subjects, bounds[:, 0], bounds[:, 1]), strict=True,
            )
        ),
        windows=tuple(
            UseWindow(name=None, start_s=int(low) / 1e9, end_s=int(high) / 1e9, means=means)
            for low, high, means in zip(start, end, _means(data, subjects, start, end), strict=True)
        ),
    )  # fmt: skip


def _subjects(data: RunData) -> tuple[str, ...]:
    frame = data.samples.get("nvml")
    return tuple(sorted(frame["subject"].unique())) if frame is not None else ()


def _means(data: RunData, subjects: tuple[str, ...], start: Int64, end: Int64) -> list[dict[str, float | None]]:
    """Quantity → mean over the subjects, one mapping a window; None where it was not read."""
    table: list[dict[str, float | None]] = [{} for _ in range(len(start))]
    cut_out = captures(data)
    for quantity in SHOWN:
        of_subject = []
        for subject, (t_ns, values) in series(data, "nvml", quantity).items():
            if subject in subjects:
                window = np.where(outside(t_ns, cut_out), window_of(t_ns, start, end), -1)
                of_subject.append(mean_in(window, values, len(start)))
        means = mean_of(of_subject) if of_subject else np.full(len(start), np.nan)
        for row, mean in enumerate(means):
            table[row][quantity] = float(mean) if np.isfinite(mean) else None
    return table
