"""Profiles of ONNX Runtime (``SessionOptions.enable_profiling``, ``onnxruntime_perf_test -p``): 1.10 and later.

A list of events, as ``onnxruntime/core/common/profiler.cc`` writes them, one a line: ``Session`` for loading and runs,
``Node`` for operators, and where an execution provider has a device, ``Kernel`` for its kernels and ``Api`` for the
calls that launched them. Times are whole microseconds from the start of the recording; the file has no date.

On a CPU the operators are the work, and a ``Node``'s time is spent. Beside a GPU it is the time to enqueue the
operator, and device time is in ``Kernel`` alone. An operator with a subgraph (``If``, ``Loop``) holds the time of the
operators inside it.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from analyzer.columns import Device, Loss, Total, Trace
from analyzer.importers import Progress
from analyzer.importers._documents import (
    KERNEL,
    MARK,
    MAX_NS,
    OPERATOR,
    RUNTIME,
    Names,
    dropped,
    entries,
    read,
    spans_of,
    window,
)
from collector.errors import UserError

FORMAT = "an ONNX Runtime profile"

_OPENING = re.compile(rb'\[\s*\{\s*"cat"\s*:\s*"(?:Session|Node)"')
#: The recorder stops here, with no more than a line in its log.
MAX_EVENTS = 1_000_000
_NO_DEVICE = (
    "an ONNX Runtime profile of a CPU shows no device; its operators are listed by time. "
    "Record a session on a GPU provider, or a run beside the server"
)


class _Args(msgspec.Struct, gc=False):
    op_name: str = ""
    provider: str = ""
    stream: str | int = 0


class _Event(msgspec.Struct, gc=False):
    cat: str = ""
    name: str = ""
    ph: str = ""
    ts: int | float = -1
    dur: int | float = -1
    tid: int = 0
    args: _Args | None = None


def claims(path: Path, head: bytes) -> bool:
    """A list whose first event is a session's or a node's."""
    del path
    return _OPENING.match(head.lstrip(b"\xef\xbb\xbf \t\r\n")) is not None


def load(path: Path, progress: Progress | None = None) -> Trace:
    """Read a profile.

    Raises:
        UserError: It cannot be read, or holds no event.
    """
    events, losses = entries(path, read(path, progress), _Event)
    names = Names()
    used = [event for event in events if event.ph == "X" and event.cat in ("Session", "Node", "Kernel", "Api")]
    timed = [event for event in used if 0 <= event.ts < MAX_NS / 1e3 and 0 <= event.dur < MAX_NS / 1e3]
    if not timed:
        raise UserError(f"{path} holds no event of ONNX Runtime with a time: record it again")
    nodes = [event for event in timed if event.cat == "Node" and event.name.endswith("_kernel_time")]
    device = spans_of(_row(event, names, KERNEL, device=True) for event in timed if event.cat == "Kernel")
    calls = [(event, RUNTIME) for event in timed if event.cat == "Api"] + [(event, OPERATOR) for event in nodes]
    host = spans_of(_row(event, names, kind) for event, kind in calls)
    marks = spans_of(_row(event, names, MARK) for event in timed if event.cat == "Session")
    lost_kernels = sum(event.cat == "Kernel" for event in used) - len(device)
    return Trace(
        name=path.name,
        devices={0: Device(index=0, name="")} if len(device) else {},
        names=tuple(names),
        device=device,
        host=host,
        host_marks=marks,
        device_marks=spans_of(()),
        products=(),
        window_ns=window((device, host, marks)),
        overhead_ns=0,
        losses=(*losses, *dropped(len(used) - len(timed), on_device=lost_kernels), *_full(len(events))),
        totals=() if len(device) else _totals(nodes),
        no_verdict=_NO_DEVICE,
        notes=("The file has no date: times count from the start of the recording.",),
    )


def _row(event: _Event, names: Names, kind: int, *, device: bool = False) -> tuple[int, int, int, int, int, int]:
    name = event.args.op_name if kind == OPERATOR and event.args else ""
    start_ns = round(event.ts * 1000)
    row = 0 if device else event.tid % (1 << 62)
    return names.index(name or event.name), start_ns, start_ns + round(event.dur * 1000), row, 0, kind


def _totals(nodes: Sequence[_Event]) -> tuple[Total, ...]:
    """Time by operator and provider; the nodes of a CPU run one after the other."""
    found: dict[str, list[int]] = {}
    for event in nodes:
        args = event.args or _Args()
        provider = args.provider.removesuffix("ExecutionProvider")
        name = f"{args.op_name or event.name.removesuffix('_kernel_time')} on {provider or 'a provider without a name'}"
        found.setdefault(name[:200], []).append(round(event.dur * 1000))
    return tuple(Total(name=name, count=len(times), total_ns=sum(times)) for name, times in found.items())


def _full(count: int) -> tuple[Loss, ...]:
    note = f"the recorder stops at {MAX_EVENTS:,} events: whatever followed is missing"
    return (Loss(kind="recorder_full", count=1, note=note),) if count >= MAX_EVENTS else ()
