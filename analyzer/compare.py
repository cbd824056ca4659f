"""What explains that one trace took longer than another: kernels, idle causes and steps, each adding up exactly.

A trace becomes a ``Profile``: the time of one step on one device, where both traces have steps, else of the whole
window, dealt out in whole nanoseconds. Every instant at work belongs to one kernel: of kernels that overlap to the one
that began first, and to a collective or a copy only what no computation hides. Every idle instant belongs to its
cause. So the parts of a profile add up to its length, those of a difference to the difference, and comparing the other
way round changes nothing but the signs.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np

from analyzer.columns import Int32, Int64, Spans, Trace
from analyzer.evidence.trace import DeviceTime, device_times
from analyzer.kernels import FAMILIES, NEITHER, families
from analyzer.schema import Compared, Comparison, Difference, StepDifference
from analyzer.steps import find_steps
from analyzer.timeline import EMPTY, IntervalSet, covered_within, subtract, total, union
from collector.errors import UserError

#: Kind (``kernel`` or ``idle``), name of the kernel or id of the cause, family.
Key: TypeAlias = tuple[str, str, str]

#: The part of a window in which a device has not begun to work, or does not any more.
OUTSIDE = "outside"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One unit of a trace's time, in whole nanoseconds."""

    #: Steps the profile is the mean of; None where it is of the whole window.
    steps: int | None
    #: They add up to ``length_ns``.
    parts: Mapping[Key, int]
    #: Kernels that begin in one unit on one device.
    counts: Mapping[Key, float]
    #: Phase of steps → their part of ``length_ns``, and their share of the steps.
    phases: Mapping[str, tuple[int, float]]

    @property
    def length_ns(self) -> int:
        """Of one unit."""
        return sum(self.parts.values())


@dataclass(frozen=True, kw_only=True)
class Side:
    """One trace, reduced to what a comparison needs: it may be compared by step or as a whole."""

    name: str
    duration_s: float
    gpus: tuple[str, ...]
    whole: Profile
    step: Profile | None


def side(trace: Trace) -> Side:
    """Reduce a trace to its profiles.

    Raises:
        UserError: No device worked in it.
    """
    if not len(trace.device):
        raise UserError(f"{trace.name} shows no device work, so there is nothing to compare")
    family_of = families(trace)
    steps = find_steps(trace)
    times = device_times(trace, family_of, np.full(len(trace.device), NEITHER, np.int32), steps)
    first, last = min(time.span_ns[0] for time in times), max(time.span_ns[1] for time in times)
    by_step = None
    if steps is not None and steps.steady.any():
        start, end = steps.start_ns, np.minimum(steps.end_ns, np.r_[steps.start_ns[1:], steps.end_ns[-1:]])
        rows = np.flatnonzero(steps.steady & (end > start))
        phases = [steps.phase(int(row)) for row in rows]
        by_step = _profile(trace, family_of, times, (start[rows], end[rows]), phases) if len(rows) else None
    return Side(
        name=trace.name,
        duration_s=(trace.window_ns[1] - trace.window_ns[0]) / 1e9,
        gpus=tuple(device.name for device in trace.devices.values()),
        whole=_profile(trace, family_of, times, (np.array([first]), np.array([last])), None),
        step=by_step,
    )


def _profile(
    trace: Trace, family_of: Int32, times: Iterable[DeviceTime], windows: IntervalSet, phases: list[str] | None
) -> Profile:
    """The mean of some windows, disjoint and in order: steps with their phases, or the whole."""
    units, held, counts = 1 if phases is None else len(phases), Counter[Key](), Counter[Key]()
    devices = 0
    for time in times:
        devices += 1
        rows = np.flatnonzero(trace.device.row == time.device)
        work, family = trace.device.take(rows), family_of[rows]
        own_ns, begins = _own_time(work, family, windows)
        for key, ns, count in _by_name(trace.names, work, family, own_ns, begins):
            held[key] += ns
            counts[key] += count
        for cause, idle in time.idle.items():
            held["idle", cause, ""] += int(covered_within(idle, *windows).sum())
    held["idle", OUTSIDE, ""] = total(windows) * devices - sum(held.values())
    lengths = Counter[str]()
    for phase, ns in zip(phases or ["whole"], (windows[1] - windows[0]).tolist(), strict=True):
        lengths[phase] += ns * devices
    of_phase = Counter(phases or ["whole"])
    shared = _shared_out(lengths, units * devices)
    return Profile(
        steps=None if phases is None else units,
        parts=_shared_out({key: ns for key, ns in held.items() if ns or counts[key]}, units * devices),
        counts={key: count / (units * devices) for key, count in counts.items()},
        phases={phase: (shared[phase], of_phase[phase] / units) for phase in sorted(lengths)},
    )


def _own_time(work: Spans, family: Int32, windows: IntervalSet) -> tuple[Int64, Int64]:
    """Nanoseconds of the windows that belong to each row alone, and whether it begins in one of them, shape (n,)."""
    communication, copy = (family == FAMILIES.index(name) for name in ("communication", "copy"))
    own_ns = np.zeros(len(work), np.int64)
    hidden = EMPTY
    for rows in map(np.flatnonzero, (~communication & ~copy, communication, copy)):
        start, end = work.start_ns[rows], work.end_ns[rows]
        reach = np.maximum.accumulate(np.r_[start[:1], end])[:-1]
        begin = np.maximum(start, reach)
        end = np.maximum(end, begin)
        own_ns[rows] = covered_within(subtract(windows, hidden), begin, end)
        hidden = union(np.r_[hidden[0], start], np.r_[hidden[1], work.end_ns[rows]])
    place = np.searchsorted(windows[0], work.start_ns, side="right") - 1
    begins = (place >= 0) & (work.start_ns < windows[1][np.maximum(place, 0)])
    return own_ns, begins.astype(np.int64)


def _by_name(
    names: tuple[str, ...], work: Spans, family: Int32, own_ns: Int64, begins: Int64
) -> Iterable[tuple[Key, int, int]]:
    ids, first, of_row = np.unique(work.name, return_index=True, return_inverse=True)
    held, counts = np.zeros(len(ids), np.int64), np.zeros(len(ids), np.int64)
    np.add.at(held, of_row, own_ns)
    np.add.at(counts, of_row, begins)
    for row, name in enumerate(ids.tolist()):
        if held[row] or counts[row]:
            yield ("kernel", names[name], FAMILIES[family[first[row]]]), int(held[row]), int(counts[row])


_K = TypeVar("_K", str, Key)


def _shared_out(held: Mapping[_K, int], divisor: int) -> dict[_K, int]:
    """Each part divided, in whole numbers that add up to the whole divided: by largest remainders."""
    shared = {key: value // divisor for key, value in held.items()}
    left = sum(held.values()) // divisor - sum(shared.values())
    by_remainder = sorted(held, key=lambda key: (-(held[key] % divisor), key))
    for key in by_remainder[:left]:
        shared[key] += 1
    return shared


def compare(before: Side, after: Side) -> Comparison:
    """What explains the difference in time between two traces: the parts of each table add up to it exactly."""
    by_step = before.step is not None and after.step is not None
    a, b = (side.step if by_step and side.step else side.whole for side in (before, after))
    parts = [*_idle(a, b), *_kernels(a, b)]
    return Comparison(
        unit="step" if by_step else "window",
        before=_compared(before, a),
        after=_compared(after, b),
        difference_s=(b.length_ns - a.length_ns) / 1e9,
        parts=tuple(sorted(parts, key=lambda part: (-abs(part.difference_s), part.kind, part.before, part.after))),
        steps=tuple(_steps(a, b)) if by_step else (),
        notes=tuple(_notes(before, after, a, b)),
    )


def _compared(side: Side, profile: Profile) -> Compared:
    return Compared(
        name=side.name,
        duration_s=side.duration_s,
        gpus=side.gpus,
        steps=profile.steps,
        length_s=profile.length_ns / 1e9,
    )


def _idle(a: Profile, b: Profile) -> Iterable[Difference]:
    for key in sorted({key for key in (*a.parts, *b.parts) if key[0] == "idle"}):
        yield _difference(a, b, [key], [key])


def _kernels(a: Profile, b: Profile) -> Iterable[Difference]:
    """Kernels by their names; those that only one side has, together where the other has others of their family."""
    mine, theirs = ({key for key in side.parts if key[0] == "kernel"} for side in (a, b))
    for key in sorted(mine & theirs):
        yield _difference(a, b, [key], [key])
    for family in FAMILIES:
        gone, new = (sorted(key for key in only if key[2] == family) for only in (mine - theirs, theirs - mine))
        if gone and new:
            yield _difference(a, b, gone, new)
        else:
            yield from (_difference(a, b, [key], []) for key in gone)
            yield from (_difference(a, b, [], [key]) for key in new)


def _difference(a: Profile, b: Profile, before: list[Key], after: list[Key]) -> Difference:
    is_kernel, family = (before or after)[0][0] == "kernel", (before or after)[0][2]
    ns = sum(a.parts.get(key, 0) for key in before), sum(b.parts.get(key, 0) for key in after)
    counts = sum(a.counts.get(key, 0.0) for key in before), sum(b.counts.get(key, 0.0) for key in after)
    by_count = _by_amount(counts, ns)
    return Difference(
        kind="kernel" if is_kernel else "idle",
        family=family or None,
        before=tuple(name for _, name, _ in before),
        after=tuple(name for _, name, _ in after),
        before_s=ns[0] / 1e9,
        after_s=ns[1] / 1e9,
        difference_s=(ns[1] - ns[0]) / 1e9,
        count_before=counts[0] if is_kernel else None,
        count_after=counts[1] if is_kernel else None,
        from_count_s=by_count / 1e9 if is_kernel else None,
        from_duration_s=(ns[1] - ns[0] - by_count) / 1e9 if is_kernel else None,
    )


def _by_amount(amounts: tuple[float, float], ns: tuple[int, int]) -> int:
    """Of a difference, the nanoseconds that come of another amount, each priced at the mean of both sides.

    What is left comes of another length. With nothing on one side, all of it comes of the amount.
    """
    if not all(amounts):
        return ns[1] - ns[0] if any(amounts) else 0
    each = ns[0] / amounts[0] + ns[1] / amounts[1]
    return round((amounts[1] - amounts[0]) * each / 2)


def _steps(a: Profile, b: Profile) -> Iterable[StepDifference]:
    for phase in sorted({*a.phases, *b.phases}):
        (before_ns, before), (after_ns, after) = (side.phases.get(phase, (0, 0.0)) for side in (a, b))
        mix = _by_amount((before, after), (before_ns, after_ns))
        yield StepDifference(
            phase=phase,
            share_before=before,
            share_after=after,
            mean_before_s=before_ns / before / 1e9 if before else None,
            mean_after_s=after_ns / after / 1e9 if after else None,
            difference_s=(after_ns - before_ns) / 1e9,
            from_share_s=mix / 1e9,
            from_length_s=(after_ns - before_ns - mix) / 1e9,
        )


def _notes(before: Side, after: Side, a: Profile, b: Profile) -> Iterable[str]:
    """What a reader must know before trusting the comparison."""
    if a.steps is None:
        without = [side.name for side in (before, after) if side.step is None]
        yield f"Whole windows are compared, whatever their load: {' and '.join(without)} has no LLM steps."
    if sorted(before.gpus) != sorted(after.gpus):
        yield "The traces are of different GPUs; times are means over the devices of each."
    if a.steps is not None and set(a.phases) != set(b.phases):
        yield "The traces do not hold the same kinds of step."
