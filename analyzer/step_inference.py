"""Steps that no engine marked: turns of a profiled loop, else what the device's work repeats.

Work repeats at several periods at once, a layer and a step among them. The one of the step is the shortest in which
nearly every kind of work occurs: the sampler of a language model runs once a step and in no layer. A kind of work is a
kernel by its name, or the replay of a CUDA graph with so many nodes. How long steps last is known well, where in its
period one begins is a guess: after its longest idle time. What is inferred is shown with a confidence, and decides
nothing: a loop that repeats does not prove that requests were there.
"""

from dataclasses import dataclass

import numpy as np

from analyzer.columns import Int32, Int64, Spans, Trace
from analyzer.kernels import FAMILIES
from analyzer.step_names import is_loop
from analyzer.steps import StepColumns
from analyzer.timeline import IntervalSet, union

#: Fewer turns are no period.
_LEAST_TURNS = 5
#: Pieces of work with one correlation are a graph's from this many on.
_GRAPH_NODES = 2
#: A period in which kinds of work occur nearly as completely as in the best one, but which is shorter, is preferred.
_AS_COMPLETE = 0.9
#: Two turns are alike when their lengths differ by no more than this share.
_ALIKE = 0.25
#: Less sure than this is not shown.
_LEAST_CONFIDENCE = 0.5
#: What nobody marked is never certain.
_MOST_CONFIDENCE = 0.95
#: So many periods are tried, those first at which most kinds of work occur.
_MOST_PERIODS = 12


@dataclass(frozen=True)
class _Units:
    """A device's work as kernels and whole replays, in order of time."""

    kind: Int64
    start_ns: Int64
    #: Kinds that are replays, and of those the ones that hold attention.
    replays: frozenset[int]
    attentive: frozenset[int]


def infer_steps(trace: Trace, family_of: Int32) -> StepColumns | None:
    """The steps of the first device that worked, or None where nothing repeats as steps do.

    Without a replay or an attention kernel in it, a period is some loop's and not shown.
    """
    device = int(trace.device.row.min())
    mine = trace.device.row == device
    work, family_of = trace.device.take(mine), family_of[mine]
    return _loop(trace, device, work) or _periods(device, work, family_of)


def _loop(trace: Trace, device: int, work: Spans) -> StepColumns | None:
    turns = [index for index in np.unique(trace.device_marks.name).tolist() if is_loop(trace.names[index])]
    marks = trace.device_marks.take(np.isin(trace.device_marks.name, turns) & (trace.device_marks.row == device))
    # A turn that launched work on several streams is drawn once on each.
    _, first = np.unique(marks.name, return_index=True)
    start_ns = np.sort(marks.start_ns[first])
    if not len(start_ns):
        return None
    return _steps(device, work, start_ns, "ProfilerStep marks", 1.0, ["step"] * len(start_ns))


def _steps(
    device: int, work: Spans, start_ns: Int64, origin: str, confidence: float, phases: list[str]
) -> StepColumns:  # fmt: skip
    unknown = np.zeros(len(start_ns), np.int64)
    start_ns = np.maximum(start_ns, work.start_ns[0])
    return StepColumns(
        device=device,
        start_ns=start_ns,
        end_ns=np.r_[start_ns[1:], work.end_ns.max()],
        context=unknown,
        generation=unknown,
        tokens=np.full(len(start_ns), np.nan),
        origin=origin,
        confidence=confidence,
        unnamed=tuple(phases),
    )


def _periods(device: int, work: Spans, family_of: Int32) -> StepColumns | None:
    units = _units(work, family_of)
    kinds, counts = np.unique(units.kind, return_counts=True)
    attention = np.unique(work.name[family_of == FAMILIES.index("attention")])
    if not units.replays and not len(attention):
        return None
    tried = _candidates(units, kinds, counts)
    if not tried:
        return None
    complete = {count: _completeness(units, at) for count, at in tried.items()}
    turns = max(count for count in tried if complete[count] >= _AS_COMPLETE * max(complete.values()))
    anchor = _first_of_step(units, kinds[counts == turns], union(work.start_ns, work.end_ns))
    start_ns = units.start_ns[units.kind == anchor]
    lengths = np.diff(start_ns)
    alike = float(np.mean(np.abs(lengths - np.median(lengths)) <= _ALIKE * np.median(lengths)))
    span = int(work.end_ns.max() - work.start_ns[0])
    covered = min(1.0, float(start_ns[-1] - start_ns[0] + np.median(lengths)) / max(1, span))
    confidence = _MOST_CONFIDENCE * _likeness(units, start_ns) * alike * covered
    if confidence < _LEAST_CONFIDENCE:
        return None
    # Engines capture a whole pass, attention included, for decoding alone.
    decodes = _turn_of(units, start_ns)[np.isin(units.kind, list(units.attentive))]
    phases = np.where(np.isin(np.arange(turns), decodes), "decode", "step")
    return _steps(device, work, start_ns, "what the device's work repeats", confidence, phases.tolist())


def _units(work: Spans, family_of: Int32) -> _Units:
    """Kernels by their names; replays by how many nodes they have and with what they begin."""
    ids, first, unit_of, nodes = np.unique(work.correlation, return_index=True, return_inverse=True, return_counts=True)
    replay = (ids != 0) & (nodes >= _GRAPH_NODES)
    single = np.flatnonzero(~replay[unit_of])
    names = int(work.name.max()) + 1
    kind = names + nodes[replay] * names + work.name[first[replay]]
    attention = np.bincount(unit_of, family_of == FAMILIES.index("attention"), len(ids))[replay] > 0
    kinds, start_ns = np.r_[work.name[single], kind], np.r_[work.start_ns[single], work.start_ns[first[replay]]]
    order = np.argsort(start_ns, kind="stable")
    return _Units(
        kinds[order].astype(np.int64),
        start_ns[order],
        frozenset(kind.tolist()),
        frozenset(kind[attention].tolist()),
    )


def _candidates(units: _Units, kinds: Int64, counts: Int64) -> dict[int, Int64]:
    """How often something may have turned → when one of the kinds that occur so often did."""
    turns, alike = np.unique(counts, return_counts=True)
    often = turns >= _LEAST_TURNS
    ranked = sorted(zip(alike[often].tolist(), turns[often].tolist(), strict=True), reverse=True)
    return {turn: units.start_ns[units.kind == kinds[counts == turn][0]] for _, turn in ranked[:_MOST_PERIODS]}


def _completeness(units: _Units, start_ns: Int64) -> float:
    """In what share of the turns a kind of work occurs, the mean over all kinds that occur often enough to tell."""
    _, kind, counts = _occurrences(units, start_ns)
    held = np.bincount(kind, minlength=len(counts)) / len(start_ns)
    return float(held[counts >= _LEAST_TURNS].mean())


def _likeness(units: _Units, start_ns: Int64) -> float:
    """How many kinds of work a turn shares with the typical one, of all that either has; the mean over the turns."""
    turn, kind, counts = _occurrences(units, start_ns)
    typical = np.bincount(kind, minlength=len(counts)) * 2 > len(start_ns)
    shared = np.bincount(turn, typical[kind], len(start_ns))
    either = np.bincount(turn, minlength=len(start_ns)) + typical.sum() - shared
    return float((shared / either).mean())


def _occurrences(units: _Units, start_ns: Int64) -> tuple[Int64, Int64, Int64]:
    """Each pair of a turn and a kind of work that occurs in it; how often each kind occurs at all."""
    turn = _turn_of(units, start_ns)
    _, kind_of, counts = np.unique(units.kind, return_inverse=True, return_counts=True)
    inside = turn >= 0
    pairs = np.unique(turn[inside] * len(counts) + kind_of[inside])
    return pairs // len(counts), pairs % len(counts), counts


def _turn_of(units: _Units, start_ns: Int64) -> Int64:
    """Which turn each piece of work began in, −1 before the first."""
    turn: Int64 = np.searchsorted(start_ns, units.start_ns, side="right") - 1
    return turn


def _first_of_step(units: _Units, kinds: Int64, busy: IntervalSet) -> int:
    """Of the kinds that occur once a step the one with the longest idle time before it: there the step begins."""

    def idle_before(kind: int) -> float:
        at = np.searchsorted(busy[0], units.start_ns[units.kind == kind])
        at = at[(at > 0) & (at < len(busy[0]))]
        waited = busy[0][at] - busy[1][at - 1]
        return float(np.median(waited)) if len(at) else 0.0

    return int(max(kinds.tolist(), key=idle_before))
