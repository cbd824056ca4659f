"""What was measured: a Run, and the Samples, Histograms, Requests and Events in it.

Times are int64 nanoseconds since the Unix epoch. Quantities are the names of ``collector.catalogue``. A value
that could not be read is an ``Absent`` with its reason, never zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU, as the driver names it."""

    index: int
    name: str
    #: Stable identity; empty where the recording was anonymised.
    uuid: str = ""
    memory_bytes: int | None = None
    power_limit_watts: float | None = None
    max_sm_clock_hz: float | None = None
    driver_version: str | None = None


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The inference server that was watched."""

    name: str
    version: str | None = None
    model: str | None = None
    #: Settings that change what the numbers mean, as the server states them (``max_num_seqs``, …).
    settings: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One recording of one server (or replica) on one host: what ``run.json`` holds."""

    run_id: str
    started_ns: int
    gpus: tuple[Gpu, ...] = ()
    engine: Engine | None = None
    #: Logical CPU cores the server could use.
    cpu_cores: int | None = None
    #: Where the recording comes from and how it was made, for a reader years later.
    provenance: str = ""
    #: Set when the recording was closed in order; None while it is written, and after a crash.
    ended_ns: int | None = None
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Absent:
    """A value that could not be read, with the reason a person can act on."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One reading of one source at one instant."""

    t_ns: int
    #: The source that read it: ``nvml``, ``host``, ``serving``, …; one word, the name of its file.
    source: str
    #: What was read: ``gpu:0``, ``engine:0``, ``process:api_server``, …
    subject: str
    values: Mapping[str, float | Absent]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """One scrape of one cumulative histogram of the engine, as it counted since its start."""

    t_ns: int
    subject: str
    #: A quantity whose kind is histogram, such as ``ttft_s``.
    quantity: str
    #: Upper bounds of the finite buckets, rising.
    edges: tuple[float, ...]
    #: Observations at or below each edge, then all of them (the bucket ``+Inf``): one more than the edges.
    cumulative: tuple[float, ...]
    sum: float


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as its client saw it: the truth that server histograms are checked against."""

    #: When the client sent it.
    t_ns: int
    ttft_s: float | None
    e2e_latency_s: float | None
    input_tokens: int | None
    output_tokens: int | None
    #: None when it succeeded.
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened: a phase of load, a trace that was taken, a restart, a gap."""

    t_ns: int
    #: ``phase``, ``trace``, ``gap``, ``restart``, ``clock_jump``, …
    kind: str
    name: str
    #: None for an instant.
    end_ns: int | None = None
    detail: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
