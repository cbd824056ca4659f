"""SQLite exports of Nsight Systems: ``nsys export --type sqlite report.nsys-rep``, schemas 2 and 3 (2020 to 2026).

Schema: "SQLite Export Schema Reference" of the Nsight Systems documentation. Tables exist only where there was
something to put into them, and columns come and go between releases: what is there is asked of the file, and what is
not there is 0. Times are nanoseconds from the start of the recording, which ``TARGET_INFO_SESSION_START_TIME`` dates.

A report may hold several processes. Threads are known by ``globalTid``, which holds the process's id; work on a device
is joined to its call within a process (``globalPid``). A replay of a CUDA graph is one span for the whole of it unless
the report was recorded with ``--cuda-graph-trace=node``. NVTX ranges are the marks of the host; their twins on the
device follow from the calls inside them.
"""

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from analyzer.columns import Device, Int64, Loss, Spans, Trace
from analyzer.importers import Progress
from analyzer.importers._documents import (
    KERNEL,
    MARK,
    MAX_NS,
    MEMCPY,
    MEMSET,
    NO_SPANS,
    RUNTIME,
    Names,
    dropped,
    spans,
    window,
)
from analyzer.importers._nsys_tables import Tables, connect
from analyzer.timeline import total, union
from collector.errors import UserError

FORMAT = "an Nsight Systems report (.sqlite, from nsys export --type sqlite)"

_MAGIC = b"SQLite format 3\0"
_TABLES = (b"CUPTI_ACTIVITY_KIND_", b"TARGET_INFO_SESSION_START_TIME", b"NVTX_EVENTS")
#: A thread's id fills the lowest bits of a globalTid, its process's those above.
_ID_BITS = 24
#: No clock shows a later time: the year 2116.
_MAX_EPOCH_NS = 1 << 62

#: Values of ENUM_CUDA_MEMCPY_OPER and ENUM_CUDA_MEM_KIND, in the words of PyTorch's profiler.
_COPIES = {1: "HtoD", 2: "DtoH", 8: "DtoD", 9: "HtoH", 10: "PtoP"}
_MEMORIES = {0: "Pageable", 1: "Pinned", 2: "Device", 3: "Array", 4: "Managed"}
#: NvtxPushPopRange and NvtxStartEndRange.
_RANGES = (59, 60)
_MOST_PAIRS = 4096
_VERSION = re.compile(r"_v\d+(_ptsz)?$")
_WHOLE_GRAPHS = (
    "{count} replays of CUDA graphs are one span each: "
    "record with --cuda-graph-trace=node to see the kernels inside them."
)
_NO_DATE = "The report has no date: times count from its start."


def claims(path: Path, head: bytes) -> bool:
    """A database with tables of Nsight Systems; of a damaged one, their names in its first pages."""
    if not head.startswith(_MAGIC):
        return False
    if any(table in head for table in _TABLES):
        return True
    try:
        with closing(connect(path)) as database:
            names = [str(name).encode() for (name,) in database.execute("SELECT name FROM sqlite_master LIMIT 10000")]
    except sqlite3.Error:
        return False
    return any(name.startswith(_TABLES) for name in names)


def load(path: Path, progress: Progress | None = None) -> Trace:
    """Read a report.

    Raises:
        UserError: It cannot be read, is damaged, or is larger than any report.
    """
    try:
        with closing(connect(path)) as database:
            trace = _Report(Tables(database, path), path).trace()
    except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
        raise UserError(f"{path} is damaged ({error}): export it again from its .nsys-rep") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if progress:
        progress(path.stat().st_size, path.stat().st_size)
    return trace


class _Report:
    """One report on its way into columns."""

    def __init__(self, tables: Tables, path: Path) -> None:
        self._tables, self._path = tables, path
        ids, texts = tables.numbers("StringIds", "id"), tables.texts("StringIds", "value")
        self._strings = dict(zip(ids[0].tolist(), texts, strict=False))
        self._names = Names()
        self._lost = self._lost_work = self._graphs = 0
        #: Reports of old releases do not tell processes apart.
        kernels = "CUPTI_ACTIVITY_KIND_KERNEL"
        self._by_process = tables.has(kernels, "globalPid") or not tables.has(kernels)

    def trace(self) -> Trace:
        """Everything that is used of it."""
        work, calls, marks = self._device(), self._calls(), self._marks()
        devices = self._devices(work)
        held = [group for group in (work, calls, marks) if len(group)]
        if not held:
            raise UserError(f"{self._path} holds no kernel, call or range: record with --trace=cuda,nvtx")
        epoch = self._tables.numbers("TARGET_INFO_SESSION_START_TIME", "utcEpochNs")
        base_ns = int(epoch[0][0]) if len(epoch[0]) and 0 < epoch[0][0] < _MAX_EPOCH_NS else 0
        notes = [_WHOLE_GRAPHS.format(count=f"{self._graphs:,}")] if self._graphs else []
        work, calls, marks = (_moved(group, base_ns) for group in (work, calls, marks))
        return Trace(
            name=self._path.name, devices=devices, names=tuple(self._names), device=work, host=calls, host_marks=marks,
            device_marks=NO_SPANS, products=(), window_ns=window((work, calls, marks)), overhead_ns=self._overhead_ns(),
            losses=self._losses(), notes=(*notes, *(() if base_ns else (_NO_DATE,))),
        )  # fmt: skip

    def _losses(self) -> tuple[Loss, ...]:
        return dropped(self._lost, on_device=self._lost_work)

    def _named(self, ids: Int64, strip: "re.Pattern[str] | None" = None) -> Int64:
        """Indices of names by their ids in ``StringIds``; what has none is called ``unknown``."""
        unique, place = np.unique(ids, return_inverse=True)
        texts = [self._strings.get(int(number)) or "unknown" for number in unique]
        index = [self._names.index(strip.sub("", text) if strip else text) for text in texts]
        return np.array(index, np.int64)[place] if index else np.empty(0, np.int64)

    def _kept(self, columns: dict[str, Int64], *, work: bool = False) -> Spans:
        """The rows whose times can be, as spans; the others are counted."""
        start, end = columns["start_ns"], columns["end_ns"]
        # A row without an end has 0 there. Differences of such numbers cannot leave int64.
        usable = (start >= 0) & (end >= start) & (start < _MAX_EPOCH_NS // 2) & (end - np.maximum(start, 0) < MAX_NS)
        self._lost += int((~usable).sum())
        self._lost_work += int((~usable).sum()) if work else 0
        return spans({name: values[usable] for name, values in columns.items()})

    def _correlation(self, process: Int64, number: Int64) -> Int64:
        """Correlations are counted within a process: with the process's id above them they are one number each."""
        own = (process >> _ID_BITS) & ((1 << _ID_BITS) - 1) if self._by_process else np.zeros_like(process)
        return np.where(number > 0, (own << 32) | (number & 0xFFFFFFFF), 0)

    def _device(self) -> Spans:
        """Kernels, copies, fills, and graphs of which only the whole replay was recorded."""
        common = ("start", "end", "deviceId", "streamId", "correlationId", "globalPid")
        parts: list[dict[str, Int64]] = []

        def add(rows: Sequence[Int64], name: Int64, kind: int) -> None:
            start, end, device, stream, correlation, process = rows
            parts.append({
                "start_ns": start, "end_ns": end, "row": self._gpu(device, process), "stream": stream, "name": name,
                "correlation": self._correlation(process, correlation), "category": np.full(len(start), kind),
            })  # fmt: skip

        *rows, demangled, short, mangled = self._tables.numbers(
            "CUPTI_ACTIVITY_KIND_KERNEL", *common, "demangledName", "shortName", "mangledName"
        )
        add(rows, self._named(np.where(demangled > 0, demangled, np.where(short > 0, short, mangled))), KERNEL)
        *rows, kind, source, target = self._tables.numbers(
            "CUPTI_ACTIVITY_KIND_MEMCPY", *common, "copyKind", "srcKind", "dstKind"
        )
        add(rows, self._copies(kind, source, target), MEMCPY)
        rows = self._tables.numbers("CUPTI_ACTIVITY_KIND_MEMSET", *common)
        add(rows, np.full(len(rows[0]), self._names.index("Memset")), MEMSET)
        *rows, graph = self._tables.numbers("CUPTI_ACTIVITY_KIND_GRAPH_TRACE", *common, "graphId")
        # A node that was recorded on its own is not counted again with the whole.
        apart = np.concatenate([part["correlation"] for part in parts])
        whole = ~np.isin(self._correlation(rows[5], rows[4]), apart[apart > 0])
        self._graphs = int(whole.sum())
        numbers, place = np.unique(graph[whole], return_inverse=True)
        name = np.array([self._names.index(f"CUDA graph {number}") for number in numbers], np.int64)
        add([column[whole] for column in rows], name[place] if len(name) else np.empty(0, np.int64), KERNEL)
        return self._kept({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, work=True)

    def _copies(self, kind: Int64, source: Int64, target: Int64) -> Int64:
        """Indices of the copies' names: ``Memcpy HtoD (Pageable -> Device)``."""
        ways, place = np.unique(np.stack([kind, source, target]), axis=1, return_inverse=True)
        index = []
        for way, start, end in ways.T.tolist():
            memories = f"{_MEMORIES.get(start, 'Unknown')} -> {_MEMORIES.get(end, 'Unknown')}"
            index.append(self._names.index(f"Memcpy {_COPIES.get(way, 'of another kind')} ({memories})"))
        return np.array(index, np.int64)[place.reshape(-1)] if index else np.empty(0, np.int64)

    def _gpu(self, device: Int64, process: Int64) -> Int64:
        """The machine's GPU behind a process's device: ``CUDA_VISIBLE_DEVICES`` numbers them anew in each."""
        pid, cuda, gpu = self._tables.numbers("TARGET_INFO_CUDA_DEVICE", "pid", "cudaId", "gpuId")
        own = (process >> _ID_BITS) & ((1 << _ID_BITS) - 1)
        found = device.copy()
        # A machine has a few GPUs and a report a few processes; a hostile file does not get to say otherwise.
        for owner, number, index in list(zip(pid.tolist(), cuda.tolist(), gpu.tolist(), strict=True))[:_MOST_PAIRS]:
            found[(device == number) & ((own == owner) | (owner == 0))] = index
        return found

    def _calls(self) -> Spans:
        start, end, thread, correlation, name = self._tables.numbers(
            "CUPTI_ACTIVITY_KIND_RUNTIME", "start", "end", "globalTid", "correlationId", "nameId"
        )
        return self._kept({
            "start_ns": start, "end_ns": end, "row": thread, "name": self._named(name, _VERSION),
            "correlation": self._correlation(thread, correlation), "category": np.full(len(start), RUNTIME),
        })  # fmt: skip

    def _marks(self) -> Spans:
        """Ranges that ended; their text stands in the row, or in ``StringIds``."""
        start, end, thread, kind, text_id = self._tables.numbers(
            "NVTX_EVENTS", "start", "end", "globalTid", "eventType", "textId"
        )
        name = self._named(text_id)
        if own := self._tables.texts("NVTX_EVENTS", "text"):
            name = np.array([self._names.index(text) if text else index for text, index in zip(own, name, strict=True)])
        chosen = np.isin(kind, _RANGES) & (end > 0)
        columns = {"start_ns": start, "end_ns": end, "row": thread, "name": np.asarray(name, np.int64)}
        columns["category"] = np.full(len(start), MARK)
        return self._kept({name: values[chosen] for name, values in columns.items()})

    def _devices(self, work: Spans) -> dict[int, Device]:
        """The GPUs that did something."""
        ids, cores, memory = self._tables.numbers("TARGET_INFO_GPU", "id", "smCount", "totalMemory")
        titles = self._tables.texts("TARGET_INFO_GPU", "name") or [""] * len(ids)
        known = dict(zip(ids.tolist(), zip(titles, cores.tolist(), memory.tolist(), strict=False), strict=False))
        return {
            index: Device(index=index, name=title, sm_count=cores or None, memory_bytes=memory or None)
            for index in np.unique(work.row).tolist()
            for title, cores, memory in [known.get(index, ("", 0, 0))]
        }

    def _overhead_ns(self) -> int:
        """Time that the profiler took for itself, on any thread."""
        tables = ("PROFILER_OVERHEAD", "CUPTI_ACTIVITY_KIND_OVERHEAD")
        held = [self._tables.numbers(table, "start", "end") for table in tables]
        start, end = (np.concatenate(columns) for columns in zip(*held, strict=True))
        usable = (start >= 0) & (end > start) & (end - np.maximum(start, 0) < MAX_NS)
        return total(union(start[usable], end[usable]))


def _moved(group: Spans, by_ns: int) -> Spans:
    """The same spans, dated."""
    columns = {name: getattr(group, name) for name in Spans.__dataclass_fields__}
    return Spans(**columns | {"start_ns": group.start_ns + by_ns, "end_ns": group.end_ns + by_ns})
