"""A trace as a budget and as evidence.

The budget speaks of the device's whole span. The evidence speaks of the steady steps where the trace has steps,
else of the span as one window. Both come from unions of intervals over all streams of a device, in integer
nanoseconds, so their parts sum exactly.
"""

from dataclasses import dataclass

import numpy as np

from analyzer.columns import CATEGORIES, Bool, Float64, Int32, Int64, Spans, Trace
from analyzer.evidence import PARTS, Evidence
from analyzer.kernels import COMPUTE, FAMILIES, MEMORY
from analyzer.roofline import Hardware
from analyzer.schema import DeviceBudget
from analyzer.steps import StepColumns
from analyzer.timeline import EMPTY, IntervalSet, complement, covered_within, subtract, total, union
from analyzer.windows import window_of

#: A device gap of which the launching thread spent at least this share in calls and operators had work to do.
_HOST_AT_WORK = 0.5

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
    #: Idle, by cause.
    idle_starved: IntervalSet
    idle_device: IntervalSet
    idle_unknown: IntervalSet

    def budget(self) -> DeviceBudget:
        """The split in seconds, over the whole span."""
        launch = total(self.idle_starved) + total(self.idle_unknown)
        waits = total(self.idle_device)
        return DeviceBudget(
            device=self.device,
            span_s=(self.span_ns[1] - self.span_ns[0]) / 1e9,
            compute_s=total(self.compute) / 1e9,
            exposed_communication_s=total(self.exposed_communication) / 1e9,
            exposed_copy_s=total(self.exposed_copy) / 1e9,
            idle_s=(launch + waits) / 1e9,
            idle_launch_s=launch / 1e9,
            idle_device_s=waits / 1e9,
        )


def device_times(trace: Trace, family_of: Int32, roof: Int32, steps: StepColumns | None) -> tuple[DeviceTime, ...]:
    """Split the span of every device that worked, in order of their index."""
    return tuple(
        _device_time(trace, int(index), trace.device.row == index, family_of, roof, steps)
        for index in np.unique(trace.device.row)
    )


def _device_time(
    trace: Trace,
    index: int,
    mine: Bool,
    family_of: Int32,
    roof: Int32,
    steps: StepColumns | None,
) -> DeviceTime:
    work = trace.device
    span = int(work.start_ns[mine].min()), int(work.end_ns[mine].max())

    def covered(chosen: Bool) -> IntervalSet:
        return union(work.start_ns[mine & chosen], work.end_ns[mine & chosen])

    is_copy = family_of == FAMILIES.index("copy")
    is_communication = family_of == FAMILIES.index("communication")
    compute = covered(~is_copy & ~is_communication)
    communication = subtract(covered(is_communication), compute)
    busy = covered(np.ones(len(work), bool))
    under_compute = covered(~is_copy & ~is_communication & (roof == COMPUTE))
    under_memory = subtract(covered(~is_copy & ~is_communication & (roof == MEMORY)), under_compute)
    starved, waits, unknown = _idle(trace, index, mine, span, steps)
    return DeviceTime(
        device=index,
        span_ns=span,
        busy=busy,
        compute=compute,
        exposed_communication=communication,
        exposed_copy=subtract(subtract(covered(is_copy), compute), communication),
        compute_bound=under_compute,
        memory_bound=under_memory,
        busy_other=subtract(subtract(compute, under_compute), under_memory),
        idle_starved=starved,
        idle_device=waits,
        idle_unknown=unknown,
    )


def _idle(
    trace: Trace,
    index: int,
    mine: Bool,
    span: tuple[int, int],
    steps: StepColumns | None,
) -> tuple[IntervalSet, IntervalSet, IntervalSet]:
    """Split each gap: before the end of the launch of the work that ends it, and after.

    Before: the device was starved if requests are known to have been there, else the cause is unknown. After: the
    device waited for itself. A gap inside one graph replay has its launch long behind it.
    """
    work = trace.device.take(mine)
    busy = union(work.start_ns, work.end_ns)
    gap_start, gap_end = complement(busy, span)
    if not len(gap_start):
        return EMPTY, EMPTY, EMPTY
    next_work = np.searchsorted(work.start_ns, gap_end)
    launch_end = _launch_ends(trace.host, work)[next_work]
    launched = np.clip(np.where(launch_end < 0, gap_end, launch_end), gap_start, gap_end)
    served = _was_served(trace, index, work, next_work, gap_start, gap_end, steps) & (launch_end >= 0)
    return (
        union(gap_start[served], launched[served]),
        union(launched, gap_end),
        union(gap_start[~served], launched[~served]),
    )


def _launch_ends(host: Spans, work: Spans) -> Int64:
    """When the call that launched each row of work returned; −1 where the trace lacks the call."""
    calls = host.take(host.correlation != 0)
    if not len(calls):
        return np.full(len(work), -1, np.int64)
    order = np.argsort(calls.correlation, kind="stable")
    ids = calls.correlation[order]
    place = np.minimum(np.searchsorted(ids, work.correlation), len(ids) - 1)
    found: Int64 = np.where(ids[place] == work.correlation, calls.end_ns[order][place], -1)
    return found


def _was_served(
    trace: Trace,
    index: int,
    work: Spans,
    next_work: Int64,
    gap_start: Int64,
    gap_end: Int64,
    steps: StepColumns | None,
) -> Bool:
    """Whether requests are known to have been there during each gap.

    They were if the gap lies inside a step, if the step it leads to goes on generating for requests it did not
    just accept, or if the host worked through most of it. ``next_work`` only names the row that ends the gap.
    """
    waits = np.array(["synchronize" in name.lower() for name in trace.names], bool)
    at_work = trace.host.take(~waits[trace.host.name]) if len(trace.host) else trace.host
    host = union(at_work.start_ns, at_work.end_ns)
    served: Bool = covered_within(host, gap_start, gap_end) >= _HOST_AT_WORK * (gap_end - gap_start)
    if steps is None or steps.device != index:
        return served
    before = np.searchsorted(steps.start_ns, gap_start, side="right") - 1
    after = np.searchsorted(steps.start_ns, work.start_ns[next_work], side="right") - 1
    inside = (before == after) & (after >= 0)
    continuing = (after >= 0) & (steps.generation[np.maximum(after, 0)] > 0)
    known: Bool = served | inside | continuing
    return known


def trace_evidence(
    trace: Trace,
    times: tuple[DeviceTime, ...],
    steps: StepColumns | None,
    device: Hardware | None,
) -> Evidence:
    """The evidence of a trace with device work: windows are its steady steps, or the whole span."""
    start, end = _windows(times, steps)

    def seconds(part: str) -> Float64:
        covered = [covered_within(getattr(time, part), start, end) for time in times]
        mean: Float64 = np.mean(covered, axis=0) / 1e9
        return mean

    missing = dict.fromkeys(
        ("requests_running", "requests_waiting", "front_end_cores"),
        "a trace shows neither the queue nor other processes: record a run beside it",
    )
    missing["idle_unknown"] = missing["requests_running"]
    missing["busy_other"] = "neither shapes nor step marks tell what its kernels compute"
    signals: dict[str, Float64] = {}
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
        parts={part: seconds(part) for part in _PARTS},
        signals=signals,
        missing=missing,
        ridge_tokens=device.ridge_tokens if device else None,
    )


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
