"""The robustness matrix: what real traces hold that breaks readers, each with the answer that is expected of ours.

Each case is a document of three events (an operator, its launch, its kernel) with one thing wrong, and where it was
seen. ``outcome`` says in one line what came of it, so that the table in the documentation is what the tests check.
"""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from analyzer.columns import Trace
from analyzer.quality import trace_quality
from analyzer.sources import load
from analyzer.steps import find_steps
from analyzer.timeline import total, union
from collector.errors import UserError
from tests.analyzer.traces import Json, decode_step, document, kernel, launch, mark, operator

WHOLE = "1 device + 2 host spans"
NOTHING = "0 device + 0 host spans"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row: a file, and what is to come of it."""

    what: str
    content: bytes
    expected: str
    seen: str = ""
    #: Words of a note that must be there.
    note: str = ""
    file: str = "trace.json"


def outcome(path: Path) -> tuple[str, tuple[str, ...]]:
    """What comes of a file in one line, and what a reader must know of it."""
    try:
        trace = load(path)
    except UserError as error:
        return f"refused: {str(error).removeprefix(f'{path} ')}", ()
    assert isinstance(trace, Trace)
    steps = find_steps(trace)
    quality = trace_quality(trace, steps)
    words = [f"{len(trace.device)} device + {len(trace.host)} host spans"]
    words += [f"{loss.count} {loss.kind} {'kept' if loss.repaired else 'lost'}" for loss in trace.losses]
    if idle_us := _idle_us(trace):
        words.append(f"idle {idle_us:g} µs")
    if steps is not None:
        lengths_us = (steps.end_ns - steps.start_ns) / 1000
        words.append(f"steps of {' '.join(f'{length_us:g}' for length_us in lengths_us)} µs")
    if quality.coverage < 1 and (len(trace.device) or len(trace.host)):
        words.append(f"covers {100 * quality.coverage:.0f} %")
    return ", ".join(words), quality.notes


def _idle_us(trace: Trace) -> float:
    """Time in which a device of the trace does nothing, between its first work and its last."""
    idle_ns = 0
    for device in trace.devices:
        work = trace.device.take(trace.device.row == device)
        if len(work):
            busy = union(work.start_ns, work.end_ns)
            idle_ns += int(busy[1][-1] - busy[0][0]) - total(busy)
    return idle_ns / 1000


# ------------------------------------------------------------------------------------------------ how they are made

CALL = launch(2, 3, correlation=5)
WORK = kernel(10, 50, correlation=5)
EVENTS = [operator(0, 8), CALL, WORK]


def events(*own: Json | list[Json], **top: Any) -> bytes:
    """A whole document."""
    return json.dumps(document(*own, **top)).encode()


def with_work(**changed: object) -> bytes:
    """The three events, something about the kernel changed."""
    return events(*EVENTS[:2], WORK | changed)


def beside(*more: Json | list[Json], **top: Any) -> bytes:
    """The three events and others."""
    return events(*EVENTS, *more, **top)


def text(old: bytes, new: bytes, whole: bytes | None = None) -> bytes:
    """The three events with some of their text replaced."""
    whole = events(*EVENTS) if whole is None else whole
    assert old in whole
    return whole.replace(old, new, 1)


def args(**changed: object) -> Json:
    """A kernel's args, and more."""
    return {"device": 0, "stream": 7, "correlation": 5} | changed


def steps(*lengths: float) -> list[Json]:
    """Decode steps one after the other, each with a kernel for most of it."""
    found: list[Json] = []
    at = 100.0
    for number, length in enumerate(lengths, start=10):
        found += decode_step(at, length - 30)
        found += [launch(at, 1, correlation=number), kernel(at + 1, length - 1, correlation=number)]
        at += length
    return found


NAME = b'"nvjet_gemm"'
END = b"]}"

BROKEN: Sequence[Case] = (
    Case(
        what="cut inside a string",
        seen="chakra 192; a killed worker's leftover file",
        content=events(*EVENTS, WORK)[:-90],
        expected=f"{WHOLE}, 1 cut_short lost, covers 75 %",
    ),
    Case(what="cut between two events", content=events(*EVENTS)[:-2], expected=f"{WHOLE}, 1 no_end kept"),
    Case(what="trailing comma before the bracket", content=text(END, b",]}"), expected=WHOLE),
    Case(what="bare NaN", content=text(b'"stream"', b'"x": NaN, "stream"'), expected=f"{WHOLE}, 1 repaired kept"),
    Case(
        what="bare inf",
        seen="Kineto before 2026",
        content=text(b'"stream"', b'"blocks per SM": inf, "stream"'),
        expected=f"{WHOLE}, 1 repaired kept",
    ),
    Case(what="quoted inf", seen="Kineto since 2026", content=with_work(args=args(x="inf")), expected=WHOLE),
    Case(
        what="bare N/A for a bandwidth",
        seen="old Kineto",
        content=text(b'"stream"', b'"memory bandwidth (GB/s)": N/A, "stream"'),
        expected=f"{WHOLE}, 1 repaired kept",
    ),
    Case(what="quoted N/A", content=with_work(args=args(x="N/A")), expected=WHOLE),
    Case(
        what="a byte that is no UTF-8",
        seen="kineto 80",
        content=text(NAME, b'"nv\xffjet"'),
        expected=f"{WHOLE}, 1 repaired kept",
    ),
    Case(
        what="a control character in a name",
        seen="pytorch 136180",
        content=text(NAME, b'"nv\x01jet"'),
        expected=f"{WHOLE}, 1 repaired kept",
    ),
    Case(
        what="unescaped quotes in a name",
        seen="pytorch 146900",
        content=text(b'"aten::mm"', b'"{"device": "cpu"}(12): run"'),
        expected="1 device + 1 host spans, 1 unreadable lost, covers 67 %",
    ),
    Case(
        what="a raw newline in a name",
        seen="pytorch 113001",
        content=text(NAME, b'"nv\njet"'),
        expected=f"{WHOLE}, 1 repaired kept",
    ),
    Case(
        what="a backslash that escapes nothing",
        seen="pytorch 98432",
        content=text(NAME, rb'"C:\code\cuda"'),
        expected=f"{WHOLE}, 1 repaired kept",
    ),
    Case(what="times as strings", content=with_work(ts="1010.0", dur="50"), expected=WHOLE),
    Case(what="a list without a document", seen="py-spy, Chrome", content=json.dumps(EVENTS).encode(), expected=WHOLE),
    Case(what="a byte order mark", seen="Windows", content=b"\xef\xbb\xbf" + events(*EVENTS), expected=WHOLE),
    Case(
        what="no list of events",
        content=b'{"schemaVersion": 1}',
        expected="refused: is JSON but not a profiler trace (it has no list “traceEvents”): "
        "give it a torch profiler trace",
    ),
    Case(what="an empty list of events", seen="a failed capture", content=events(), expected=NOTHING),
    Case(
        what="metadata rows only",
        seen="HTA 337",
        content=events({"ph": "M", "name": "process_name", "pid": 0, "args": {"name": "python"}}),
        expected=NOTHING,
    ),
    Case(
        what="a key twice in one object: the last counts",
        content=text(b'"dur": 50', b'"dur": 7, "dur": 50'),
        expected=WHOLE,
    ),
    Case(
        what="metadata with unescaped quotes",
        seen="dynolog captures",
        content=text(b'"schemaVersion"', b'"WARNING": ["bad "quote" here"], "schemaVersion"'),
        expected=WHOLE,
    ),
    Case(
        what="two gzip members",
        content=gzip.compress(events(*EVENTS)[:200]) + gzip.compress(events(*EVENTS)[200:]),
        expected=WHOLE,
    ),
    Case(
        what="zstd without a suffix",
        content=zstandard.ZstdCompressor().compress(events(*EVENTS)),
        file="trace",
        expected=WHOLE,
    ),
    Case(
        what="gzip that is cut short",
        seen="a full disk",
        content=gzip.compress(events(*EVENTS, WORK), 0)[:-98],
        expected=f"{WHOLE}, 1 cut_short lost, 1 damaged_stream kept, covers 75 %",
    ),
    Case(
        what="several documents in one file",
        seen="restarts",
        content=events(*EVENTS) * 2,
        expected=f"{WHOLE}, 1 more_documents kept",
    ),
    Case(
        what="100,000 brackets inside one another",
        content=text(b'"stream"', b'"x": ' + b"[" * 100_000 + b"]" * 100_000 + b', "stream"'),
        expected="0 device + 2 host spans, 1 cut_short lost, covers 67 %",
    ),
)

ODD: Sequence[Case] = (
    Case(what="args: null", content=with_work(args=None), expected=WHOLE, note="0 % of the device time has its launch"),
    Case(
        what="no args anywhere",
        seen="stripped traces",
        content=events(*({key: value for key, value in event.items() if key != "args"} for event in EVENTS)),
        expected=WHOLE,
        note="causes of idle time are incomplete",
    ),
    Case(what="args that are a list", content=with_work(args=[1]), expected=f"{WHOLE}"),
    Case(
        what="a span without a duration",
        content=beside({key: WORK[key] for key in WORK if key != "dur"}),
        expected=f"{WHOLE}, 1 no_duration lost, covers 50 %",
    ),
    Case(
        what="begins and ends instead of spans",
        seen="py-spy, Chrome",
        content=events({**EVENTS[0], "ph": "B"}, {"ph": "E", "ts": 1008, "pid": 100, "tid": 100}, CALL, WORK),
        expected=WHOLE,
    ),
    Case(
        what="a begin that never ends",
        content=beside({**EVENTS[0], "ph": "B"}),
        expected=f"{WHOLE}, 1 unpaired lost, covers 75 %",
    ),
    Case(
        what="ids beyond 64 bits",
        seen="HTA pull request 324",
        content=with_work(args=args(**{"Comms Id": 1 << 70})),
        expected=WHOLE,
    ),
    Case(
        what="streams and threads as words",
        seen="torch 1.8",
        content=with_work(tid="stream 7", args=args(stream="7")),
        expected=WHOLE,
    ),
    Case(
        what="categories and names of torch 1.8",
        content=with_work(cat="Kernel", args=args(**{"external id": 4})),
        expected=WHOLE,
    ),
    Case(
        what="processes named by words",
        seen="every Kineto file",
        content=beside(
            {
                "ph": "X",
                "cat": "Trace",
                "name": "PyTorch Profiler (0)",
                "pid": "Spans",
                "tid": "PyTorch Profiler",
                "ts": 1000.0,
                "dur": 100.0,
            },
            {"ph": "i", "name": "Iteration Start", "pid": "Traces", "tid": "", "ts": 1000.0, "s": "g"},
        ),
        expected=WHOLE,
    ),
    Case(
        what="a device's index that is also a process",
        seen="containers",
        content=events({**EVENTS[0], "pid": 0}, {**CALL, "pid": 0}, WORK),
        expected=WHOLE,
    ),
    Case(
        what="waits on a device's row",
        seen="kineto 1356",
        content=beside(
            {
                "ph": "X",
                "cat": "cuda_sync",
                "name": "Stream Sync",
                "pid": 0,
                "tid": 1_000_007,
                "ts": 1070.0,
                "dur": 900.0,
                "args": args(),
            }
        ),
        expected=WHOLE,
    ),
    Case(
        what="bytes in quotes",
        seen="ROCm",
        content=beside(kernel(60, 5) | {"cat": "gpu_memcpy", "args": args(bytes="64")}),
        expected="2 device + 2 host spans",
    ),
    Case(what="a device without a name", seen="ROCm", content=beside(gpu=""), expected=WHOLE),
    Case(what="a name the profiler lost", content=with_work(name="unknown"), expected=f"{WHOLE}, 1 nameless kept"),
    Case(
        what="rows of sixteen GPUs for one",
        seen="H200",
        content=beside(
            [{"ph": "M", "name": "process_labels", "pid": n, "args": {"labels": f"GPU {n}"}} for n in range(16)]
        ),
        expected=WHOLE,
    ),
    Case(
        what="distributedInfo behind the events",
        seen="on-demand captures",
        content=beside(distributedInfo={"rank": 3, "world_size": 8, "pg_config": [{"ranks": "[0, 1]"}]}),
        expected=WHOLE,
    ),
    Case(
        what="no rank in the document",
        seen="HTA 107",
        content=events(*EVENTS),
        file="rank3.1795.pt.trace.json",
        expected=WHOLE,
    ),
)

TIMES: Sequence[Case] = (
    Case(
        what="a negative duration",
        seen="kineto 646",
        content=beside(WORK | {"dur": -5}),
        expected=f"{WHOLE}, 1 absurd_duration lost, covers 50 %",
    ),
    Case(
        what="a kernel shorter than a microsecond",
        seen="HTA 317",
        content=beside(kernel(60, 0.2, correlation=5)),
        expected="2 device + 2 host spans",
    ),
    Case(
        what="a duration of 236 years",
        seen="HTA 325",
        content=beside(WORK | {"dur": 7.4e15}),
        expected=f"{WHOLE}, 1 absurd_duration lost, covers 50 %",
    ),
    Case(
        what="a duration beyond the capture",
        content=beside(WORK | {"dur": 6e9}, {"ph": "X", "cat": "Trace", "ts": 1000.0, "dur": 100.0}),
        expected=f"{WHOLE}, 1 clock_error lost, covers 50 %",
    ),
    Case(
        what="half of the kernels at time zero",
        seen="pytorch 188481",
        content=beside(WORK | {"ts": 0.0, "dur": 0.0}),
        expected=f"{WHOLE}, 1 zero_time lost, covers 50 %",
    ),
    Case(
        what="a kernel 28 hours before its launch",
        seen="pytorch 192021",
        content=events(
            *({**event, "ts": event["ts"] + 2e11} for event in EVENTS),
            launch(2e11 + 80, correlation=6),
            kernel(1e11, 5, correlation=6),
        ),
        expected="1 device + 3 host spans, 1 clock_error lost, covers 50 %",
    ),
    Case(
        what="a kernel microseconds before its launch",
        content=beside(launch(80, correlation=6), kernel(70, 20, correlation=6)),
        expected="2 device + 3 host spans, idle 10 µs",
        note="start before their own launch",
    ),
    Case(
        what="spans that overlap on one stream",
        seen="TraceLens 669",
        content=beside(kernel(20, 60, correlation=5)),
        expected="2 device + 2 host spans",
        note="overlaps on its own stream",
    ),
    Case(what="displayTimeUnit: ns, times still in µs", content=beside(displayTimeUnit="ns"), expected=WHOLE),
    Case(
        what="absolute microseconds without a base",
        seen="torch 2.2 and older",
        content=events(*({**event, "ts": event["ts"] + 17e14} for event in EVENTS), baseTimeNanoseconds=0),
        expected=WHOLE,
    ),
    Case(
        what="a marker at a huge time",
        content=beside({"ph": "i", "name": "Record Window End", "ts": 1e14, "pid": "", "tid": ""}),
        expected=WHOLE,
    ),
    Case(
        what="Python frames that outlive their parents",
        seen="pytorch 193440",
        content=beside({**EVENTS[0], "cat": "python_function", "dur": 1.2e6}),
        expected=WHOLE,
    ),
    Case(
        what="a child that outlives its parent by 0.25 µs",
        content=beside(operator(2, 6.25, "aten::add")),
        expected="1 device + 3 host spans",
    ),
    Case(
        what="a device mark 1 ns wider than its work",
        seen="all of Kineto",
        content=beside(mark(9.999, 50.002, "step")),
        expected=WHOLE,
    ),
    Case(
        what="the first steps of a capture are slow",
        seen="H200",
        content=events(*steps(900, 500, 100, 100, 100, 100)),
        expected="6 device + 6 host spans, idle 5 µs, steps of 900 500 100 100 100 100 µs",
        note="The first 2 steps",
    ),
    Case(
        what="the profiler's own work in the window",
        seen="H200",
        content=beside(
            {"ph": "X", "cat": "overhead", "name": "Buffer Flush", "pid": -1, "tid": 0, "ts": 1000.0, "dur": 30.0}
        ),
        expected=WHOLE,
        note="The profiler itself took",
    ),
)

STRUCTURE: Sequence[Case] = (
    Case(
        what="one launch, many kernels: a CUDA graph",
        seen="every LLM decode",
        content=events(
            launch(0, correlation=5, name="cudaGraphLaunch"),
            *(kernel(10 + 30 * node, 20, correlation=5) for node in range(4)),
        ),
        expected="4 device + 1 host spans, idle 30 µs",
    ),
    Case(
        what="device work without its launch",
        seen="H100",
        content=beside(kernel(60, 50, correlation=77)),
        expected="2 device + 2 host spans",
        note="50 % of the device time has its launch",
    ),
    Case(what="no flow events", content=events(*EVENTS), expected=WHOLE),
    Case(
        what="a flow that ends and never began",
        seen="H200",
        content=beside(
            {"ph": "f", "cat": "ac2g", "name": "ac2g", "id": 9, "pid": 100, "tid": 100, "ts": 1005.0, "bp": "e"}
        ),
        expected=WHOLE,
    ),
    Case(
        what="two devices with the same stream",
        seen="data-parallel servers",
        content=beside(kernel(10, 50, correlation=5, device=1)),
        expected="2 device + 2 host spans",
    ),
    Case(
        what="two streams that take turns",
        content=events(CALL, *(kernel(10 + 50 * at, 50, stream=7 + at % 2, correlation=5) for at in range(8))),
        expected="8 device + 1 host spans",
    ),
    Case(what="work on stream 0", content=with_work(args=args(stream=0)), expected=WHOLE),
    Case(
        what="a launch that comes 100 µs late",
        content=beside(launch(155, 5, correlation=6), kernel(160, 40, correlation=6)),
        expected="2 device + 3 host spans, idle 100 µs",
    ),
    Case(
        what="a launch that was queued in time",
        content=beside(launch(6, 2, correlation=6), kernel(160, 40, correlation=6)),
        expected="2 device + 3 host spans, idle 100 µs",
    ),
    Case(
        what="no ProfilerStep: marks of the engine",
        seen="every vLLM trace",
        content=beside(decode_step(9, 51)),
        expected=f"{WHOLE}, steps of 51 µs",
    ),
    Case(
        what="a step's work outlives its mark",
        seen="vLLM: 2.5–6 % of device time",
        content=events(*steps(100, 100)),
        expected="2 device + 2 host spans, idle 1 µs, steps of 100 100 µs",
    ),
    Case(
        what="a step without a request",
        seen="H200",
        content=beside(mark(0, 5, "execute_context_0(0)_generation_0(0)")),
        expected=WHOLE,
    ),
    Case(
        what="marks inside a step",
        seen="Inductor, SGLang",
        content=beside(
            decode_step(9, 51), mark(10, 5, "## Call CompiledFxGraph f3x ##"), mark(9, 51, "scheduler.run_batch")
        ),
        expected=f"{WHOLE}, steps of 51 µs",
    ),
    Case(
        what="no device work in the window",
        seen="an idle engine",
        content=events(EVENTS[0]),
        expected="0 device + 1 host spans",
    ),
    Case(
        what="nearly nothing but Python frames",
        seen="98.5 % of 2.56 M events",
        content=beside([{**EVENTS[0], "cat": "python_function"}] * 200),
        expected=WHOLE,
    ),
    Case(
        what="a graph launch without any of its kernels",
        seen="Hyperloom 1047",
        content=beside(launch(70, correlation=6, name="cudaGraphLaunch")),
        expected="1 device + 3 host spans, covers 50 %",
        note="1 of 2 launches have no device work",
    ),
    Case(
        what="a launch whose kernel is missing",
        seen="pytorch 192021",
        content=beside(launch(70, correlation=6)),
        expected="1 device + 3 host spans, covers 50 %",
        note="1 of 2 launches have no device work",
    ),
    Case(
        what="correlation 0 is none",
        seen="RCCL",
        content=beside(kernel(60, 5, correlation=0), {**CALL, "args": {"correlation": 0}}),
        expected="2 device + 3 host spans",
    ),
)

SECTIONS = {
    "Broken documents": BROKEN,
    "Missing or odd fields": ODD,
    "Wrong times": TIMES,
    "Structure": STRUCTURE,
}
CASES = tuple(case for cases in SECTIONS.values() for case in cases)
