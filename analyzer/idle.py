"""Why a device stood idle: each gap is split among ``CAUSES``, exactly.

A gap ends with a piece of work, and that work was launched by a call. Until the call returned, the device was starved
by the thread that made it, and what that thread did then says more; afterwards the device waited for itself. All nodes
of one CUDA graph replay carry the correlation of its one launch (CUPTI's activity records do), so a gap after the
replay's first node is the device's, whenever the launching call returned.
"""

import re
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from analyzer.columns import Bool, Int64, Spans, Trace
from analyzer.step_names import parse
from analyzer.steps import StepColumns
from analyzer.timeline import EMPTY, IntervalSet, complement, covered_within, intersect, subtract, together, union

Idle: TypeAlias = Mapping[str, IntervalSet]

#: Cause → in a few words, and in many. What an id begins with says whose idle time it is.
CAUSES = {
    "host_sync": ("host waits", "the launching thread waited for the device before it went on"),
    "host_one_off": ("host sets up", "the launching thread allocated memory, or loaded or compiled code"),
    "host_work": ("host works", "the launching thread ran operators, other calls, or Python inside the engine's step"),
    "host_unseen": (
        "host unseen",
        "the launching thread was in no recorded call: in Python that was not recorded, or off the CPU",
    ),
    "device_graph": ("inside CUDA graphs", "between the nodes of one CUDA graph replay"),
    "device_gap": ("between kernels", "between one kernel and the next, which had been launched"),
    "device_dependency": ("event waits", "the next work had been launched, behind an event its stream waited for"),
    "device_unknown": ("device waits", "the next work had been launched, and nothing recorded held it back"),
    "unknown_request": ("no request known", "no request is known to have been there"),
    "unknown_demand": ("cause unknown", "nothing in the trace tells whether there was anything to do"),
    "unknown_launch": ("launch not recorded", "the launch of the next work is not in this trace"),
}

#: A device starts what was launched within this time of being free (in all sample traces of an H200 2–3 µs as a rule,
#: 9.6 µs at most). A longer wait has a cause of its own.
LAUNCH_LATENCY_NS = 10_000
#: A gap of which the launching thread spent at least this share in calls and operators had work to do.
_HOST_AT_WORK = 0.5

#: Calls and operators that return when the device has finished something.
_SYNC = re.compile(
    r"\w*synchronize\b|(cuda|hip)Memcpy(2D|3D)?(_v\d+)?|aten::(item|_local_scalar_dense|is_nonzero)", re.IGNORECASE
)
#: Calls that happen while a program warms up, and that synchronise or take milliseconds when they do.
_ONE_OFF = re.compile(
    r"(cuda|hip)(Malloc|Free|HostAlloc|HostRegister|HostUnregister|ExtMalloc|GraphInstantiate|StreamBeginCapture"
    r"|StreamEndCapture|ModuleLoad)\w*|cu(Mem(Alloc|Free|Create|Map|SetAccess|Unmap|Release)|Module|Library|Link)\w*"
    r"|nvrtc\w*|.*\(dynamo_timed\).*",
)
_STREAM_WAIT = re.compile(r"(cuda|cu|hip)StreamWaitEvent\w*|Stream Wait Event")


def idle_causes(
    trace: Trace, device: int, busy: IntervalSet, span: tuple[int, int], steps: StepColumns | None
) -> dict[str, IntervalSet]:
    """Each cause's part of one device's idle time; together they are the span less ``busy``, to the nanosecond.

    Args:
        trace: The columns.
        device: Index of the device.
        busy: When it worked, on any stream.
        span: First and last instant to explain.
        steps: The engine's steps on this device, where it marked any.
    """
    start, end = complement(busy, span)
    work = trace.device.take(trace.device.row == device)
    following = np.searchsorted(work.start_ns, end)
    there = following < len(work)
    following = np.minimum(following, len(work) - 1)
    calls = trace.host.take(trace.host.correlation != 0)
    call = np.where(there, _call_of(calls, work.correlation[following]), -1)
    in_replay = there & _under_way(work, following, end)
    known = (call >= 0) & ~in_replay

    launched = np.clip(np.where(known, calls.end_ns[call] if len(calls) else 0, start), start, end)
    late, rest = (start, launched), (launched, end)
    thread = np.where(known, calls.row[call] if len(calls) else 0, 0)
    states = _thread_states(trace, np.unique(thread[known & (launched > start)]).tolist(), span)
    at_work = np.zeros(len(start), np.int64)
    for row, state in states.items():
        mine = known & (thread == row)
        for name in ("host_one_off", "host_work"):
            at_work[mine] += covered_within(state[name], start[mine], end[mine])
    served = known & _was_served(at_work, work.start_ns[following], start, end, steps)

    awaited = known & _behind_event(trace, calls, call, work.stream[following])
    short = end - launched <= LAUNCH_LATENCY_NS
    found = {
        "device_graph": _chosen(rest, in_replay),
        "device_gap": _chosen(rest, known & ~awaited & short),
        "device_dependency": _chosen(rest, awaited),
        "device_unknown": _chosen(rest, known & ~awaited & ~short),
        "unknown_demand" if steps is None else "unknown_request": _chosen(late, known & ~served),
        "unknown_launch": _chosen(rest, ~known & ~in_replay),
    }
    starved = {row: _chosen(late, served & (thread == row)) for row in states}
    return dict.fromkeys(CAUSES, EMPTY) | _starved(starved, states) | found


def _starved(late: dict[int, IntervalSet], states: dict[int, dict[str, IntervalSet]]) -> dict[str, IntervalSet]:
    """The time before late launches by what the thread that made them did then."""
    parts: dict[str, list[IntervalSet]] = {}
    for row, left in late.items():
        for name, doing in states[row].items():
            parts.setdefault(name, []).append(intersect(left, doing))
            left = subtract(left, doing)  # noqa: PLW2901 - what no state has claimed yet
        parts.setdefault("host_unseen", []).append(left)
    return {name: together(sets) for name, sets in parts.items()}


def _chosen(intervals: IntervalSet, chosen: Bool) -> IntervalSet:
    """Some of disjoint intervals in order of time; those without a length are no intervals."""
    chosen = chosen & (intervals[1] > intervals[0])
    return intervals[0][chosen], intervals[1][chosen]


def _call_of(calls: Spans, correlation: Int64) -> Int64:
    """Row of the call that launched each piece of work; −1 where the trace lacks it."""
    if not len(calls):
        return np.full(len(correlation), -1, np.int64)
    order = np.argsort(calls.correlation, kind="stable")
    ids = calls.correlation[order]
    place = np.minimum(np.searchsorted(ids, correlation), len(ids) - 1)
    found: Int64 = np.where(ids[place] == correlation, order[place], -1)
    return found


def _under_way(work: Spans, following: Int64, end: Int64) -> Bool:
    """Whether the launch of the work that ends each gap had already brought other work to the device."""
    order = np.argsort(work.correlation, kind="stable")
    ids = work.correlation[order]
    opens = np.flatnonzero(np.concatenate(([True], ids[1:] != ids[:-1])))
    began = np.empty(len(work), np.int64)
    began[order] = np.repeat(work.start_ns[order[opens]], np.diff(opens, append=len(ids)))
    under_way: Bool = (work.correlation[following] != 0) & (began[following] < end)
    return under_way


def _thread_states(trace: Trace, threads: list[int], window: tuple[int, int]) -> dict[int, dict[str, IntervalSet]]:
    """What each thread did, as disjoint sets in order of how much they say."""
    if not threads:
        return {}
    spans = ((trace.host, _kinds(trace.host, trace.names)), (trace.host_marks, _mark_kinds(trace)))
    row, start, end, kind = (
        np.concatenate(columns)
        for columns in zip(*((found.row, found.start_ns, found.end_ns, kind) for found, kind in spans), strict=True)
    )
    useful = (kind != _NOTHING) & (end > window[0]) & (start < window[1])
    row, start, end, kind = row[useful], start[useful], end[useful], kind[useful]
    order = np.argsort(row, kind="stable")
    row, start, end, kind = row[order], start[order], end[order], kind[order]
    states = {}
    for thread in threads:
        mine = slice(*np.searchsorted(row, [thread, thread + 1]))
        sync, one_off, work = (union(start[mine][is_it], end[mine][is_it]) for is_it in
                               (kind[mine] == which for which in (_WAITS, _SETS_UP, _WORKS)))  # fmt: skip
        one_off = subtract(one_off, sync)
        work = subtract(subtract(work, sync), one_off)
        states[thread] = {"host_sync": sync, "host_one_off": one_off, "host_work": work}
    return states


#: What a span says of its thread. A mark says nothing unless it is a step's or a compiler's: others may be around all.
_WAITS, _SETS_UP, _WORKS, _NOTHING = range(4)


def _kinds(spans: Spans, names: tuple[str, ...]) -> Int64:
    used, name_of = np.unique(spans.name, return_inverse=True)
    said = (names[index] for index in used.tolist())
    kinds = [_WAITS if _SYNC.fullmatch(name) else _SETS_UP if _ONE_OFF.fullmatch(name) else _WORKS for name in said]
    return np.array(kinds, np.int64)[name_of]


def _mark_kinds(trace: Trace) -> Int64:
    marks = trace.host_marks
    steps = [index for index in np.unique(marks.name).tolist() if parse(trace.names[index])]
    kinds = _kinds(marks, trace.names)
    return np.where((kinds == _SETS_UP) | np.isin(marks.name, steps), kinds, _NOTHING)


def _was_served(at_work: Int64, began: Int64, start: Int64, end: Int64, steps: StepColumns | None) -> Bool:
    """Whether requests are known to have been there during each gap.

    They were if the gap lies inside a step, if the step it leads to goes on generating for requests it did not
    just accept, or if the launching thread worked through most of it.
    """
    served: Bool = at_work >= _HOST_AT_WORK * (end - start)
    if steps is None:
        return served
    before = np.searchsorted(steps.start_ns, start, side="right") - 1
    after = np.searchsorted(steps.start_ns, began, side="right") - 1
    inside = (before == after) & (after >= 0)
    continuing = (after >= 0) & (steps.generation[np.maximum(after, 0)] > 0)
    known: Bool = served | inside | continuing
    return known


def _behind_event(trace: Trace, calls: Spans, call: Int64, stream: Int64) -> Bool:
    """Whether the thread had made the stream wait for an event just before each launch, since its launch before.

    The call does not say which stream waits. The profiler's synchronisation records do, where they were asked for;
    without them it is taken to be the one of the next launch, as PyTorch's ``wait_stream`` is used.
    """
    named = [index for index, name in enumerate(trace.names) if _STREAM_WAIT.fullmatch(name)]
    waits = trace.host.take(np.isin(trace.host.name, named))
    behind = np.zeros(len(call), bool)
    if not len(waits):
        return behind
    records = trace.device_marks.take(np.isin(trace.device_marks.name, named))
    waiting = dict(zip(records.correlation.tolist(), records.stream.tolist(), strict=True))
    target = np.array([waiting.get(correlation, _ANY) for correlation in waits.correlation.tolist()], np.int64)
    launches = calls.take(np.isin(calls.correlation, trace.device.correlation))
    thread = np.where(call >= 0, calls.row[call], _ANY)
    for row in np.intersect1d(thread, waits.row).tolist():
        gaps = np.flatnonzero((call >= 0) & (thread == row))
        launched_ns, own = calls.start_ns[call[gaps]], launches.start_ns[launches.row == row]
        before = np.searchsorted(own, launched_ns)
        since_ns = np.where(before > 0, own[np.maximum(before, 1) - 1], np.iinfo(np.int64).min)
        mine = waits.row == row
        for to in np.unique(target[mine]).tolist():
            asked_ns = waits.start_ns[mine & (target == to)]
            asked = np.searchsorted(asked_ns, launched_ns) > np.searchsorted(asked_ns, since_ns)
            behind[gaps] |= asked & ((to == _ANY) | (stream[gaps] == to))
    return behind


#: A stream, or a thread, that no record names.
_ANY = -1
