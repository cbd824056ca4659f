"""Traces of the PyTorch profiler (Kineto JSON, plain, gzip or zstd): torch 1.8 and later.

The text flows through once: inflated (``_inflate``), cut where one event ends and another begins
(``_kineto_document``), decoded into columns piece by piece (``_kineto_events``; on several cores where the file is
large, ``_kineto_helpers``), and gathered (``_kineto_columns``). A piece that is no faultless JSON goes the slow way,
event by event (``_kineto_salvage``); what is lost on it is counted.

Time is ``baseTimeNanoseconds + ts`` in integer nanoseconds; files from torch 2.2 and older carry no base but absolute
microseconds.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from analyzer.columns import Device, Loss, Spans, Trace
from analyzer.importers import Progress, _inflate
from analyzer.importers._kineto_columns import Columns
from analyzer.importers._kineto_document import MAX_EVENT_BYTES, Document, Metadata, metadata
from analyzer.importers._kineto_events import Losses, decode
from analyzer.importers._kineto_helpers import decoded
from analyzer.importers._kineto_salvage import MAX_DROPPED, salvage
from collector.errors import UserError

FORMAT = "a torch profiler trace (.json, .json.gz, .json.zst)"

#: ONNX Runtime writes a list of the same events; its own categories stand first.
_ONNX_RUNTIME = re.compile(rb'\[\s*\{\s*"cat"\s*:\s*"(?:Session|Node)"')
#: What may stand behind the events and be read: the rest of the document, or others.
MAX_TAIL_BYTES = 4 << 20


def claims(path: Path, head: bytes) -> bool:
    """A JSON document that opens like a profiler's, whatever its file is called."""
    del path
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"{"):
        return any(key in text for key in (b'"traceEvents"', b'"schemaVersion"', b'"deviceProperties"'))
    return text.startswith(b"[") and b'"ph"' in text and not _ONNX_RUNTIME.match(text)


def load(path: Path, progress: Progress | None = None) -> Trace:
    """Read a trace into columns, as much of it as can be read.

    Raises:
        UserError: The file cannot be read, holds nothing that can be used, or is larger than any trace.
    """
    return read(path, _inflate.pieces(path, progress))


def read(path: Path, pieces: Iterable[bytes]) -> Trace:
    """The same from the pieces of its text, wherever they were cut."""
    document = Document(path, pieces)
    columns = Columns()
    tail = _read(document, columns)
    about = metadata(document.head, tail)
    groups = columns.finish(about.base_ns)
    columns.losses["damaged_stream", False] += document.damage is not None
    columns.losses["more_documents", False] += tail.count(b'"traceEvents"')
    for name, spans in groups.items():
        nameless = spans.name == columns.names.get("unknown", -1)
        columns.losses["nameless", name == "device"] += int(np.count_nonzero(nameless))
    return Trace(
        name=path.name,
        rank=_rank(about, path),
        world_size=about.world_size,
        devices=_devices(about, groups["device"], columns.device_ids),
        names=tuple(columns.names),
        device=groups["device"],
        host=groups["host"],
        host_marks=groups["host_marks"],
        device_marks=groups["device_marks"],
        products=tuple(columns.products),
        operations=columns.operations,
        window_ns=_window(columns.windows_ns, about.base_ns, groups),
        overhead_ns=columns.overhead_ns,
        losses=_losses(columns.losses),
    )


def _read(document: Document, columns: Columns) -> bytes:
    """Gather the events of a document, and give what follows them.

    Raises:
        UserError: It breaks off or is damaged, and holds no event that could be saved.
    """
    rest, tail, balance = b"", None, 0
    for chunk, block in decoded(document.chunks()):
        if tail is not None:
            tail += chunk
            if len(tail) > MAX_TAIL_BYTES:
                return tail
            continue
        text: bytes | memoryview = chunk
        if rest:  # what seemed to be a boundary was none
            text, rest = b",".join((rest, chunk)), b""
            block = decode(text)  # noqa: PLW2901 - same
        if block is None:
            found = salvage(bytes(text), last=len(text) > MAX_EVENT_BYTES)
            block, rest, tail = found.block, found.rest, found.tail  # noqa: PLW2901 - same
            balance += found.dropped - found.kept
            if balance > MAX_DROPPED:
                raise UserError(f"{document.path} holds more events that are no JSON than whole ones: record it again")
        columns.add(block)
    if tail is not None:
        return tail + document.rest
    found = salvage(rest + b"," + document.rest if rest else document.rest, last=True)
    columns.add(found.block)
    if found.tail is not None:
        return found.tail
    if not columns:
        why = document.damage or "not whole JSON"
        raise UserError(f"{document.path} is {why}, and no event in it can be saved: copy or record it again")
    columns.losses["cut_short" if found.rest.strip() else "no_end", False] += 1
    return b""


def _rank(about: Metadata, path: Path) -> int | None:
    """The rank the document names, else the one its file's name does."""
    named = re.search(r"rank[-_]?(\d{1,6})", path.name)
    return int(named[1]) if about.rank is None and named else about.rank


def _devices(about: Metadata, device: Spans, ids: dict[int, int]) -> dict[int, Device]:
    """The devices that did something; a trace lists others too, and metadata rows for devices that do not exist."""
    known = {properties.id: properties for properties in about.devices}
    active = {int(index) for index in np.unique(device.row)}
    said = {index: known.get(ids.get(index, index)) for index in sorted(active or set(known))}
    return {
        index: Device(
            index=index,
            name=properties.title if properties else "",
            sm_count=properties.num_sms if properties else None,
            memory_bytes=properties.memory_bytes if properties else None,
        )
        for index, properties in said.items()
    }


def _window(windows_ns: list[tuple[int, int]], base_ns: int, groups: dict[str, Spans]) -> tuple[int, int]:
    """The profiler's own span where the file has it, else from the first to the last event."""
    if windows_ns:
        start, duration = windows_ns[0]
        return base_ns + start, base_ns + start + duration
    held = [spans for name, spans in groups.items() if name != "device_marks" and len(spans)]
    if not held:
        return base_ns, base_ns
    return min(int(spans.start_ns.min()) for spans in held), max(int(spans.end_ns.max()) for spans in held)


#: What became of events by kind of loss; with ``True`` they are used all the same.
_LOSSES = {
    "no_duration": (False, "events without a usable time or duration were dropped"),
    "zero_time": (False, "events at time zero were dropped: the profiler lost their clock"),
    "absurd_duration": (False, "events with a negative duration, or one longer than a day, were dropped"),
    "clock_error": (False, "events far outside the capture, or long before their own launch, were dropped"),
    "unpaired": (False, "events that only begin or only end were dropped"),
    "unreadable": (False, "events that are no JSON were dropped"),
    "cut_short": (False, "the file breaks off inside an event: whatever followed is missing"),
    "no_end": (True, "the file breaks off between two events: whatever followed is missing"),
    "repaired": (
        True,
        "events that are no JSON as they stand were mended: stray characters, words that are no numbers",
    ),
    "damaged_stream": (True, "the compressed stream breaks off or is damaged: whatever followed is missing"),
    "more_documents": (True, "further documents in the same file were left out"),
    "nameless": (True, "spans carry the name “unknown”, which the profiler writes where it lost theirs"),
}


def _losses(counts: Losses) -> tuple[Loss, ...]:
    return tuple(
        Loss(
            kind=kind,
            count=counts[kind, False] + counts[kind, True],
            device_count=counts[kind, True],
            repaired=repaired,
            note=note,
        )
        for kind, (repaired, note) in _LOSSES.items()
        if counts[kind, False] + counts[kind, True]
    )
