"""Build small runs: times are seconds after the start, so that a test states only what matters to it.

A run starts at an instant of today, because nanoseconds since the epoch do not fit a float64.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analyzer.columns import Int64, RunData
from collector.schema import Engine, Event, Gpu, Request, Run

START_NS = 1_795_280_336_123_456_789
NS = 1_000_000_000

#: What an H200 reads in steady decode.
DECODE = {
    "graphics_active_ratio": 1.0,
    "gpu_utilization_ratio": 1.0,
    "sm_active_ratio": 0.77,
    "tensor_active_ratio": 0.18,
    "dram_active_ratio": 0.58,
    "power_watts": 605.0,
}
#: What it reads while it has nothing to do.
IDLE = dict.fromkeys(DECODE, 0.0) | {"power_watts": 124.0}


def at(seconds: float) -> int:
    """The instant, in nanoseconds since the epoch."""
    return START_NS + round(seconds * NS)


def spans(*edges_s: float) -> tuple[Int64, Int64]:
    """Adjacent windows between these edges."""
    edges = np.array([at(edge) for edge in edges_s], np.int64)
    return edges[:-1], edges[1:]


def gpu(
    seconds: float = 10, *, subject: str = "gpu:0", hz: float = 10, at_s: float = 0, **read: npt.ArrayLike
) -> pd.DataFrame:
    """A GPU's readings: the first at ``at_s``, then one at the end of each interval; in decode unless told."""
    return _frame(seconds, subject, hz, at_s, DECODE | read)


def idle_gpu(seconds: float = 10, **rest: Any) -> pd.DataFrame:
    """The readings of a GPU with nothing to do."""
    return gpu(seconds, **IDLE | rest)


def serving(
    seconds: float = 10, *, subject: str = "engine:0", hz: float = 1, at_s: float = 0, **read: npt.ArrayLike
) -> pd.DataFrame:
    """A server's scrapes: eight requests run and none waits unless told."""
    return _frame(seconds, subject, hz, at_s, {"requests_running": 8.0, "requests_waiting": 0.0} | read)


def _frame(seconds: float, subject: str, hz: float, at_s: float, read: Mapping[str, npt.ArrayLike]) -> pd.DataFrame:
    instants = np.array([at(at_s + index / hz) for index in range(round(seconds * hz) + 1)], np.int64)
    columns = {name: np.broadcast_to(np.asarray(value, np.float64), instants.shape) for name, value in read.items()}
    return pd.DataFrame({"t_ns": instants, "subject": pd.array([subject] * len(instants), dtype="str"), **columns})


def scrape(at_s: float, cumulative: Sequence[float], **fields: Any) -> dict[str, Any]:
    """One scrape of a histogram with edges at 0.1, 0.2, … s, one fewer than it has counts."""
    edges = tuple(round(0.1 * (place + 1), 1) for place in range(len(cumulative) - 1))
    row = {"t_ns": at(at_s), "subject": "engine:0", "quantity": "ttft_s", "edges": edges, "sum": 0.0}
    return row | {"cumulative": tuple(cumulative)} | fields


def request(at_s: float, **fields: Any) -> dict[str, Any]:
    """One request that succeeded."""
    answered = Request(t_ns=at(at_s), ttft_s=0.05, e2e_latency_s=1.05, input_tokens=100, output_tokens=101)
    return {name: getattr(answered, name) for name in _REQUEST} | fields


def phase(start_s: float, end_s: float | None, name: str = "load") -> Event:
    """A phase of load; None has not ended yet."""
    return Event(t_ns=at(start_s), end_ns=None if end_s is None else at(end_s), kind="phase", name=name)


def capture(start_s: float, end_s: float | None) -> Event:
    """A profiler capture."""
    return Event(t_ns=at(start_s), end_ns=None if end_s is None else at(end_s), kind="trace", name="t.json")


_HISTOGRAM = ("t_ns", "subject", "quantity", "edges", "cumulative", "sum")
_REQUEST = ("t_ns", "ttft_s", "e2e_latency_s", "input_tokens", "output_tokens", "error")


def run(
    *sources: pd.DataFrame,
    histograms: Sequence[Mapping[str, Any]] = (),
    requests: Sequence[Mapping[str, Any]] = (),
    events: Sequence[Event] = (),
    gpus: Sequence[str] = ("NVIDIA H200",),
    **fields: Any,
) -> RunData:
    """A run of these frames of ``gpu`` and ``serving``; without any, of one of each."""
    samples: dict[str, list[pd.DataFrame]] = {}
    for frame in sources or (gpu(), serving()):
        samples.setdefault("serving" if "requests_running" in frame else "nvml", []).append(frame)
    asked = pd.DataFrame(list(requests), columns=pd.Index(_REQUEST)).sort_values("t_ns", kind="stable")
    defaults: dict[str, Any] = {
        "name": "run",
        "run": Run(
            run_id="run",
            started_ns=START_NS,
            gpus=tuple(Gpu(index=index, name=name) for index, name in enumerate(gpus)),
            engine=Engine(name="vllm", version="0.23.0"),
        ),
        "samples": {
            source: pd.concat(frames).sort_values(["t_ns", "subject"], ignore_index=True)
            for source, frames in samples.items()
        },
        "histograms": pd.DataFrame(list(histograms), columns=pd.Index(_HISTOGRAM)).sort_values("t_ns", kind="stable"),
        "requests": asked.astype(dict.fromkeys(_REQUEST[1:-1], np.float64) | {"t_ns": np.int64, "error": "str"}),
        "events": tuple(sorted(events, key=lambda event: event.t_ns)),
        "absences": {},
        "traces": (),
    }
    return RunData(**defaults | fields)
