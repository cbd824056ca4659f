"""What is read, in columns: a trace's spans and a run's frames, and the array types everything else is made of.

Inside a ``Trace`` time is int64 nanoseconds since the epoch. Nothing here is concluded, and nothing is an object an
event: memory grows with the columns alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from collector.schema import Event, Run

if TYPE_CHECKING:
    import pandas as pd  # 0.3 s, and a trace needs none

Int64: TypeAlias = npt.NDArray[np.int64]
Int32: TypeAlias = npt.NDArray[np.int32]
Float64: TypeAlias = npt.NDArray[np.float64]
Bool: TypeAlias = npt.NDArray[np.bool_]

#: What arithmetic is done in; ``Operations.dtype`` is an index into this. ``other`` has no peak in ``hardware.toml``.
DTYPES = ("bf16", "fp16", "fp8", "int8", "fp32", "other")

#: The kinds of span a trace holds; ``Spans.category`` is an index into this.
CATEGORIES = ("kernel", "memcpy", "memset", "runtime", "operator", "mark")


@dataclass(frozen=True, kw_only=True)
class Device:
    """One GPU as the trace describes it."""

    index: int
    name: str
    sm_count: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Spans:
    """Columns of intervals, one row each, all arrays of shape (n,). Rows are sorted by ``start_ns``."""

    #: Index into ``Trace.names``.
    name: Int32
    start_ns: Int64
    end_ns: Int64
    #: Device index for work and marks on a device, thread id for host calls.
    row: Int64
    #: CUDA stream for device work, 0 elsewhere.
    stream: Int64
    #: Joins a host call to the device work it launched; 0 is none.
    correlation: Int64
    #: Joins device work to the operator that asked for it; 0 is none.
    external_id: Int64
    #: Index into ``CATEGORIES``: which kind of span this is.
    category: Int32

    def __len__(self) -> int:
        """Rows."""
        return len(self.start_ns)

    def take(self, rows: "Bool | npt.NDArray[np.intp]") -> "Spans":
        """The rows that a mask or an index array selects, in the same order."""
        return Spans(**{column: getattr(self, column)[rows] for column in self.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True)
class MatrixProduct:
    """The shape of one matrix product an operator was asked for."""

    external_id: int
    #: Rows × inner × columns, with every batch dimension multiplied in.
    batch: int
    m: int
    k: int
    n: int
    bytes_per_element: int


@dataclass(frozen=True, kw_only=True)
class Operations:
    """The least work that operators with recorded shapes ask of a device, one row a call, all arrays of shape (n,)."""

    #: What joins device work to the operator, never 0.
    external_id: Int64
    flops: Float64
    #: Every operand read once and the result written once.
    moved_bytes: Float64
    #: Index into ``DTYPES``.
    dtype: Int32
    #: Whether tensor cores do it; else the vector units.
    tensor: Bool

    def __len__(self) -> int:
        """Rows."""
        return len(self.external_id)


NO_OPERATIONS = Operations(
    external_id=np.empty(0, np.int64),
    flops=np.empty(0),
    moved_bytes=np.empty(0),
    dtype=np.empty(0, np.int32),
    tensor=np.empty(0, bool),
)


@dataclass(frozen=True, kw_only=True)
class Total:
    """Time that a file gives as a sum only, without when it passed."""

    name: str
    count: int
    total_ns: int


@dataclass(frozen=True, kw_only=True)
class Stacks:
    """Sampled stacks of host threads, one row a sample."""

    #: Names of the threads.
    threads: tuple[str, ...]
    #: Index into ``threads``, and the seconds a sample stands for, shape (n,).
    thread: Int32
    seconds: Float64
    #: Frames of all samples one after the other, root first: index into ``Trace.names``, and where each sample's
    #: frames begin, shape (n + 1,).
    frame: Int32
    first: Int64


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Something the importer could not use, counted."""

    kind: str
    count: int
    note: str
    #: How many of them were work on a device.
    device_count: int = 0
    #: They are used all the same.
    repaired: bool = False


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One profiler window in columns."""

    #: File name, without its folders.
    name: str
    #: Which of the processes that work together recorded it; None where neither the file nor its name says.
    rank: int | None = None
    #: How many there are, where the file says.
    world_size: int | None = None
    devices: Mapping[int, Device]
    names: tuple[str, ...]
    #: Kernels, copies and fills on devices.
    device: Spans
    #: CUDA API calls and operators on host threads.
    host: Spans
    #: Ranges the program marked, as they lay on the host, and their twins on the devices.
    host_marks: Spans
    device_marks: Spans
    products: tuple[MatrixProduct, ...]
    #: First and last instant of the profiler window.
    window_ns: tuple[int, int]
    #: Time the profiler itself took inside the window.
    overhead_ns: int
    losses: tuple[Loss, ...]
    operations: Operations = NO_OPERATIONS
    #: What a file holds that gives sums or samples in place of times.
    totals: tuple[Total, ...] = ()
    stacks: Stacks | None = None
    #: Why this kind of file cannot carry a verdict; None where it can.
    no_verdict: str | None = None
    #: Sentences of the importer that a reader must know.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunData:
    """A run folder in frames."""

    #: Folder name, without its parents.
    name: str
    run: Run
    #: A source's samples: columns ``t_ns`` (int64), ``subject``, then one float64 column a quantity, NaN where absent.
    samples: "Mapping[str, pd.DataFrame]"
    #: One row a scrape of a histogram: ``t_ns``, ``subject``, ``quantity``, ``edges``, ``cumulative``, ``sum``.
    histograms: "pd.DataFrame"
    #: One row a request: ``t_ns``, ``ttft_s``, ``e2e_latency_s``, ``input_tokens``, ``output_tokens``, ``error``; and
    #: where the source tells them ``queue_time_s``, ``prefill_s``, ``decode_s``.
    requests: "pd.DataFrame"
    events: tuple[Event, ...]
    #: Why a quantity is absent, by ``source/subject/quantity``.
    absences: Mapping[str, str]
    #: Names of the traces recorded with the run.
    traces: tuple[str, ...]
    #: One row a gap between two tokens of a request: ``t_ns`` of the request and ``itl_s``; None where nobody saw them.
    gaps: "pd.DataFrame | None" = None
    #: What is counted as one inference, in a sentence; None where the engine's page decides it.
    inference: str | None = None
    #: What the importer could not use, and sentences of it that a reader must know.
    losses: tuple[Loss, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def phases(self) -> tuple[Event, ...]:
        """The phases of load, in order of time; empty where nobody marked any."""
        return tuple(event for event in self.events if event.kind == "phase")
