"""From the text of some events to columns: typed decoding of the few fields that are used, then one array a field.

Whether an event lies on a device is decided by its category, never by its pid: a device's pid is its index, which a
container's process may share. Times are nanoseconds after the document's base, which may stand at its end.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard, cast
from zlib import crc32

import msgspec
import numpy as np

from analyzer.columns import CATEGORIES, DTYPES, Bool, Float64, Int32, Int64, MatrixProduct, Operations
from analyzer.importers._shapes import OPERATORS, is_known, matrix_product, work

#: No profiler window lasts a day; longer durations are clock faults of the tracing library (HTA issue 325).
MAX_DURATION_NS = 24 * 3600 * 10**9
#: No clock shows a later time: microseconds of the year 2116. Beyond it nanoseconds would leave int64.
MAX_TIME_US = float(1 << 52)

#: Categories of work and marks on a device, of host calls and of host marks, today's names and those of torch 1.8–1.12.
DEVICE = {
    "kernel": 0,
    "gpu_memcpy": 1,
    "gpu_memset": 2,
    "Kernel": 0,
    "Memcpy": 1,
    "Memset": 2,
    "gpu_user_annotation": 5,
    "cuda_sync": 5,
}
HOST = {
    "cuda_runtime": 3, "cuda_driver": 3, "Runtime": 3, "xpu_runtime": 3, "mtia_runtime": 3,
    "privateuse1_runtime": 3, "cpu_op": 4, "Operator": 4, "user_annotation": 5,
}  # fmt: skip
_PROFILER = {"Trace", "overhead"}
USED = DEVICE.keys() | HOST.keys() | _PROFILER
_MARK = CATEGORIES.index("mark")
#: Ids that one process gives lie below this; those of the processes of a merged document are moved apart above it.
PROCESS_STRIDE = 1 << 32
#: What an id is where the event has none, so that columns stay whole numbers.
_NO_ID = -1

#: (Kind of loss, whether it was work on a device) → events.
Losses: TypeAlias = Counter[tuple[str, bool]]
Loose: TypeAlias = int | float | str | None
_NOTHING = msgspec.Raw()


class Args(msgspec.Struct, gc=False):
    """What an event's ``args`` say."""

    device: Loose = _NO_ID
    stream: Loose = _NO_ID
    correlation: Loose = 0
    external_id: Loose = msgspec.field(default=_NO_ID, name="External id")
    external_id_legacy: Loose = msgspec.field(default=0, name="external id")
    dims: msgspec.Raw = msgspec.field(default=_NOTHING, name="Input Dims")
    types: msgspec.Raw = msgspec.field(default=_NOTHING, name="Input type")
    concrete: msgspec.Raw = msgspec.field(default=_NOTHING, name="Concrete Inputs")


class Event(msgspec.Struct, gc=False):
    """One entry of ``traceEvents``; of a key that comes twice the last counts."""

    ph: str = ""
    cat: str | None = None
    name: Loose = ""
    pid: Loose = None
    tid: Loose = None
    ts: Loose = None
    dur: Loose = None
    args: Args | None = None


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some spans in columns, in the order of the file, all arrays of shape (n,)."""

    #: Index into ``Block.names``.
    name: Int32
    start_ns: Int64
    duration_ns: Int64
    row: Int64
    stream: Int64
    correlation: Int64
    external_id: Int64
    category: Int32


@dataclass(frozen=True, kw_only=True)
class Block:
    """What a piece of the document holds."""

    names: tuple[str, ...]
    device: Rows
    device_marks: Rows
    host: Rows
    host_marks: Rows
    products: tuple[MatrixProduct, ...]
    operations: Operations
    #: The begins and ends of events that are written as two, to be paired across pieces.
    halves: tuple[Event, ...]
    #: Several processes' documents were merged into this one.
    merged: bool
    #: The profiler's own spans (start, duration), and the time it took for itself.
    windows_ns: tuple[tuple[int, int], ...]
    overhead_ns: int
    losses: Losses


_EVENTS = msgspec.json.Decoder(list[Event])


def decode(text: bytes | memoryview) -> Block | None:
    """Events with commas between them, or None where the text is anything else."""
    try:
        return columns(_EVENTS.decode(b"".join((b"[", text, b"]"))))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def columns(events: Sequence[Event]) -> Block:
    """The events that are used, in columns; what cannot be used is counted."""
    used = [event for event in events if event.cat in USED and event.ph == "X"]
    halves = any(phase in ("B", "E") for phase in {event.ph for event in events})
    merged = any(_is_labelled(pid) for pid in {event.pid for event in used})
    names: dict[str, int] = {}
    losses: Losses = Counter()
    device, device_marks = _rows(used, DEVICE, names, losses, on_device=True, merged=merged)
    host, host_marks = _rows(used, HOST, names, losses, on_device=False, merged=merged)
    operators = [event for event in used if event.cat == "cpu_op"]
    own = [event for event in used if event.cat in _PROFILER]
    start_ns, duration_ns, timed = _times(own, Counter(), on_device=False)
    is_window = np.array([event.cat == "Trace" for event in own], bool)
    window, overhead = timed & is_window, timed & ~is_window
    return Block(
        names=tuple(names),
        device=device,
        device_marks=device_marks,
        host=host,
        host_marks=host_marks,
        products=_products(operators),
        operations=_operations(operators),
        halves=tuple(event for event in events if event.ph in ("B", "E")) if halves else (),
        windows_ns=tuple(zip(start_ns[window].tolist(), duration_ns[window].tolist(), strict=True)),
        overhead_ns=int(duration_ns[overhead].sum()),
        merged=merged,
        losses=losses,
    )


def _rows(
    used: Sequence[Event],
    categories: dict[str, int],
    names: dict[str, int],
    losses: Losses,
    *,
    on_device: bool,
    merged: bool,
) -> tuple[Rows, Rows]:
    """The spans of some categories, and the marks among them."""
    events = [event for event in used if event.cat in categories]
    start_ns, duration_ns, timed = _times(events, losses, on_device=on_device)
    if not timed.all():
        events = [event for event, good in zip(events, timed.tolist(), strict=True) if good]
        start_ns, duration_ns = start_ns[timed], duration_ns[timed]
    args = [event.args or _NO_ARGS for event in events]
    threads = _ids([event.tid for event in events], 0)
    stream = np.zeros(len(events), np.int64)
    if on_device:
        row = _first(_ids([arg.device for arg in args], _NO_ID), _ids([event.pid for event in events], 0))
        stream = _first(_ids([arg.stream for arg in args], _NO_ID), threads)
    else:
        row = threads
    external_id = _ids([arg.external_id for arg in args], _NO_ID)
    if (external_id == _NO_ID).any():
        external_id = _first(external_id, _ids([arg.external_id_legacy for arg in args], 0))
    correlation = _ids([arg.correlation for arg in args], 0)
    if merged:
        process = np.array([_process(event.pid) for event in events], np.int64)
        row, correlation, external_id = (
            np.where((ids == 0) & linking | (process == 0), ids, ids % PROCESS_STRIDE + process)
            for ids, linking in ((row, False), (correlation, True), (external_id, True))
        )
    whole = Rows(
        name=_interned([event.name for event in events], names),
        start_ns=start_ns,
        duration_ns=duration_ns,
        row=row,
        stream=stream,
        correlation=correlation,
        external_id=external_id,
        category=np.array([categories[event.cat or ""] for event in events], np.int32),
    )
    is_mark = whole.category == _MARK
    return _take(whole, ~is_mark), _take(whole, is_mark)


def _interned(values: list[Loose], names: dict[str, int]) -> Int32:
    """Each name's number among all names, new ones numbered on."""
    number = {value: names.setdefault(str(value), len(names)) for value in dict.fromkeys(values)}
    return np.fromiter(map(number.__getitem__, values), np.int32, len(values))


_NO_ARGS = Args()


def _take(rows: Rows, chosen: Bool) -> Rows:
    return rows if chosen.all() else Rows(**{name: getattr(rows, name)[chosen] for name in rows.__dataclass_fields__})


def _times(events: Sequence[Event], losses: Losses, *, on_device: bool) -> tuple[Int64, Int64, Bool]:
    """Start and duration in nanoseconds, and which of them can be used; the others are counted by what is wrong."""
    ts, dur = floats([event.ts for event in events]), floats([event.dur for event in events])
    known = np.isfinite(ts) & np.isfinite(dur) & (np.abs(ts) < MAX_TIME_US)
    absurd = known & ((dur < 0) | (dur > MAX_DURATION_NS / 1000))
    zero = known & ~absurd & (ts <= 0)
    for kind, mask in (("no_duration", ~known), ("absurd_duration", absurd), ("zero_time", zero)):
        if mask.any():
            losses[kind, on_device] += int(mask.sum())
    usable = known & ~absurd & ~zero
    return nanoseconds(np.where(usable, ts, 0)), nanoseconds(np.where(usable, dur, 0)), usable


def nanoseconds(us: Float64) -> Int64:
    """Microseconds with three decimals as exact nanoseconds.

    The whole microseconds go first: a float that holds some 50 days of microseconds is no longer within half a
    nanosecond once it is multiplied, but its fraction is.
    """
    whole = np.floor(us)
    exact: Int64 = whole.astype(np.int64) * 1000 + np.rint((us - whole) * 1000).astype(np.int64)
    return exact


def floats(values: list[Loose]) -> Float64:
    """A column of numbers, NaN where a value is missing or no number."""
    try:
        return np.frombuffer(array("d", cast("list[float]", values)), np.float64)
    except (TypeError, OverflowError):
        return np.array([_float(value) for value in values], np.float64)


def _float(value: Loose) -> float:
    try:
        return float("nan" if value is None else value)
    except (ValueError, OverflowError):
        return float("nan")


def _ids(values: list[Loose], default: int) -> Int64:
    """A column of ids, with a default for the values that are none: missing, beyond int64, words without a number."""
    try:
        return np.frombuffer(array("q", cast("list[int]", values)), np.int64)
    except (TypeError, OverflowError):
        return np.array([default if (value := _id(loose)) is None else value for loose in values], np.int64)


def _id(value: Loose) -> int | None:
    if isinstance(value, str):
        digits = value.rpartition(" ")[2]
        value = int(digits) if digits.isdecimal() and len(digits) <= _INT64_DIGITS else None
    return value if isinstance(value, int) and -(1 << 63) <= value < 1 << 63 else None


_INT64_DIGITS = 19


def _is_labelled(pid: Loose) -> TypeGuard[str]:
    """SGLang's ``ProfileMerger`` writes the rank before the pid, ``[TP00-DP01] 833``, and leaves the other ids."""
    return isinstance(pid, str) and pid.startswith("[")


def _process(pid: Loose) -> int:
    return (1 + crc32(pid.rpartition("]")[0].encode()) % (1 << 30)) * PROCESS_STRIDE if _is_labelled(pid) else 0


def _first(values: Int64, other: Int64) -> Int64:
    """The values, and the other's where there is none."""
    return np.where(values == _NO_ID, other, values)


def _products(events: Iterable[Event]) -> tuple[MatrixProduct, ...]:
    """Shapes of the matrix products, for the operators that recorded them."""
    found = []
    for event in events:
        if event.name in OPERATORS and event.args:
            external_id = _id(event.args.external_id) or 0
            if external_id and (process := _process(event.pid)):
                external_id = external_id % PROCESS_STRIDE + process
            product = matrix_product(str(event.name), bytes(event.args.dims), bytes(event.args.types), external_id)
            if product:
                found.append(product)
    return tuple(found)


def _operations(events: Iterable[Event]) -> Operations:
    """The least work of every operator that recorded shapes from which it can be told."""
    ids, found = [], []
    for event in events:
        args = event.args
        if args is None or not is_known(event.name) or not bytes(args.dims):
            continue
        external_id = _id(args.external_id)
        if external_id and (process := _process(event.pid)):
            external_id = external_id % PROCESS_STRIDE + process
        asked = work(str(event.name), bytes(args.dims), bytes(args.types), bytes(args.concrete))
        if external_id and external_id > 0 and asked:
            ids.append(external_id)
            found.append(asked)
    return Operations(
        external_id=np.array(ids, np.int64),
        flops=np.array([asked.flops for asked in found], np.float64),
        moved_bytes=np.array([asked.moved_bytes for asked in found], np.float64),
        dtype=np.array([DTYPES.index(asked.dtype) for asked in found], np.int32),
        tensor=np.array([asked.tensor for asked in found], bool),
    )
