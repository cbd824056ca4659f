"""LLM steps: which ranges of a trace are one step of the engine, with their batch and tokens.

Engines mark a step on the host; the profiler mirrors the mark on the device around the work launched inside it.
A step lasts from the start of its device mark to the start of the next one: the sampler and the last matrix
product run after the mark ends, and the host may run far ahead of the device, so neither the mark's own length
nor its host range is the step's time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from analyzer.columns import Bool, Float64, Int64, Spans, Trace
from analyzer.schema import Step, StepGroup, Steps
from analyzer.step_names import StepName, parse
from analyzer.timeline import IntervalSet, covered_within, together

#: The first steps of a capture run 9–15 times slower than the rest (measured: 58 and 90 ms against 6.2 ms), so
#: this many are left out of every statistic where enough others remain.
WARM_UP_STEPS = 2

#: The device of steps in a trace without device work: they lie on the host's clock.
HOST_ONLY = -1


@dataclass(frozen=True, kw_only=True)
class StepColumns:
    """The steps of one device, rows in order of time, all arrays of shape (n,)."""

    device: int
    start_ns: Int64
    end_ns: Int64
    #: Requests whose prompt is being read, and requests that generate; 0 where no mark names them.
    context: Int64
    generation: Int64
    #: Tokens of the step; NaN where the mark does not say.
    tokens: Float64
    #: What the steps were known by.
    origin: str = "marks of the engine"
    #: How sure it is that these are the steps, 0–1.
    confidence: float = 1.0
    #: The phases of steps that no mark names; their batch is not known.
    unnamed: tuple[str, ...] | None = None

    def __len__(self) -> int:
        """Steps."""
        return len(self.start_ns)

    @property
    def steady(self) -> Bool:
        """The steps that statistics are made of: not the first ones, if at least three others remain."""
        rows = np.arange(len(self))
        return rows >= (WARM_UP_STEPS if len(self) >= WARM_UP_STEPS + 3 else 0)

    def phase(self, row: int) -> str:
        """``prefill``, ``decode`` or ``mixed``; ``step`` where that is not known."""
        if self.unnamed is not None:
            return self.unnamed[row]
        if self.context[row] and self.generation[row]:
            return "mixed"
        return "prefill" if self.context[row] else "decode"


def find_steps(trace: Trace) -> StepColumns | None:
    """The steps that engine marks describe, or None where the trace has none.

    Empty steps (no request at all) are host bookkeeping and do not count. Where a trace holds several devices,
    the steps are those of the first: the ranks of one engine step together.
    """
    steps = steps_by_device(trace)
    return steps[min(steps)] if steps else None


def steps_by_device(trace: Trace) -> dict[int, StepColumns]:
    """The steps that engine marks describe on each device.

    A mark may lack its twin on the device, as in traces that know no such twins: its step is then the work that
    calls inside it launched. In a trace without device work steps are those of the host.
    """
    marks, names = _named(trace.device_marks, trace)
    if not len(marks):
        marks, names = _named(trace.host_marks, trace)
        marks = _on_device(marks, trace) if len(trace.device) else replace(marks, row=np.full(len(marks), HOST_ONLY))
    found = {}
    for device in np.unique(marks.row).tolist():
        mine = _distinct(marks.take(marks.row == device))
        work = trace.device.end_ns[trace.device.row == device]
        last = max(int(mine.end_ns.max()), int(work.max()) if len(work) else 0)
        said = [names[int(name)] for name in mine.name]
        found[device] = StepColumns(
            device=device,
            start_ns=mine.start_ns,
            end_ns=np.r_[mine.start_ns[1:], last],
            context=np.array([step.context for step in said], np.int64),
            generation=np.array([step.generation for step in said], np.int64),
            tokens=np.array([np.nan if step.tokens is None else step.tokens for step in said], np.float64),
        )
    return found


def _named(marks: Spans, trace: Trace) -> tuple[Spans, dict[int, StepName]]:
    """The marks that name a step, and what they say by the index of their name."""
    parsed = {index: parse(trace.names[index]) for index in np.unique(marks.name).tolist()}
    names = {index: step for index, step in parsed.items() if step is not None}
    return marks.take(np.isin(marks.name, list(names))), names


def _distinct(marks: Spans) -> Spans:
    """One mark a step, in order of time.

    The profiler draws a range once for each stream it launched work on, all with the range's id; and a range inside
    another is a part of its step.
    """
    ids, first, range_of = np.unique(marks.external_id, return_index=True, return_inverse=True)
    if len(ids) > 1 or ids[0]:
        end_ns = marks.end_ns.copy()
        np.maximum.at(end_ns, first[range_of], marks.end_ns)
        own = (marks.external_id == 0) | (np.arange(len(marks)) == first[range_of])
        marks = replace(marks, end_ns=np.where(marks.external_id == 0, marks.end_ns, end_ns)).take(own)
    reach = np.r_[np.iinfo(np.int64).min, np.maximum.accumulate(marks.end_ns)[:-1]]
    return marks.take(marks.end_ns > reach)


def _on_device(marks: Spans, trace: Trace) -> Spans:
    """Host marks as they would lie on each device: around the work that calls inside them launched."""
    calls = trace.host.take(trace.host.correlation != 0)
    mark_of = np.full(len(calls), -1, np.int64)
    for thread in np.unique(marks.row).tolist():
        mine = np.flatnonzero(marks.row == thread)
        there = np.flatnonzero(calls.row == thread)
        place = np.searchsorted(marks.start_ns[mine], calls.start_ns[there], side="right") - 1
        inside = (place >= 0) & (calls.start_ns[there] < marks.end_ns[mine][np.maximum(place, 0)])
        mark_of[there] = np.where(inside, mine[np.maximum(place, 0)], -1)
    inside = mark_of >= 0
    order = np.argsort(calls.correlation[inside], kind="stable")
    ids, mark_of = calls.correlation[inside][order], mark_of[inside][order]
    if not len(ids):
        return marks.take(np.zeros(len(marks), bool))
    work = trace.device
    place = np.minimum(np.searchsorted(ids, work.correlation), len(ids) - 1)
    launched = np.flatnonzero(ids[place] == work.correlation)
    launched_by = mark_of[place[launched]]
    if not len(launched):
        return marks.take(np.zeros(len(marks), bool))
    # One row for each pair of mark and device: the first and last of the work.
    order = np.lexsort((launched_by, work.row[launched]))
    launched, launched_by = launched[order], launched_by[order]
    device = work.row[launched]
    first = np.flatnonzero(np.r_[True, (device[1:] != device[:-1]) | (launched_by[1:] != launched_by[:-1])])
    start_ns = np.minimum.reduceat(work.start_ns[launched], first)
    end_ns = np.maximum.reduceat(work.end_ns[launched], first)
    drawn = replace(marks.take(launched_by[first]), row=device[first], start_ns=start_ns, end_ns=end_ns)
    return drawn.take(np.argsort(start_ns, kind="stable"))


def summarise(steps: StepColumns, busy: Mapping[str, IntervalSet], idle: Mapping[str, IntervalSet]) -> Steps:
    """The steps as they are shown: each one, and the medians of each phase over the steady ones.

    Args:
        steps: Of one device.
        busy: That device's time at work by kind: ``compute``, ``exposed_communication`` and ``exposed_copy``.
        idle: Its idle time by cause.
    """
    length = steps.end_ns - steps.start_ns
    held = {kind: covered_within(covered, steps.start_ns, steps.end_ns) for kind, covered in busy.items()}
    rest = length - sum(held.values(), np.zeros(len(steps), np.int64))
    gap = _gaps(steps, busy)
    phases = np.array([steps.phase(row) for row in range(len(steps))])
    batch = steps.context + steps.generation
    shown = tuple(
        Step(
            phase=str(phases[row]),
            start_s=int(steps.start_ns[row]) / 1e9,
            duration_s=int(length[row]) / 1e9,
            batch=None if steps.unnamed else int(batch[row]),
            tokens=int(steps.tokens[row]) if np.isfinite(steps.tokens[row]) else None,
            busy_ratio=float(1 - rest[row] / max(1, length[row])),
            compute_s=int(held["compute"][row]) / 1e9,
            exposed_communication_s=int(held["exposed_communication"][row]) / 1e9,
            exposed_copy_s=int(held["exposed_copy"][row]) / 1e9,
            idle_s=int(rest[row]) / 1e9,
            gap_s=int(gap[row]) / 1e9,
        )
        for row in range(len(steps))
    )
    groups = []
    for phase in ("prefill", "mixed", "decode", "step"):
        rows = np.flatnonzero((phases == phase) & steps.steady)
        if not len(rows):
            continue
        tokens, seconds = steps.tokens[rows], length[rows] / 1e9
        known = np.isfinite(tokens).all()
        start, end = steps.start_ns[rows], steps.end_ns[rows]
        causes = {cause: int(covered_within(covered, start, end).sum()) for cause, covered in idle.items()}
        groups.append(
            StepGroup(
                phase=phase,
                count=len(rows),
                duration_p50_s=float(np.median(seconds)),
                batch_p50=None if steps.unnamed else float(np.median(batch[rows])),
                tokens_p50=float(np.median(tokens)) if known else None,
                tokens_per_s=float(tokens.sum() / seconds.sum()) if known and seconds.any() else None,
                idle_ratio=int(rest[rows].sum()) / max(1, int(length[rows].sum())),
                gap_p50_s=float(np.median(gap[rows])) / 1e9,
                idle={cause: ns / 1e9 for cause, ns in causes.items() if ns},
            ),
        )
    return Steps(
        groups=tuple(groups),
        warm_up=int((~steps.steady).sum()),
        steps=shown,
        origin=steps.origin,
        confidence=steps.confidence,
    )


def _gaps(steps: StepColumns, busy: Mapping[str, IntervalSet]) -> Int64:
    """Idle time at the end of each step, before the next one starts."""
    start, end = together(list(busy.values()))
    if not len(start):
        return steps.end_ns - steps.start_ns
    before = np.searchsorted(start, steps.end_ns) - 1
    worked_until = np.where(before >= 0, end[np.maximum(before, 0)], steps.start_ns)
    gap: Int64 = steps.end_ns - np.clip(worked_until, steps.start_ns, steps.end_ns)
    return gap
