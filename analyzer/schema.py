"""What was concluded, and the columns it was concluded from.

``Analysis`` is the JSON contract: its fields, in this order, are the object ``analyze --format json`` prints.
Seconds are floats here, at the edge; inside a ``Trace`` time is int64 nanoseconds since the epoch. A key that
does not apply to the source is None; a number that could not be computed is None with a reason beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from collector.schema import Event, Run

Int64: TypeAlias = npt.NDArray[np.int64]
Int32: TypeAlias = npt.NDArray[np.int32]
Float64: TypeAlias = npt.NDArray[np.float64]
Bool: TypeAlias = npt.NDArray[np.bool_]

SCHEMA_VERSION = 1


class CannotTell(Exception):  # noqa: N818 - an answer, not an error
    """The evidence does not suffice; the message says which is missing."""


# ---------------------------------------------------------------------------------------------- what is read

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
class Loss:
    """Something the importer could not use, counted."""

    kind: str
    count: int
    note: str


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One profiler window in columns."""

    #: File name, without its folders.
    name: str
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


@dataclass(frozen=True, kw_only=True)
class RunData:
    """A run folder in frames."""

    #: Folder name, without its parents.
    name: str
    run: Run
    #: A source's samples: columns ``t_ns`` (int64), ``subject``, then one float64 column a quantity, NaN where absent.
    samples: Mapping[str, pd.DataFrame]
    #: One row a scrape of a histogram: ``t_ns``, ``subject``, ``quantity``, ``edges``, ``cumulative``, ``sum``.
    histograms: pd.DataFrame
    #: One row a request: ``t_ns``, ``ttft_s``, ``e2e_latency_s``, ``input_tokens``, ``output_tokens``, ``error``.
    requests: pd.DataFrame
    events: tuple[Event, ...]
    #: Why a quantity is absent, by ``source/subject/quantity``.
    absences: Mapping[str, str]
    #: Names of the traces recorded with the run.
    traces: tuple[str, ...]

    @property
    def phases(self) -> tuple[Event, ...]:
        """The phases of load, in order of time; empty where nobody marked any."""
        return tuple(event for event in self.events if event.kind == "phase")


# ------------------------------------------------------------------------------------------ what is reasoned


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Where the wall time of each window went, and what was observed beside it: all a rule may look at.

    A trace and a run give the same shape, so a rule is written once. ``parts`` is a partition: in every window
    the parts add up to the window's observed seconds, averaged over the devices.
    """

    #: ``trace`` or ``samples``.
    kind: Literal["trace", "samples"]
    start_ns: Int64
    end_ns: Int64
    #: Part → seconds in each window, shape (n,). The parts are named in ``analyzer.evidence.PARTS``.
    parts: Mapping[str, Float64]
    #: Signal → its mean in each window, shape (n,), NaN where it was not observed.
    signals: Mapping[str, Float64]
    #: Signal → why it was not observed; part → why no rule could explain it.
    missing: Mapping[str, str]
    #: Tokens a step needs to leave the memory roof of this GPU; None where the GPU is not known.
    ridge_tokens: float | None = None

    def signal(self, name: str) -> Float64:
        """A signal in each window.

        Raises:
            CannotTell: It was not observed; the message says why.
        """
        if name not in self.signals:
            raise CannotTell(f"no {name}: {self.missing.get(name, 'not observed')}")
        return self.signals[name]

    def take(self, rows: "Bool | npt.NDArray[np.intp]") -> "Evidence":
        """The same evidence for some of the windows."""
        return Evidence(
            kind=self.kind,
            start_ns=self.start_ns[rows],
            end_ns=self.end_ns[rows],
            parts={name: values[rows] for name, values in self.parts.items()},
            signals={name: values[rows] for name, values in self.signals.items()},
            missing=self.missing,
            ridge_tokens=self.ridge_tokens,
        )

    @property
    def ridge_words(self) -> str:
        """The ridge for the threshold of a ``Fact``: ``206 tokens, this GPU's ridge``."""
        return "the GPU's ridge" if self.ridge_tokens is None else f"{self.ridge_tokens:.0f} tokens, this GPU's ridge"

    def mean(self, name: str, weights: Float64) -> float | None:
        """A signal's mean over the windows that have it, weighted; None where none that weighs has it."""
        values = self.signals.get(name, np.full(len(weights), np.nan))
        used = np.isfinite(values) & (weights > 0)
        return float(np.average(values[used], weights=weights[used])) if used.any() else None

    @property
    def device_source(self) -> str:
        """Where the figures about the GPU were read, for a ``Fact``."""
        return {"trace": "kernels of the trace", "samples": "NVML samples"}[self.kind]

    @property
    def serving_source(self) -> str:
        """Where the figures about requests and steps were read, for a ``Fact``."""
        return {"trace": "step marks of the trace", "samples": "the engine's /metrics"}[self.kind]

    @property
    def observed_s(self) -> Float64:
        """Seconds of each window that the parts account for."""
        summed: Float64 = np.sum([np.zeros(len(self.start_ns)), *self.parts.values()], axis=0)
        return summed


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One piece of evidence: a measure, its value, what it is held against, and where it was read."""

    measure: str
    value: float | None
    #: What the value would have to pass for another conclusion, in words.
    threshold: str
    where: str
    #: ``ratio`` (0–1, shown as a percentage), ``tokens``, ``requests``, ``cores``, ``s``, …
    unit: str = "ratio"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one rule claims of each window. Rules claim disjoint parts, so claims never overlap."""

    #: Seconds of each window held back by this rule's class, shape (n,).
    claimed_s: Float64
    #: Of those, the most a remedy could win back.
    recoverable_s: Float64
    evidence: tuple[Fact, ...]
    #: How far this rule trusts its own claim, 0–1.
    confidence: float


# ---------------------------------------------------------------------------------------- what is concluded


@dataclass(frozen=True, kw_only=True)
class Source:
    """What was analysed."""

    #: ``trace`` or ``run``.
    kind: Literal["trace", "run"]
    name: str
    started_s: float
    duration_s: float
    gpus: tuple[str, ...]
    engine: str | None
    #: Of a run: the traces recorded with it.
    traces: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How much of what should be there is there."""

    #: 0–1: share of the analysed time that the evidence covers.
    coverage: float
    losses: tuple[Loss, ...]
    #: Sentences a reader must know before trusting the figures.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Share:
    """One bottleneck class's part of the wall time."""

    bottleneck: str
    share: float
    recoverable_s: float
    #: Throughput if all of it were won back: T / (T − R); None where that has no bound.
    gain_ceiling_ratio: float | None
    evidence: tuple[Fact, ...]
    #: The first thing to try, in one sentence.
    remedy: str


@dataclass(frozen=True, kw_only=True)
class VerdictWindow:
    """The verdict on a part of a run, for the ribbon and the table of phases."""

    #: Name of the phase; None for a plain window.
    name: str | None
    start_s: float
    end_s: float
    bottleneck: str
    confidence: float
    abstained: str | None
    shares: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What holds the server back, or why that cannot be told."""

    bottleneck: str
    confidence: float
    #: None, or the reason why no bottleneck is named.
    abstained: str | None
    #: By recoverable time, largest first; the shares sum to 1 (or the tuple is empty: nothing was observed).
    shares: tuple[Share, ...]
    runner_up: str | None = None
    phases: tuple[VerdictWindow, ...] = ()
    windows: tuple[VerdictWindow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DeviceBudget:
    """Where one device's time went. Parts sum to ``span_s`` exactly, in integer nanoseconds before division."""

    device: int
    span_s: float
    compute_s: float
    exposed_communication_s: float
    exposed_copy_s: float
    idle_s: float
    #: Of the idle time: the launch had not come yet.
    idle_launch_s: float
    #: Of the idle time: the launch had come, the device waited for itself.
    idle_device_s: float

    @property
    def busy_ratio(self) -> float:
        """Share of the span in which the device did anything."""
        return 1 - self.idle_s / self.span_s if self.span_s else 0.0


@dataclass(frozen=True, kw_only=True)
class GpuUse:
    """One GPU's means over a run, capture windows left out; None where it was not measured."""

    device: int
    #: Quantity of the catalogue → mean.
    means: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class UseWindow:
    """Means over the GPUs in one part of a run."""

    name: str | None
    start_s: float
    end_s: float
    means: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Where the time went: of a trace by device, of a run by GPU."""

    #: The time the figures speak of.
    span_s: float
    busy_s: float
    idle_s: float
    devices: tuple[DeviceBudget, ...] = ()
    gpus: tuple[GpuUse, ...] = ()
    phases: tuple[UseWindow, ...] = ()
    windows: tuple[UseWindow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StepGroup:
    """The steps of one phase of LLM work."""

    #: ``prefill``, ``decode`` or ``mixed``.
    phase: str
    count: int
    #: Start to start, medians over the group.
    duration_p50_s: float
    batch_p50: float
    tokens_p50: float
    tokens_per_s: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """One LLM step, start to start of the next."""

    phase: str
    start_s: float
    duration_s: float
    batch: int
    tokens: int
    busy_ratio: float


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The LLM steps of a trace."""

    groups: tuple[StepGroup, ...]
    #: Steps left out of the groups and the verdict: the first ones of a capture are slow.
    warm_up: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One kernel name's total."""

    name: str
    #: ``gemm``, ``attention``, ``normalisation``, ``elementwise``, ``copy``, ``communication``, ``other``.
    family: str
    count: int
    total_s: float
    mean_s: float
    #: Of the time of all device work.
    share: float
    #: ``compute``, ``memory`` or None where the trace does not tell.
    bound: str | None


@dataclass(frozen=True, kw_only=True)
class Percentile:
    """One percentile and how well it is known."""

    #: 0–1.
    q: float
    #: None where it lies above the last finite bucket, or n is 0.
    value_s: float | None
    #: The interval that holds it: of the bucket, or of the order statistics at 95 %. None is unbounded.
    low_s: float | None
    high_s: float | None
    #: ``resolution-limited``, ``low n``, … or None.
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class LatencyStats:
    """One latency measure over one window."""

    #: ``ttft_s``, ``tpot_s``, ``e2e_latency_s``, ``queue_time_s``, …
    measure: str
    #: ``requests`` (each one known) or ``histogram`` (scraped buckets).
    origin: Literal["requests", "histogram"]
    n: int
    mean_s: float | None
    percentiles: tuple[Percentile, ...]


@dataclass(frozen=True, kw_only=True)
class LatencyWindow:
    """Latency and throughput of one part of a run."""

    name: str | None
    start_s: float
    end_s: float
    stats: tuple[LatencyStats, ...]
    #: Little's law: mean waiting over the rate of completion; an estimate, None where nothing completed.
    queue_delay_s: float | None
    requests_per_s: float | None
    input_tokens_per_s: float | None
    output_tokens_per_s: float | None
    requests_running: float | None
    requests_waiting: float | None

    def stat(self, measure: str) -> LatencyStats | None:
        """The best statistics of a measure: from requests where there are some, else from buckets."""
        mine = [stats for stats in self.stats if stats.measure == measure]
        return min(mine, key=lambda stats: stats.origin != "requests", default=None)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Latency over a whole run, by phase, and over time."""

    overall: LatencyWindow
    phases: tuple[LatencyWindow, ...]
    windows: tuple[LatencyWindow, ...]


@dataclass(frozen=True, kw_only=True)
class Price:
    """One price, with everything needed to judge it."""

    gpu: str
    usd_per_gpu_hour: float
    provider: str
    sku: str
    region: str
    market: str
    source: str
    read_on: str


@dataclass(frozen=True, kw_only=True)
class CostWindow:
    """The cost of one part of a run."""

    name: str | None
    start_s: float
    end_s: float
    usd: float | None
    requests_ok: int | None
    requests_failed: int | None
    usd_per_1000: float | None
    #: The same without the time in which nothing ran: what the next thousand would cost on a full server.
    usd_per_1000_busy: float | None
    #: Share of the time with no request running.
    idle_ratio: float | None
    usd_per_million_tokens: float | None
    joules_per_request: float | None
    #: Why a figure is missing.
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a thousand inferences cost, and the price that was used."""

    price: Price | None
    gpus: int
    overall: CostWindow
    phases: tuple[CostWindow, ...]
    windows: tuple[CostWindow, ...]


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything concluded from one source; the JSON contract."""

    schema_version: int = SCHEMA_VERSION
    source: Source
    quality: Quality
    verdict: Verdict
    budget: Budget | None = None
    steps: Steps | None = None
    kernels: tuple[Kernel, ...] | None = None
    latency: Latency | None = None
    cost: Cost | None = None
