"""Timings of ``trtexec``: ``--exportTimes`` (each query) and ``--exportProfile`` (each layer).

As ``samples/common/sampleReporting.cpp`` of NVIDIA/TensorRT writes them. Of each query it gives the host's call and
the copies and computation it led to, in milliseconds from a start of its own, without a date; TensorRT before 8.0
says ``In`` and ``Out`` for the copies and leaves out the call. The list begins with the queries of the warm-up.
Of each layer it gives sums alone, so that a profile names no bottleneck.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from analyzer.columns import Device, Loss, Total, Trace
from analyzer.importers import Progress
from analyzer.importers._documents import (
    KERNEL,
    MAX_NS,
    MEMCPY,
    NO_SPANS,
    RUNTIME,
    Names,
    dropped,
    entries,
    read,
    spans_of,
    window,
)
from collector.errors import UserError

FORMAT = "timings of trtexec (--exportTimes, --exportProfile)"

_QUERY = (b'"startEnqMs"', b'"startComputeMs"')
_LAYER = (b'"timeMs"', b'"averageMs"')
_NO_TIMES = "a profile of layers has sums and no times: export the times of the queries with --exportTimes"
_WARM_UP = "The first queries are trtexec's warm-up (200 ms unless --warmUp said otherwise) and count like the others."
_NO_DATE = "The file has no date: times count from the start of the recording."


class _Query(msgspec.Struct):
    """One query's instants; of two names for one the older stands second."""

    startEnqMs: float | None = None  # noqa: N815 - the file's own names
    endEnqMs: float | None = None  # noqa: N815
    startH2dMs: float | None = None  # noqa: N815
    endH2dMs: float | None = None  # noqa: N815
    startInMs: float | None = None  # noqa: N815
    endInMs: float | None = None  # noqa: N815
    startComputeMs: float | None = None  # noqa: N815
    endComputeMs: float | None = None  # noqa: N815
    startD2hMs: float | None = None  # noqa: N815
    endD2hMs: float | None = None  # noqa: N815
    startOutMs: float | None = None  # noqa: N815
    endOutMs: float | None = None  # noqa: N815


class _Layer(msgspec.Struct):
    """One layer's sum; the first entry holds the count of the queries alone."""

    count: int = 0
    name: str | None = None
    timeMs: float | None = None  # noqa: N815


def claims(path: Path, head: bytes) -> bool:
    """A list of queries or of layers, by its keys."""
    del path
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return text.startswith(b"[") and (any(key in text for key in _QUERY) or all(key in text for key in _LAYER))


def load(path: Path, progress: Progress | None = None) -> Trace:
    """Read the timings.

    Raises:
        UserError: They cannot be read, or hold neither a query nor a layer.
    """
    text = read(path, progress)
    if any(key in text.content for key in _QUERY):
        return _queries(path, *entries(path, text, _Query))
    layers, losses = entries(path, text, _Layer)
    count = next((layer.count for layer in layers if layer.name is None), 0)
    timed = [layer for layer in layers if layer.name is not None and _usable(layer.timeMs)]
    if count <= 0 or not timed:
        raise UserError(f"{path} holds no layer with a time, or not how many queries it sums: export it again")
    lost = sum(layer.name is not None for layer in layers) - len(timed)
    return Trace(
        name=path.name, devices={}, names=(), device=NO_SPANS, host=NO_SPANS, host_marks=NO_SPANS,
        device_marks=NO_SPANS, products=(), window_ns=(0, sum(_ns(layer.timeMs) for layer in timed)), overhead_ns=0,
        losses=(*losses, *dropped(lost)),
        totals=tuple(Total(name=str(layer.name)[:400], count=count, total_ns=_ns(layer.timeMs)) for layer in timed),
        no_verdict=_NO_TIMES, notes=(_NO_DATE,),
    )  # fmt: skip


def _queries(path: Path, queries: list[_Query], losses: tuple[Loss, ...]) -> Trace:
    names = Names()
    device: list[tuple[int, int, int, int, int, int]] = []
    host: list[tuple[int, int, int, int, int, int]] = []
    lost = 0
    for number, query in enumerate(queries, start=1):
        for name, kind, start_ms, end_ms in _parts(query):
            if start_ms is None and end_ms is None:
                continue
            if not _usable(start_ms) or not _usable(end_ms) or _ns(end_ms) < _ns(start_ms):
                lost += 1
                continue
            row = (names.index(name), _ns(start_ms), _ns(end_ms), 0, number, kind)
            (host if kind == RUNTIME else device).append(row)
    if not device:
        raise UserError(f"{path} holds no query with a time: export it again")
    work, calls = spans_of(device), spans_of(host)
    return Trace(
        name=path.name, devices={0: Device(index=0, name="")}, names=tuple(names), device=work, host=calls,
        host_marks=NO_SPANS, device_marks=NO_SPANS, products=(), window_ns=window((work, calls)), overhead_ns=0,
        losses=(*losses, *dropped(lost, on_device=lost)), notes=(_WARM_UP, _NO_DATE),
    )  # fmt: skip


def _parts(query: _Query) -> Iterator[tuple[str, int, float | None, float | None]]:
    """The call of a query, and the work on the device it led to."""
    yield "enqueue", RUNTIME, query.startEnqMs, query.endEnqMs
    yield "Memcpy HtoD", MEMCPY, _either(query.startH2dMs, query.startInMs), _either(query.endH2dMs, query.endInMs)
    yield "TensorRT engine", KERNEL, query.startComputeMs, query.endComputeMs
    yield "Memcpy DtoH", MEMCPY, _either(query.startD2hMs, query.startOutMs), _either(query.endD2hMs, query.endOutMs)


def _either(newer: float | None, older: float | None) -> float | None:
    return older if newer is None else newer


def _usable(ms: float | None) -> bool:
    return ms is not None and 0 <= ms < MAX_NS / 1e6


def _ns(ms: float | None) -> int:
    return round((ms or 0.0) * 1e6)
