"""A slow, obvious reader of Kineto documents: ``json.loads``, exact decimals, one event after the other.

It knows nothing of pieces, columns or repair. What it says of a document that is whole JSON is what the importer must
say, to the nanosecond.
"""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import zstandard

from analyzer.columns import Spans, Trace

DAY_US = 24 * 3600 * 10**6
DEVICE = {
    "kernel": 0,
    "Kernel": 0,
    "gpu_memcpy": 1,
    "Memcpy": 1,
    "gpu_memset": 2,
    "Memset": 2,
    "gpu_user_annotation": 5,
    "cuda_sync": 5,
}
HOST = {"cpu_op": 4, "Operator": 4, "user_annotation": 5} | dict.fromkeys(
    ("cuda_runtime", "cuda_driver", "Runtime", "xpu_runtime", "mtia_runtime", "privateuse1_runtime"),
    3,
)


class Span(NamedTuple):
    start_ns: int
    end_ns: int
    name: str
    row: int
    stream: int
    correlation: int
    external_id: int
    category: int


Groups = dict[str, list[Span]]


def read(path: Path) -> tuple[Groups, dict[str, int]]:
    """The spans of each group in order of time, and the events that were lost, by kind."""
    packed = path.read_bytes()
    if packed[:2] == b"\x1f\x8b":
        packed = gzip.decompress(packed)
    elif packed[:4] == b"\x28\xb5\x2f\xfd":
        packed = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True).read()
    document = json.loads(packed, parse_float=Decimal)
    groups: Groups = {"device": [], "device_marks": [], "host": [], "host_marks": []}
    losses: dict[str, int] = {}
    for event in paired(document["traceEvents"]):
        if event.get("ph") != "X" or event.get("cat") not in DEVICE | HOST:
            continue
        ts, dur = number(event.get("ts")), number(event.get("dur"))
        loss = (
            "no_duration" if ts is None or dur is None or abs(ts) >= 1 << 52
            else "absurd_duration" if dur < 0 or dur > DAY_US
            else "zero_time" if ts <= 0
            else None
        )  # fmt: skip
        if loss is not None or ts is None or dur is None:
            losses[str(loss)] = losses.get(str(loss), 0) + 1
            continue
        start_ns = int(document.get("baseTimeNanoseconds", 0)) + round(ts * 1000)
        groups[group(event)].append(span(event, start_ns, start_ns + round(dur * 1000)))
    return {name: sorted(spans, key=lambda span: span.start_ns) for name, spans in groups.items()}, losses


def paired(events: list[Any]) -> list[Any]:
    """The events, with every begin and its end as one; both must be of one thread."""
    whole: list[Any] = []
    begun: dict[tuple[str, str], list[Any]] = {}
    for event in events:
        stack = begun.setdefault((str(event.get("pid")), str(event.get("tid"))), [])
        if event.get("ph") == "B":
            stack.append(event)
        elif event.get("ph") == "E":
            begin = stack.pop()
            whole.append(begin | {"ph": "X", "dur": number(event["ts"]) - number(begin["ts"])})  # type: ignore[operator]
        else:
            whole.append(event)
    return whole


def group(event: Any) -> str:
    return ("device" if event["cat"] in DEVICE else "host") + ("_marks" if (DEVICE | HOST)[event["cat"]] == 5 else "")


def span(event: Any, start_ns: int, end_ns: int) -> Span:
    args = event.get("args") or {}
    on_device = event["cat"] in DEVICE
    thread = whole_number(event.get("tid"), 0)
    return Span(
        start_ns=start_ns,
        end_ns=end_ns,
        name=str(event.get("name", "")),
        row=whole_number(args.get("device"), whole_number(event.get("pid"), 0)) if on_device else thread,
        stream=whole_number(args.get("stream"), thread) if on_device else 0,
        correlation=whole_number(args.get("correlation"), 0),
        external_id=whole_number(args.get("External id"), whole_number(args.get("external id"), 0)),
        category=(DEVICE if on_device else HOST)[event["cat"]],
    )


def number(value: Any) -> Decimal | None:
    """Microseconds, exactly as they are written."""
    try:
        found = Decimal(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return found if found.is_finite() else None


def whole_number(value: Any, default: int) -> int:
    """An id: a whole number, or the digits a string ends with."""
    if isinstance(value, str):
        digits = value.split(" ")[-1]
        value = int(digits) if digits.isdecimal() and len(digits) < 20 else None
    return value if isinstance(value, int) and -(1 << 63) <= value < 1 << 63 else default


def spans_of(trace: Trace) -> Groups:
    """What the importer found, in the same words."""
    return {name: _rows(trace, getattr(trace, name)) for name in ("device", "device_marks", "host", "host_marks")}


def _rows(trace: Trace, spans: Spans) -> list[Span]:
    columns = zip(*(getattr(spans, name).tolist() for name in Span._fields), strict=True)
    rows = (Span._make(row) for row in columns)
    return [row._replace(name=trace.names[row.name]) for row in rows]  # type: ignore[call-overload]
