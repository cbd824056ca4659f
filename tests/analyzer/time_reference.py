"""A slow, obvious account of a trace's time: sorted edges, counters, one loop, plain integers.

It knows no interval sets and no columns beyond reading them row by row. What it says of budgets, steps, streams, idle
causes and kernels is what ``analyzer`` must say, to the nanosecond.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from analyzer.columns import Spans, Trace
from analyzer.kernels import family
from analyzer.step_names import parse
from analyzer.steps import StepColumns

SHORT_NS = 10_000
KINDS = ("compute", "communication", "copy")


class Row(NamedTuple):
    name: str
    start: int
    end: int
    row: int
    stream: int
    correlation: int
    category: int


class Account(NamedTuple):
    """One device's nanoseconds."""

    span: int
    kinds: dict[str, int]
    idle: dict[str, int]
    streams: dict[int, int]
    steps: list[dict[str, int]]


def rows(trace: Trace, spans: Spans) -> list[Row]:
    columns = (spans.name, spans.start_ns, spans.end_ns, spans.row, spans.stream, spans.correlation, spans.category)
    found = zip(*(column.tolist() for column in columns), strict=True)
    return [Row(trace.names[name], *rest) for name, *rest in found]


def kernel_sums(trace: Trace) -> dict[str, tuple[int, int]]:
    """Count and nanoseconds of each name."""
    sums: dict[str, tuple[int, int]] = {}
    for row in rows(trace, trace.device):
        count, held = sums.get(row.name, (0, 0))
        sums[row.name] = (count + 1, held + row.end - row.start)
    return sums


_family = cache(family)


def kind_of(row: Row) -> str:
    if row.category != 0:
        return "copy"
    found = _family(row.name)
    return found if found in ("communication", "copy") else "compute"


def segments(spans: list[tuple[int, int, Any]], edges: list[int], order: tuple[Any, ...]) -> list[tuple[int, int, Any]]:
    """Time cut at every edge: of what runs in each piece, the first in ``order``, or None."""
    at: dict[int, list[tuple[Any, int]]] = defaultdict(list)
    for start, end, kind in spans:
        at[start].append((kind, 1))
        at[end].append((kind, -1))
    for edge in edges:
        at[edge].append((None, 0))
    running: Counter[Any] = Counter()
    pieces = []
    times = sorted(at)
    for time, following in pairwise(times):
        for kind, change in at[time]:
            running[kind] += change
        pieces.append((time, following, next((kind for kind in order if running[kind] > 0), None)))
    return pieces


def account(trace: Trace, device: int, steps: StepColumns | None) -> Account:
    work = [row for row in rows(trace, trace.device) if row.row == device]
    bounds = [] if steps is None else list(zip(steps.start_ns.tolist(), steps.end_ns.tolist(), strict=True))
    edges = [edge for bound in bounds for edge in bound]
    first, last = min([row.start for row in work] + edges), max([row.end for row in work] + edges)
    pieces = segments([(row.start, row.end, kind_of(row)) for row in work], [first, last, *edges], KINDS)
    kinds = dict.fromkeys(KINDS, 0)
    gaps: list[tuple[int, int]] = []
    per_step = [dict.fromkeys((*KINDS, "idle"), 0) for _ in bounds]
    starts = [start for start, _ in bounds]
    for start, end, kind in pieces:
        if kind is not None:
            kinds[kind] += end - start
        elif gaps and gaps[-1][1] == start:
            gaps[-1] = (gaps[-1][0], end)
        else:
            gaps.append((start, end))
        step = bisect_right(starts, start) - 1
        if step >= 0 and end <= bounds[step][1]:
            per_step[step][kind or "idle"] += end - start
    streams: dict[int, int] = {}
    for stream in {row.stream for row in work}:
        own = segments([(row.start, row.end, "busy") for row in work if row.stream == stream], [], ("busy",))
        streams[stream] = sum(end - start for start, end, kind in own if kind)
    return Account(last - first, kinds, _idle(trace, work, gaps, steps), streams, per_step)


def _idle(trace: Trace, work: list[Row], gaps: list[tuple[int, int]], steps: StepColumns | None) -> dict[str, int]:
    idle: dict[str, int] = defaultdict(int)
    host = rows(trace, trace.host)
    calls: dict[int, Row] = {}
    for row in host:
        if row.correlation and row.correlation not in calls:
            calls[row.correlation] = row
    begins: dict[int, int] = {}
    for row in work:
        begins.setdefault(row.correlation, row.start)
    threads = {thread: _states(trace, host, thread) for thread in {row.row for row in calls.values()}}
    next_of = {row.start: row for row in reversed(work)}
    behind = _behind_events(trace, host)
    step_starts = [] if steps is None else steps.start_ns.tolist()
    for start, end in gaps:
        following = next_of.get(end)
        call = calls.get(following.correlation) if following else None
        if following and following.correlation and begins[following.correlation] < end:
            idle["device_graph"] += end - start
        elif following is None or call is None:
            idle["unknown_launch"] += end - start
        else:
            launched = min(max(call.end, start), end)
            doing = _within(threads[call.row], start, end)
            if (doing["one_off"] + doing["work"]) * 2 >= end - start or _asked(steps, step_starts, start, end):
                held = _within(threads[call.row], start, launched)
                for state, cause in (("sync", "host_sync"), ("one_off", "host_one_off"), ("work", "host_work")):
                    idle[cause] += held[state]
                idle["host_unseen"] += launched - start - sum(held.values())
            else:
                idle["unknown_demand" if steps is None else "unknown_request"] += launched - start
            cause = "device_gap" if end - launched <= SHORT_NS else "device_unknown"
            idle["device_dependency" if following.stream in behind.get(call, ()) else cause] += end - launched
    return {cause: ns for cause, ns in idle.items() if ns}


def _states(trace: Trace, host: list[Row], thread: int) -> list[tuple[int, int, Any]]:
    """What a thread did, piece by piece."""
    spans = []
    for row in host:
        if row.row == thread:
            lower = row.name.lower()
            sync = lower.endswith("synchronize") or row.name == "aten::item"
            one_off = lower.startswith(("cudamalloc", "cumoduleload"))
            spans.append((row.start, row.end, "sync" if sync else "one_off" if one_off else "work"))
    marks = [row for row in rows(trace, trace.host_marks) if row.row == thread and parse(row.name)]
    spans += [(row.start, row.end, "work") for row in marks]
    return [piece for piece in segments(spans, [], ("sync", "one_off", "work")) if piece[2]]


def _within(pieces: list[tuple[int, int, Any]], start: int, end: int) -> Counter[str]:
    held: Counter[str] = Counter()
    place = bisect_right(pieces, start, key=lambda piece: piece[1])
    while place < len(pieces) and pieces[place][0] < end:
        low, high, state = pieces[place]
        held[state] += max(0, min(high, end) - max(low, start))
        place += 1
    return held


def _asked(steps: StepColumns | None, starts: list[int], start: int, end: int) -> bool:
    """Whether the gap lies inside one step, or leads to a step that goes on generating."""
    before, after = bisect_right(starts, start) - 1, bisect_right(starts, end) - 1
    return steps is not None and after >= 0 and (before == after or int(steps.generation[after]) > 0)


class _Every:
    """Any stream."""

    def __contains__(self, stream: object) -> bool:
        return True


def _behind_events(trace: Trace, host: list[Row]) -> dict[Row, Any]:
    """The streams that each launch's thread had made wait since its launch before."""
    known = {row.correlation for row in rows(trace, trace.device)} - {0}
    stream_of = {row.correlation: row.stream for row in rows(trace, trace.device_marks) if "Wait Event" in row.name}
    behind: dict[Row, Any] = {}
    for thread in {row.row for row in host}:
        own = [row for row in host if row.row == thread]
        waits = [row for row in own if row.name == "cudaStreamWaitEvent"]
        launches = [row for row in own if row.correlation in known]
        starts = [row.start for row in launches]
        for launch in launches if waits else ():
            before = bisect_left(starts, launch.start)
            since = starts[before - 1] if before else -1
            asked = [stream_of.get(wait.correlation) for wait in waits if since <= wait.start < launch.start]
            behind[launch] = _Every() if None in asked else asked
    return behind
