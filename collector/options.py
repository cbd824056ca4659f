"""What a collector may be told, once, whoever tells it: a flag, ``INFEROMETER_*``, or a TOML file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Options:
    """Everything the collector and its sources can be told; the defaults are right for a sidecar."""

    #: Where to record a run folder; None only serves metrics.
    run: Path | None = None
    #: Base URL of the inference server, such as ``http://127.0.0.1:8000``.
    endpoint: str | None = None
    #: Name of a plugin in ``collector.engines``; None recognises it by its metrics.
    engine: str | None = None
    #: A process of the server; None finds it from the endpoint's port, or from the GPU's processes.
    pid: int | None = None
    #: ``HOST:PORT`` on which metrics are served.
    listen: str = "127.0.0.1:9464"
    #: Seconds between two readings of a source.
    interval_s: float = 1.0
    #: The same for the GPU; None is ``interval_s``. GPM is never asked for windows under 100 ms.
    gpu_interval_s: float | None = None
    #: Stop after so many seconds; None runs until it is told to stop.
    duration_s: float | None = None
    #: Names of the sources to run; None runs every one.
    sources: tuple[str, ...] | None = None
    #: Rates are lowered before the collector itself uses more than this share of one core.
    max_cpu_ratio: float = 0.01
    #: Also export GPU metrics under the names that another exporter gives them.
    compat: Literal["dcgm"] | None = None
    #: What is older is dropped from the run folder, ten minutes at a time; None keeps it, whatever its age.
    keep_for_s: float | None = None
    #: The oldest is dropped before the run folder's database takes more than this; 0 keeps everything.
    keep_size_bytes: int = 10_000_000_000
    #: Recording pauses while the disk has less than this left; None is 500 MB, or 2 % of a disk of less than 25 GB.
    keep_free_bytes: int | None = None
    #: Dollars for a GPU-hour; with it what the server costs is exported.
    price_per_gpu_hour_usd: float | None = None
    #: GPUs that the server is billed for, 0.5 for half of one; None is every GPU that is seen.
    billed_gpus: float | None = None
    #: A server no plugin knows: metric family → quantity of the catalogue.
    generic: Mapping[str, str] = field(default_factory=dict)
    #: Where the system's own trees lie; tests bring theirs.
    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
