"""Traces of the PyTorch profiler (Kineto JSON, plain or gzip): torch 1.8 and later.

The document is decoded into the few fields that are used, then turned into columns. Time is
``baseTimeNanoseconds + ts`` in integer nanoseconds; files from torch 2.2 and older carry no base but absolute
microseconds. Whether an event lies on a device is decided by its category, never by its pid: a device's pid is
its index, which a container's process may share.
"""

import gzip
import zlib
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np

from analyzer.columns import Device, Float64, Int64, Loss, MatrixProduct, Spans, Trace
from analyzer.importers import Progress
from analyzer.importers._shapes import OPERATORS, matrix_product
from collector.errors import UserError

FORMAT = "a torch profiler trace (.json, .json.gz)"

#: Refuse to inflate more than this: 4 GiB is some 12 million events, and a bomb is larger.
MAX_BYTES = 4 << 30
#: No profiler window lasts a day; longer durations are clock faults of the tracing library (HTA issue 325).
MAX_DURATION_NS = 24 * 3600 * 10**9

_CHUNK = 1 << 22

_DEVICE = {"kernel": 0, "gpu_memcpy": 1, "gpu_memset": 2, "Kernel": 0, "Memcpy": 1, "Memset": 2}
_HOST = {
    "cuda_runtime": 3, "cuda_driver": 3, "Runtime": 3, "xpu_runtime": 3, "mtia_runtime": 3,
    "privateuse1_runtime": 3, "cpu_op": 4, "Operator": 4,
}  # fmt: skip
_HOST_MARK = {"user_annotation": 5}
_DEVICE_MARK = {"gpu_user_annotation": 5}

_Loose = int | float | str | None
_NOTHING = msgspec.Raw()


class _Args(msgspec.Struct, gc=False):
    device: _Loose = None
    stream: _Loose = None
    correlation: _Loose = None
    external_id: _Loose = msgspec.field(default=None, name="External id")
    external_id_legacy: _Loose = msgspec.field(default=None, name="external id")
    dims: msgspec.Raw = msgspec.field(default=_NOTHING, name="Input Dims")
    types: msgspec.Raw = msgspec.field(default=_NOTHING, name="Input type")


_NO_ARGS = _Args()


class _Event(msgspec.Struct, gc=False):
    ph: str = ""
    cat: str | None = None
    name: _Loose = ""
    pid: _Loose = None
    tid: _Loose = None
    ts: _Loose = None
    dur: _Loose = None
    args: _Args | None = None


class _DeviceProperties(msgspec.Struct):
    id: int = 0
    name: str = ""
    num_sms: int | None = msgspec.field(default=None, name="numSms")
    memory_bytes: int | None = msgspec.field(default=None, name="totalGlobalMem")


class _Document(msgspec.Struct):
    events: list[_Event] = msgspec.field(name="traceEvents")
    base_ns: int = msgspec.field(default=0, name="baseTimeNanoseconds")
    devices: list[_DeviceProperties] = msgspec.field(default_factory=list, name="deviceProperties")


def claims(path: Path, head: bytes) -> bool:
    """A JSON document that opens like a profiler's, whatever its file is called."""
    del path
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"{"):
        return any(key in text for key in (b'"traceEvents"', b'"schemaVersion"', b'"deviceProperties"'))
    return text.startswith(b"[") and b'"ph"' in text


def load(path: Path, progress: Progress | None = None) -> Trace:
    """Read a trace into columns.

    Raises:
        UserError: The file cannot be read, is damaged, or inflates to more than ``MAX_BYTES``.
    """
    document = _decode(path, _inflate(path, progress))
    return _columns(path.name, document)


def _inflate(path: Path, progress: Progress | None) -> bytes:
    """The file's text, inflated where it starts like gzip, with the work done reported."""
    try:
        size = path.stat().st_size
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file = gzip.GzipFile(fileobj=raw) if packed else raw
            chunks, held = [], 0
            while chunk := file.read(_CHUNK):
                chunks.append(chunk)
                held += len(chunk)
                if held > MAX_BYTES:
                    raise UserError(f"{path} inflates to more than {MAX_BYTES >> 30} GiB: record a shorter window")
                if progress:
                    progress(raw.tell(), size)
    except EOFError as error:
        raise UserError(f"{path} is cut short (its gzip stream has no end): copy or record it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged inside its gzip stream: copy or record it again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if not held:
        raise UserError(f"{path} is empty: record it again")
    return b"".join(chunks)


def _decode(path: Path, text: bytes) -> _Document:
    text = text.removeprefix(b"\xef\xbb\xbf")
    try:
        if text.lstrip()[:1] == b"[":
            return _Document(events=msgspec.json.decode(text, type=list[_Event]))
        return msgspec.json.decode(text, type=_Document)
    except msgspec.ValidationError as error:
        raise UserError(f"{path} is JSON but not a profiler trace ({error})") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not whole JSON ({error}): copy or record it again") from error


def _columns(name: str, document: _Document) -> Trace:
    losses: Counter[str] = Counter()
    complete = [event for event in document.events if event.ph == "X"]
    names: dict[str, int] = {}

    def spans(categories: dict[str, int], *, on_device: bool) -> Spans:
        chosen = [event for event in complete if event.cat in categories]
        return _spans(chosen, categories, document.base_ns, names, losses, on_device=on_device)

    device = spans(_DEVICE, on_device=True)
    host = spans(_HOST, on_device=False)
    marks = spans(_HOST_MARK, on_device=False)
    device_marks = spans(_DEVICE_MARK, on_device=True)
    events = document.events
    return Trace(
        name=name,
        devices=_devices(document, device),
        names=tuple(names),
        device=device,
        host=host,
        host_marks=marks,
        device_marks=device_marks,
        products=_products(complete),
        window_ns=_window(events, document.base_ns, (device, host, marks)),
        overhead_ns=sum(round(_float(event.dur) * 1000) for event in events if event.cat == "overhead"),
        losses=tuple(Loss(kind=kind, count=count, note=_LOSS_NOTES[kind]) for kind, count in losses.items()),
    )


_LOSS_NOTES = {
    "no_duration": "events without a usable time or duration were dropped",
    "zero_time": "events at time zero were dropped: the profiler lost their clock",
    "absurd_duration": "events with a negative duration, or one longer than a day, were dropped",
}


def _spans(
    events: list[_Event],
    categories: dict[str, int],
    base_ns: int,
    names: dict[str, int],
    losses: Counter[str],
    *,
    on_device: bool,
) -> Spans:
    ts, dur = (_floats([getattr(event, field) for event in events]) for field in ("ts", "dur"))
    timed = np.isfinite(ts) & np.isfinite(dur)
    absurd = timed & ((dur < 0) | (dur > MAX_DURATION_NS / 1000))
    zero = timed & ~absurd & (ts <= 0)
    for kind, mask in (("no_duration", ~timed), ("absurd_duration", absurd), ("zero_time", zero)):
        if mask.any():
            losses[kind] += int(mask.sum())
    kept = np.flatnonzero(timed & ~absurd & ~zero)
    start = np.rint(ts[kept] * 1000).astype(np.int64) + base_ns
    order = np.argsort(start, kind="stable")
    start, kept = start[order], kept[order]
    chosen = [events[row] for row in kept]
    args = [event.args or _NO_ARGS for event in chosen]
    threads = _ints([event.tid for event in chosen])
    return Spans(
        name=np.array([names.setdefault(str(event.name), len(names)) for event in chosen], np.int32),
        start_ns=start,
        end_ns=start + np.rint(dur[kept] * 1000).astype(np.int64),
        row=_ints([arg.device for arg in args], _ints([event.pid for event in chosen])) if on_device else threads,
        stream=_ints([arg.stream for arg in args], threads) if on_device else np.zeros(len(chosen), np.int64),
        correlation=_ints([arg.correlation for arg in args]),
        external_id=_ints([arg.external_id for arg in args], _ints([arg.external_id_legacy for arg in args])),
        category=np.array([categories[event.cat or ""] for event in chosen], np.int32),
    )


def _floats(values: list[_Loose]) -> Float64:
    """A column of numbers, NaN where a value is missing or no number."""
    if set(map(type, values)) <= {float, int}:
        return np.array(values, np.float64)
    return np.array([_float(value) for value in values], np.float64)


def _ints(values: list[_Loose], default: Int64 | None = None) -> Int64:
    """A column of ids, with a default for the values that are none: missing, beyond int64, words without a number."""
    fallback = np.zeros(len(values), np.int64) if default is None else default
    if set(map(type, values)) == {type(None)}:
        return fallback
    if set(map(type, values)) <= {int} and (not values or max(values) < 1 << 63):  # type: ignore[type-var,operator]
        return np.array(values, np.int64)
    ids = [_id(value) for value in values]
    return np.array([other if mine is None else mine for mine, other in zip(ids, fallback.tolist(), strict=True)])


def _float(value: _Loose) -> float:
    try:
        return float("nan" if value is None else value)
    except ValueError:
        return float("nan")


def _id(value: _Loose) -> int | None:
    if isinstance(value, str):
        digits = value.rpartition(" ")[2]
        value = int(digits) if digits.isdecimal() and len(digits) <= _INT64_DIGITS else None
    return value if isinstance(value, int) and -(1 << 63) <= value < 1 << 63 else None


_INT64_DIGITS = 19


def _devices(document: _Document, device: Spans) -> dict[int, Device]:
    """The devices that did something; a trace lists others too, and metadata rows for devices that do not exist."""
    known = {properties.id: properties for properties in document.devices}
    active = {int(index) for index in np.unique(device.row)}
    return {
        index: Device(
            index=index,
            name=known[index].name if index in known else "",
            sm_count=known[index].num_sms if index in known else None,
            memory_bytes=known[index].memory_bytes if index in known else None,
        )
        for index in sorted(active or set(known))
    }


def _window(events: list[_Event], base_ns: int, columns: tuple[Spans, ...]) -> tuple[int, int]:
    """The profiler's own span where the file has it, else from the first to the last event."""
    for event in events:
        if event.cat == "Trace" and event.ph == "X" and _float(event.ts) > 0:
            start = base_ns + round(_float(event.ts) * 1000)
            return start, start + round(_float(event.dur) * 1000)
    start_ns = [int(spans.start_ns.min()) for spans in columns if len(spans)]
    end_ns = [int(spans.end_ns.max()) for spans in columns if len(spans)]
    return (min(start_ns), max(end_ns)) if start_ns else (base_ns, base_ns)


def _products(events: list[_Event]) -> tuple[MatrixProduct, ...]:
    """Shapes of the matrix products, for the operators that recorded them."""
    found = []
    for event in events:
        if event.cat == "cpu_op" and event.name in OPERATORS and event.args:
            external_id = _id(event.args.external_id) or 0
            product = matrix_product(str(event.name), bytes(event.args.dims), bytes(event.args.types), external_id)
            if product:
                found.append(product)
    return tuple(found)
