"""Run folders that a test writes: a server that answers ever more requests, one sample a tenth of a second."""

from pathlib import Path

from collector.schema import Engine, Event, Gpu, Request, Run, Sample
from collector.store import RunWriter

NS = 1_000_000_000
START_NS = 1_795_280_336 * NS


def start(path: Path) -> RunWriter:
    """A run that is being recorded."""
    gpu = Gpu(index=0, name="NVIDIA H200", memory_bytes=150_000_000_000, power_limit_watts=700.0)
    engine = Engine(name="vllm", version="0.23.0", model="llama")
    return RunWriter.create(path, Run(run_id=path.name, started_ns=START_NS, gpus=(gpu,), engine=engine, cpu_cores=16))


def record(writer: RunWriter, second: int, seconds: int = 5, *, tensor: float = 0.8) -> None:
    """Seconds of a busy server, from one second of the run on."""
    for tick in range(10 * second, 10 * (second + seconds)):
        t_ns = START_NS + tick * NS // 10
        writer.add([_gpu(t_ns, tensor)])
        if tick % 10 == 0:
            writer.add([_serving(t_ns, tick // 10), *(_request(t_ns) for _ in range(3))])
    writer.flush()


def finished(path: Path, seconds: int = 10) -> Path:
    """A whole run with one phase."""
    with start(path) as writer:
        record(writer, 0, seconds)
        end_ns = START_NS + seconds * NS
        writer.add([Event(t_ns=START_NS, kind="phase", name="steady", end_ns=end_ns)])
        writer.close(ended_ns=end_ns)
    return path


def _gpu(t_ns: int, tensor: float) -> Sample:
    values = {
        "gpu_utilization_ratio": 1.0,
        "sm_active_ratio": 0.95,
        "tensor_active_ratio": tensor,
        "dram_active_ratio": 0.2,
        "power_watts": 650.0,
        "sm_clock_hz": 1.98e9,
    }
    return Sample(t_ns=t_ns, source="nvml", subject="gpu:0", values=values)


def _serving(t_ns: int, second: int) -> Sample:
    values = {
        "requests_running": 8.0,
        "requests_waiting": 0.0,
        "requests_ok_total": 3.0 * second,
        "requests_failed_total": 0.0,
        "input_tokens_total": 3000.0 * second,
        "output_tokens_total": 300.0 * second,
    }
    return Sample(t_ns=t_ns, source="serving", subject="engine:0", values=values)


def _request(t_ns: int) -> Request:
    return Request(t_ns=t_ns, ttft_s=0.05, e2e_latency_s=0.9, input_tokens=1000, output_tokens=100)
