"""A trace as a budget and as evidence.

The budget speaks of the device's whole span. The evidence speaks of the steady steps where the trace has steps,
else of the span as one window. Both come from unions of intervals over all streams of a device, in integer
nanoseconds, so their parts sum exactly.
"""

from dataclasses import dataclass

import numpy as np

from analyzer.columns import CATEGORIES, Bool, Float64, Int32, Int64, Trace
from analyzer.evidence import PARTS, Evidence
from analyzer.idle import CAUSES, Idle, idle_causes
from analyzer.kernels import COMPUTE, FAMILIES, MEMORY
from analyzer.roofline import Hardware
from analyzer.schema import DeviceBudget, StreamBudget
from analyzer.steps import StepColumns, steps_by_device
from analyzer.timeline import IntervalSet, covered_within, subtract, together, total, union, union_by
from analyzer.windows import window_of

#: The parts of ``analyzer.evidence.PARTS`` that a trace can show, each a set of a ``DeviceTime``. No demand is not one.
_PARTS = tuple(part for part in PARTS if part != "idle_no_demand")


@dataclass(frozen=True, kw_only=True)
class DeviceTime:
    """One device's span, split into disjoint sets of intervals."""

    device: int
    span_ns: tuple[int, int]
    busy: IntervalSet
    compute: IntervalSet
    exposed_communication: IntervalSet
    exposed_copy: IntervalSet
    #: Within ``compute``: by roof, then the rest.
    compute_bound: IntervalSet
    memory_bound: IntervalSet
    busy_other: IntervalSet
    #: The rest, by ``analyzer.idle.CAUSES``.
    idle: Idle
    streams: tuple[StreamBudget, ...]

    @property
    def busy_parts(self) -> dict[str, IntervalSet]:
        """The time at work, in disjoint sets."""
        kinds = ("compute", "exposed_communication", "exposed_copy")
        return {kind: getattr(self, kind) for kind in kinds}

    @property
    def idle_starved(self) -> IntervalSet:
        """Idle with requests known to be there, before the launch of the next work returned."""
        return self._idle("host_")

    @property
    def idle_device(self) -> IntervalSet:
        """Idle with the next work launched."""
        return self._idle("device_")

    @property
    def idle_unknown(self) -> IntervalSet:
        """Idle for a cause the trace does not show."""
        return self._idle("unknown_")

    def _idle(self, kind: str) -> IntervalSet:
        return together([covered for cause, covered in self.idle.items() if cause.startswith(kind)])

    def budget(self) -> DeviceBudget:
        """The split in seconds, over the whole span."""
        held = {cause: total(covered) for cause, covered in self.idle.items()}
        waits = sum(ns for cause, ns in held.items() if cause.startswith("device_"))
        return DeviceBudget(
            device=self.device,
            span_s=(self.span_ns[1] - self.span_ns[0]) / 1e9,
            compute_s=total(self.compute) / 1e9,
            exposed_communication_s=total(self.exposed_communication) / 1e9,
            exposed_copy_s=total(self.exposed_copy) / 1e9,
            idle_s=sum(held.values()) / 1e9,
            idle_launch_s=(sum(held.values()) - waits) / 1e9,
            idle_device_s=waits / 1e9,
            idle={cause: ns / 1e9 for cause, ns in held.items() if ns},
            streams=self.streams,
        )


def device_times(trace: Trace, family_of: Int32, roof: Int32, steps: StepColumns | None) -> tuple[DeviceTime, ...]:
    """Split the span of every device that worked, in order of their index."""
    devices = np.unique(trace.device.row).tolist()
    every = steps_by_device(trace) if len(devices) > 1 else {}
    if steps is not None:
        every[steps.device] = steps
    return tuple(_device_time(trace, device, family_of, roof, every.get(device)) for device in devices)


def _device_time(trace: Trace, device: int, family_of: Int32, roof: Int32, steps: StepColumns | None) -> DeviceTime:
    """A device's span is from its first work to its last, and what its steps reach beyond them."""
    mine = trace.device.row == device
    start, end, stream = trace.device.start_ns[mine], trace.device.end_ns[mine], trace.device.stream[mine]
    family_of, roof = family_of[mine], roof[mine]
    span = int(start.min()), int(end.max())
    if steps is not None:
        span = min(span[0], int(steps.start_ns[0])), max(span[1], int(steps.end_ns[-1]))

    def covered(chosen: Bool) -> IntervalSet:
        return union(start[chosen], end[chosen])

    is_copy = family_of == FAMILIES.index("copy")
    is_communication = family_of == FAMILIES.index("communication")
    is_compute = ~is_copy & ~is_communication
    compute = covered(is_compute)
    communication = subtract(covered(is_communication), compute)
    under_compute = covered(is_compute & (roof == COMPUTE))
    under_memory = subtract(covered(is_compute & (roof == MEMORY)), under_compute)
    busy = union(start, end)
    return DeviceTime(
        device=device,
        span_ns=span,
        busy=busy,
        compute=compute,
        exposed_communication=communication,
        exposed_copy=subtract(subtract(covered(is_copy), compute), communication),
        compute_bound=under_compute,
        memory_bound=under_memory,
        busy_other=subtract(subtract(compute, under_compute), under_memory),
        idle=idle_causes(trace, device, busy, span, steps),
        streams=_streams(stream, start, end),
    )


def _streams(stream: Int64, start: Int64, end: Int64) -> tuple[StreamBudget, ...]:
    """How long each stream worked; one stream's idle time is no idle time of the device."""
    ids, counts = np.unique(stream, return_counts=True)
    on, begun, ended = union_by(stream, start, end)
    held = np.zeros(len(ids), np.int64)
    np.add.at(held, np.searchsorted(ids, on), ended - begun)
    columns = zip(ids.tolist(), counts.tolist(), held.tolist(), strict=True)
    return tuple(StreamBudget(stream=row, count=count, busy_s=ns / 1e9) for row, count, ns in columns)


def trace_evidence(
    trace: Trace,
    times: tuple[DeviceTime, ...],
    steps: StepColumns | None,
    device: Hardware | None,
) -> Evidence:
    """The evidence of a trace with device work: windows are its steady steps, or the whole span."""
    start, end = _windows(times, steps)

    def seconds(sets: list[IntervalSet]) -> Float64:
        mean: Float64 = np.mean([covered_within(covered, start, end) for covered in sets], axis=0) / 1e9
        return mean

    parts = {part: seconds([getattr(time, part) for time in times]) for part in _PARTS}
    idle = {cause: seconds([time.idle[cause] for time in times]) for cause in CAUSES}
    missing = dict.fromkeys(
        ("requests_running", "requests_waiting", "front_end_cores"),
        "a trace shows neither the queue nor other processes: record a run beside it",
    )
    unlaunched = idle["unknown_launch"].sum() * 2 > parts["idle_unknown"].sum()
    missing["idle_unknown"] = _why_unlaunched(trace) if unlaunched else missing["requests_running"]
    missing["busy_other"] = "neither shapes nor step marks tell what its kernels compute"
    signals: dict[str, Float64] = {}
    for cause in (cause for cause in CAUSES if cause.startswith("host_")):
        starved = parts["idle_starved"]
        signals[f"starved_{cause}_ratio"] = np.divide(
            idle[cause], starved, out=np.full(len(start), np.nan), where=starved > 0
        )
    if device is None:
        missing["compute_roof_ratio"] = "this GPU is not in hardware.toml, so its roofs are not known"
    else:
        signals["compute_roof_ratio"] = _compute_roof_ratio(trace, steps, device, start, end)
    if steps is not None:
        signals["step_tokens"] = steps.tokens[steps.steady]
    return Evidence(
        kind="trace",
        start_ns=start,
        end_ns=end,
        parts=parts,
        signals=signals,
        missing=missing,
        ridge_tokens=device.ridge_tokens if device else None,
    )


def _why_unlaunched(trace: Trace) -> str:
    if not (trace.host.correlation != 0).any():
        return "this trace holds no calls of the host: record the CPU's activities with the GPU's"
    return "the launches of the work after it are not in this trace"


def _compute_roof_ratio(
    trace: Trace,
    steps: StepColumns | None,
    device: Hardware,
    start: Int64,
    end: Int64,
) -> Float64:
    """How near each window's work comes to the compute roof, 0–1, NaN where neither shapes nor tokens tell.

    Under the memory roof a step of T tokens needs T over the ridge's tokens of its time for arithmetic. Under the
    compute roof it is what the recorded matrix products need at peak over what their kernels took.
    """
    window = window_of((trace.device.start_ns + trace.device.end_ns) // 2, start, end)
    inside = window >= 0
    needed, took = _seconds_at_peak(trace, device)
    at_peak, in_kernels = (np.bincount(window[inside], values[inside], len(start)) for values in (needed, took))
    ratio = np.divide(at_peak, in_kernels, out=np.full(len(start), np.nan), where=in_kernels > 0)
    if steps is not None:
        tokens = steps.tokens[steps.steady]
        ratio = np.where(tokens < device.ridge_tokens, tokens / device.ridge_tokens, ratio)
    nearness: Float64 = np.minimum(ratio, 1.0)
    return nearness


def _seconds_at_peak(trace: Trace, device: Hardware) -> tuple[Float64, Float64]:
    """What each row of device work needs at the compute peak for its recorded product, and what it took, seconds.

    Both are 0 where no product was recorded. Several kernels of one product share its need by their length.
    """
    work = trace.device
    nothing = np.zeros(len(work))
    if not trace.products:
        return nothing, nothing
    ids, first = np.unique([product.external_id for product in trace.products], return_index=True)
    need = np.array([device.seconds(trace.products[row])[0] for row in first])
    place = np.minimum(np.searchsorted(ids, work.external_id), len(ids) - 1)
    linked = (ids[place] == work.external_id) & (work.category == CATEGORIES.index("kernel"))
    took = np.where(linked, work.end_ns - work.start_ns, 0) / 1e9
    whole = np.bincount(place, took, len(ids))[place]
    return np.divide(need[place] * took, whole, out=nothing, where=linked & (whole > 0)), took


def _windows(times: tuple[DeviceTime, ...], steps: StepColumns | None) -> tuple[Int64, Int64]:
    if steps is not None:
        return steps.start_ns[steps.steady], steps.end_ns[steps.steady]
    start = min(time.span_ns[0] for time in times)
    end = max(time.span_ns[1] for time in times)
    return np.array([start], np.int64), np.array([end], np.int64)
