"""Records with defaults, so that a test states only what matters."""

from collections.abc import Mapping

from collector.schema import Absent, Event, Histogram, Request, Run, Sample

NS = 1_000_000_000


def run(run_id: str = "test") -> Run:
    return Run(run_id=run_id, started_ns=0)


def sample(
    t_ns: int = 0,
    values: Mapping[str, float | Absent] | None = None,
    *,
    subject: str = "gpu:0",
    source: str = "nvml",
) -> Sample:
    return Sample(t_ns=t_ns, source=source, subject=subject, values=values or {"power_watts": 400.0})


def histogram(
    t_ns: int = 0,
    cumulative: tuple[float, ...] = (1.0, 2.0, 3.0),
    *,
    quantity: str = "ttft_s",
    subject: str = "engine:0",
) -> Histogram:
    return Histogram(t_ns=t_ns, subject=subject, quantity=quantity, edges=(0.1, 0.2), cumulative=cumulative, sum=0.5)


def request(t_ns: int = 0, error: str | None = None) -> Request:
    return Request(t_ns=t_ns, ttft_s=0.02, e2e_latency_s=1.5, input_tokens=128, output_tokens=256, error=error)


def event(t_ns: int = 0, kind: str = "phase", name: str = "decode") -> Event:
    return Event(t_ns=t_ns, kind=kind, name=name, end_ns=t_ns + NS, detail={"concurrency": 8, "note": None})
