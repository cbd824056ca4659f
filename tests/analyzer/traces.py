"""Build small Kineto documents: times are microseconds after the base, so that a test reads like a drawing."""

import json
from pathlib import Path
from typing import Any

from analyzer.columns import Trace
from analyzer.importers import kineto

BASE_NS = 1_790_000_000_000_000_000
#: Kineto writes 0 for a time it lost, so a document starts a little later.
ORIGIN_US = 1000.0

Json = dict[str, Any]


def kernel(
    at: float,
    us: float,
    name: str = "nvjet_gemm",
    *,
    correlation: Any = 0,
    stream: Any = 7,
    device: int = 0,
    args: Json | None = None,
) -> Json:
    """A kernel on a device."""
    own = {"device": device, "stream": stream, "correlation": correlation}
    return _event("kernel", name, at, us, pid=device, tid=stream, args=own | (args or {}))


def launch(at: float, us: float = 5, *, correlation: int, name: str = "cudaLaunchKernel") -> Json:
    """The call that launched a kernel or replayed a graph."""
    return _event("cuda_runtime", name, at, us, pid=100, tid=100, args={"correlation": correlation})


def operator(at: float, us: float, name: str = "aten::mm", *, args: Json | None = None) -> Json:
    """An operator on the host."""
    return _event("cpu_op", name, at, us, pid=100, tid=100, args=args or {})


def mark(at: float, us: float, name: str, *, device: int = 0) -> list[Json]:
    """A step's mark on the host with its twin on the device."""
    return [
        _event("user_annotation", name, at, us, pid=100, tid=100, args={}),
        _event("gpu_user_annotation", name, at, us, pid=device, tid=7, args={}),
    ]


def decode_step(at: float, us: float, requests: int = 1, *, device: int = 0) -> list[Json]:
    """A decode step's mark."""
    return mark(at, us, f"execute_context_0(0)_generation_{requests}({requests})", device=device)


def _event(category: str, name: str, at: float, us: float, **rest: Any) -> Json:
    return {"ph": "X", "cat": category, "name": name, "ts": ORIGIN_US + at, "dur": us, **rest}


def document(*events: Json | list[Json], gpu: str = "NVIDIA H200", **top: Any) -> Json:
    """A whole document."""
    flat = [event for entry in events for event in (entry if isinstance(entry, list) else [entry])]
    devices = [{"id": index, "name": gpu, "numSms": 132, "totalGlobalMem": 150_109_880_320} for index in range(8)]
    return {
        "schemaVersion": 1,
        "deviceProperties": devices,
        "baseTimeNanoseconds": BASE_NS,
        "traceEvents": flat,
        **top,
    }


def load(folder: Path, *events: Json | list[Json], **top: Any) -> Trace:
    """Write a document and import it."""
    return load_text(folder, json.dumps(document(*events, **top)).encode())


def load_text(folder: Path, text: bytes, name: str = "trace.json") -> Trace:
    """Write a file as it is and import it."""
    path = folder / name
    path.write_bytes(text)
    return kineto.load(path)
