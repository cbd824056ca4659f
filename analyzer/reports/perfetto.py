"""The trace written back with what was found in it, as JSON that Perfetto, chrome://tracing and this program open.

The form is Chrome's Trace Event Format (a public document of that name, 2016), with Kineto's categories and arguments.
Beside the work of the devices and the calls of the host there is a process of findings: the verdict in its name, one
track of the causes of idle time and one of the steps, and counters of busy time, of launches that wait for their work
to begin, and of the batch. Without a trace's columns (a run, or an analysis alone) only the findings are written.
Shapes of operators are left out.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TextIO, TypeAlias

import numpy as np

from analyzer.bottlenecks import bottleneck
from analyzer.columns import CATEGORIES, Int64, RunData, Spans, Trace
from analyzer.evidence.trace import DeviceTime, device_times
from analyzer.idle import CAUSES
from analyzer.kernels import NEITHER, families
from analyzer.schema import Analysis
from analyzer.steps import find_steps
from analyzer.tables import lines
from analyzer.timeline import covered_within
from analyzer.wording import label, plain

SUFFIX = ".perfetto.json"
#: ``write`` is also given what was loaded, for one source at a time.
WITH_DATA = True

#: Events are text as soon as they are made, so that memory holds the columns and no objects.
_Events: TypeAlias = Iterator[str]

#: Kineto's names of ``CATEGORIES``.
_HOST = {"runtime": "cuda_runtime", "operator": "cpu_op", "mark": "user_annotation"}
_DEVICE = {"kernel": "kernel", "memcpy": "gpu_memcpy", "memset": "gpu_memset", "mark": "gpu_user_annotation"}
#: Process ids of one source: its findings, its host, then its devices. 0 is no process to Perfetto.
_FINDINGS, _CALLS, _FIRST_DEVICE, _PROCESSES = 1, 2, 10, 1000
#: A time of zero means to Kineto's readers that it was lost, so nothing lies there.
_LEAD_NS = 1_000_000
_NEVER_NS = 1 << 63
#: Points of a counter that is a mean, and the least time of which it is one.
_POINTS, _LEAST_NS = 4000, 50_000
#: Tracks beside each other for spans that overlap without one holding the other; the last takes what is left.
_LANES = 8


def write(
    analyses: Sequence[Analysis], out: TextIO, *, full: bool, data: Sequence[Trace | RunData | None] = ()
) -> None:
    """Write everything there is, full or not.

    Args:
        analyses: What was found.
        out: Where to write.
        full: Nothing is left out either way.
        data: What was loaded of each source.
    """
    del full
    traces = [each if isinstance(each, Trace) else None for each in data] + [None] * (len(analyses) - len(data))
    base_ns = min(map(_first_ns, analyses, traces), default=_LEAD_NS) - _LEAD_NS
    head = {
        "schemaVersion": 1,
        "deviceProperties": [each for trace in traces if trace for each in _devices(trace)],
        **next(({"distributedInfo": {"rank": it.rank}} for it in traces if it and it.rank is not None), {}),
        "displayTimeUnit": "ms",
        "baseTimeNanoseconds": base_ns,
        "otherData": {plain(each.source.name): _said(each) for each in analyses},
    }
    out.write(_json(head)[:-1] + ', "traceEvents": [\n')
    events = chain.from_iterable(
        _Source(number, base_ns).events(analysis, trace)
        for number, (analysis, trace) in enumerate(zip(analyses, traces, strict=True))
    )
    separator = ""
    while batch := list(islice(events, 10_000)):
        out.write(separator + ",\n".join(batch))
        separator = ",\n"
    out.write("\n]}\n")


def _first_ns(analysis: Analysis, trace: Trace | None) -> int:
    """The first instant of a source, of which everything else lies after."""
    if trace is None:
        windows = analysis.steps.steps if analysis.steps else ()
        started_s = min((analysis.source.started_s, *(step.start_s for step in windows)))
        return round(started_s * 1e9) if analysis.source.kind != "unreadable" else _LEAD_NS
    held = (trace.device, trace.host, trace.device_marks, trace.host_marks)
    return min((trace.window_ns[0], *(int(spans.start_ns[0]) for spans in held if len(spans))))


def _devices(trace: Trace) -> Iterator[dict[str, Any]]:
    for device in trace.devices.values():
        named = {"id": device.index, "name": device.name}
        sized = {"numSms": device.sm_count, "totalGlobalMem": device.memory_bytes}
        yield named | {key: value for key, value in sized.items() if value is not None}


def _said(analysis: Analysis) -> dict[str, Any]:
    said = {topic: " ".join(sentences) for topic, sentences in lines.topics(analysis)}
    return {"verdict": lines.verdict(analysis.verdict), **said}


class _Source:
    """Writes one source: its numbers of processes, and its clock."""

    def __init__(self, number: int, base_ns: int) -> None:
        self._process = number * _PROCESSES
        self._base_ns = base_ns

    def events(self, analysis: Analysis, trace: Trace | None) -> _Events:
        yield from self._named(_FINDINGS, f"Inferometer: {lines.verdict(analysis.verdict)}", order=-1)
        yield from self._steps(analysis)
        yield from self._windows(analysis)
        if trace is not None and len(trace.device):
            yield from self._causes(trace)
        if trace is not None:
            yield from self._recorded(trace)

    # ------------------------------------------------------------------------------------------ what was found

    def _steps(self, analysis: Analysis) -> _Events:
        """Each step with its phase and batch, and the batch as a counter."""
        if analysis.steps is None:
            return
        yield self._thread(_FINDINGS, 1, "steps")
        begins_ns = [round(step.start_s * 1e9) for step in analysis.steps.steps]
        for step, begin_ns, next_ns in zip(analysis.steps.steps, begins_ns, [*begins_ns[1:], None], strict=True):
            # Seconds since 1970 are known to some 200 ns.
            end_ns = min(begin_ns + round(step.duration_s * 1e9), next_ns or _NEVER_NS)
            told = {"tokens": step.tokens, "busy_ratio": step.busy_ratio}
            name = step.phase if step.batch is None else f"{step.phase}, batch {step.batch}"
            yield self._slice(_FINDINGS, 1, plain(name), begin_ns, end_ns, told)
            yield from self._counter("step batch", begin_ns, step.batch)
            if next_ns is None and step.batch is not None:
                yield from self._counter("step batch", end_ns, 0)

    def _windows(self, analysis: Analysis) -> _Events:
        """Of a run: what held each window back, what the GPUs did in it, and how many requests there were."""
        if analysis.verdict.windows:
            yield self._thread(_FINDINGS, 2, "bottleneck")
        for window in analysis.verdict.windows:
            name = bottleneck(window.bottleneck).title if window.abstained is None else "cannot tell"
            told = {"confidence": window.confidence} | {plain(key): part for key, part in window.shares.items()}
            yield self._slice(_FINDINGS, 2, name, round(window.start_s * 1e9), round(window.end_s * 1e9), told)
        for use in analysis.budget.windows if analysis.budget else ():
            for quantity, mean in use.means.items():
                yield from self._counter(label(quantity), round(use.start_s * 1e9), mean)
        for load in analysis.latency.windows if analysis.latency else ():
            for quantity in ("requests_running", "requests_waiting"):
                yield from self._counter(label(quantity), round(load.start_s * 1e9), getattr(load, quantity))

    def _causes(self, trace: Trace) -> _Events:
        """Of each device: why it was idle, how busy it was, and how many launches it had before it."""
        steps = find_steps(trace)
        roof = np.full(len(trace.device), NEITHER, np.int32)
        for time in device_times(trace, families(trace), roof, steps):
            track = 10 + time.device
            yield self._thread(_FINDINGS, track, f"GPU {time.device}: why it is idle")
            for cause, (begin, end) in time.idle.items():
                short, sentence = CAUSES[cause]
                for begin_ns, end_ns in zip(begin.tolist(), end.tolist(), strict=True):
                    yield self._slice(_FINDINGS, track, short, begin_ns, end_ns, {"because": sentence})
            yield from self._busy(time)
            yield from self._waiting(trace, time.device)

    def _busy(self, time: DeviceTime) -> _Events:
        first, last = time.span_ns
        edges = first + np.arange(0, last - first, max(_LEAST_NS, (last - first) // _POINTS + 1))
        until = np.minimum(np.r_[edges[1:], last], last)
        share = covered_within(time.busy, edges, until) / np.maximum(until - edges, 1)
        for at_ns, percent in zip(edges.tolist(), (100 * share).round(1).tolist(), strict=True):
            yield from self._counter(f"GPU {time.device} busy, %", at_ns, percent)
        yield from self._counter(f"GPU {time.device} busy, %", last, 0)

    def _waiting(self, trace: Trace, device: int) -> _Events:
        """How many launches were made of which no work has begun: a graph's replay is one."""
        work = trace.device.take(trace.device.row == device)
        call, first = _launches(trace.host, work).T
        begun = work.start_ns[first]
        changes = np.r_[np.minimum(trace.host.start_ns[call], begun), begun]
        at_ns, of_change = np.unique(changes, return_inverse=True)
        depth = np.cumsum(np.bincount(of_change, np.repeat((1, -1), len(begun)), len(at_ns))).astype(np.int64)
        for at, value in zip(at_ns.tolist(), depth.tolist(), strict=True):
            yield from self._counter(f"GPU {device} launches waiting", at, value)

    # ---------------------------------------------------------------------------------------- what was recorded

    def _recorded(self, trace: Trace) -> _Events:
        """The calls of the host, the work of each device by stream, and an arrow from each launch to its work."""
        yield from self._named(_CALLS, "host", order=0)
        yield self._thread(_CALLS, 1, "profiler")
        yield self._slice(_CALLS, 1, "PyTorch Profiler (0)", *trace.window_ns, {}, category="Trace")
        calls = _together(trace.host, trace.host_marks)
        thread = _Placed(calls.row, calls)
        yield from self._spans(_CALLS, calls, thread, "thread {}", trace.names)
        for device in np.unique(np.r_[trace.device.row, trace.device_marks.row]).tolist():
            process, about = _FIRST_DEVICE + device, trace.devices.get(device)
            yield from self._named(process, f"GPU {device} {plain(about.name if about else '', 80)}".strip(), device)
            work, marks = (held.take(held.row == device) for held in (trace.device, trace.device_marks))
            stream = _Placed(work.stream, work)
            yield from self._spans(process, work, stream, "stream {}", trace.names, device)
            over = _Placed(marks.stream, marks, stream.last)
            yield from self._spans(process, marks, over, "marks over stream {}", trace.names, device)
            for call, row in _launches(calls, work).tolist():
                identity, name = int(work.correlation[row]), '"cat": "ac2g", "name": "ac2g"'
                begin = self._place(_CALLS, int(thread.tid[call]), int(calls.start_ns[call]))
                end = self._place(process, int(stream.tid[row]), int(work.start_ns[row]))
                yield f'{{"ph": "s", {name}, "id": {identity}, {begin}}}'
                yield f'{{"ph": "f", "bp": "e", {name}, "id": {identity}, {end}}}'

    def _spans(
        self, process: int, spans: Spans, placed: "_Placed", title: str, names: Sequence[str], device: int | None = None
    ) -> _Events:
        for tid, (row, lane) in placed.threads.items():
            yield self._thread(process, tid, title.format(row) + (" (overlapping)" if lane else ""))
        categories = _HOST if device is None else _DEVICE
        start = [f'{{"ph": "X", "cat": "{categories.get(kind, kind)}", ' for kind in CATEGORIES]
        written = {name: _json(names[name]) for name in np.unique(spans.name).tolist()}
        at, length = spans.start_ns - self._base_ns, spans.end_ns - spans.start_ns
        columns = (spans.category, spans.name, placed.tid, at, length, spans.stream, spans.correlation)
        for category, name, tid, begin, ns, stream, correlation, external in zip(
            *(column.tolist() for column in (*columns, spans.external_id)), strict=True
        ):
            place = f'"device": {device}, "stream": {stream}, ' if device is not None else ""
            yield (
                f'{start[category]}"name": {written[name]}, "pid": {self._process + process}, "tid": {tid}, '
                f'"ts": {_us(begin)}, "dur": {_us(ns)}, '
                f'"args": {{{place}"correlation": {correlation}, "External id": {external}}}}}'
            )

    # ---------------------------------------------------------------------------------------------- one event

    def _named(self, process: int, name: str, order: int) -> _Events:
        for key, told in (("process_name", {"name": name}), ("process_sort_index", {"sort_index": order})):
            yield _json({"ph": "M", "name": key, "pid": self._process + process, "tid": 0, "ts": 0, "args": told})

    def _thread(self, process: int, thread: int, name: str) -> str:
        place = {"pid": self._process + process, "tid": thread, "ts": 0}
        return _json({"ph": "M", "name": "thread_name", **place, "args": {"name": name}})

    def _slice(
        self,
        process: int,
        thread: int,
        name: str,
        begin_ns: int,
        end_ns: int,
        told: Mapping[str, Any],
        category: str = "inferometer",
    ) -> str:
        about = _json({"name": name, "args": _finite(told)})[1:-1]
        place = self._place(process, thread, begin_ns)
        return f'{{"ph": "X", "cat": "{category}", {place}, "dur": {_us(max(0, end_ns - begin_ns))}, {about}}}'

    def _counter(self, name: str, at_ns: int, value: float | None) -> _Events:
        """One point of a counter; what is absent has none."""
        if told := _finite({"value": value}):
            about = _json({"name": name, "args": told})[1:-1]
            yield f'{{"ph": "C", "cat": "inferometer", {self._place(_FINDINGS, 0, at_ns)}, {about}}}'

    def _place(self, process: int, thread: int, at_ns: int) -> str:
        return f'"pid": {self._process + process}, "tid": {thread}, "ts": {_us(at_ns - self._base_ns)}'


def _finite(told: Mapping[str, Any]) -> dict[str, Any]:
    """What is known: JSON has no word for a number that is none."""
    return {
        key: value
        for key, value in told.items()
        if isinstance(value, str) or (value is not None and np.isfinite(value))
    }


def _json(told: object) -> str:
    """JSON in plain UTF-8, for Perfetto shows escapes as they stand; half a surrogate pair has no UTF-8."""
    text = json.dumps(told, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(told)
    return text


def _us(ns: int) -> str:
    """Nanoseconds as microseconds with three decimals, exactly."""
    return f"{ns // 1000}.{ns % 1000:03d}"


def _together(first: Spans, second: Spans) -> Spans:
    """The spans of both, by time; of those that begin together the longest first."""
    both = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in Spans.__dataclass_fields__}
    return Spans(**both).take(np.lexsort((-both["end_ns"], both["start_ns"])))


def _launches(calls: Spans, work: Spans) -> Int64:
    """Rows of the calls that launched work, each with the row of the first work it launched, shape (n, 2)."""
    ids, first = np.unique(work.correlation, return_index=True)
    place = np.minimum(np.searchsorted(ids, calls.correlation), len(ids) - 1) if len(ids) else np.empty(0, np.int64)
    found = np.flatnonzero((calls.correlation != 0) & (ids[place] == calls.correlation)) if len(ids) else place
    # Of calls that share an id the first launched the work.
    _, one = np.unique(calls.correlation[found], return_index=True)
    pairs: Int64 = np.column_stack((found[one], first[place[found[one]]])).astype(np.int64)
    return pairs


class _Placed:
    """The thread of each span: one for each row, and more where spans overlap without one holding the other."""

    def __init__(self, row: Int64, spans: Spans, after: int = 99) -> None:
        self.tid = np.zeros(len(spans), np.int64)
        #: Thread id → row, and which of its lanes.
        self.threads: dict[int, tuple[int, int]] = {}
        self.last = after
        for of_row in np.unique(row).tolist():
            mine = np.flatnonzero(row == of_row)
            lanes = np.array(_lanes(spans.start_ns[mine].tolist(), spans.end_ns[mine].tolist()))
            self.tid[mine] = self.last + 1 + lanes
            self.threads |= {self.last + 1 + lane: (of_row, lane) for lane in range(int(lanes.max()) + 1)}
            self.last += int(lanes.max()) + 1


def _lanes(start_ns: Sequence[int], end_ns: Sequence[int]) -> list[int]:
    """The lane of each span, by time: the first in which it begins after, or lies within, whatever is there."""
    lanes = []
    open_ends: list[list[int]] = [[] for _ in range(_LANES)]
    for begin, end in zip(start_ns, end_ns, strict=True):
        for lane, ends in enumerate(open_ends):
            while ends and ends[-1] <= begin:
                ends.pop()
            if not ends or end <= ends[-1] or lane == _LANES - 1:
                break
        ends.append(end)
        lanes.append(lane)
    return lanes
