"""Record small torch profiler traces of plain PyTorch work with one clear answer each, on the GPU of this machine.

They are what the thresholds were *not* made on: no vLLM, no step marks, no CUDA graphs but one. Needs torch with CUDA::

    python sample_traces/make_torch_h200.py --out sample_traces/torch_h200
"""

import argparse
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path

#: Name → how often it runs inside the profiler.
REPEATS = {
    "gemm": 20,
    "stream_add": 30,
    "eager_mlp": 30,
    "graph_mlp": 100,
    "pageable_copies": 4,
    "python_then_gemm": 20,
}


def main() -> None:
    """Warm each piece of work up, trace it, and write its trace without a path of this machine."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with torch.inference_mode():
        for name, work in _work().items():
            for _ in range(3):
                work()
            torch.cuda.synchronize()
            with profile(activities=activities, record_shapes=True) as profiler:
                for _ in range(REPEATS[name]):
                    work()
                torch.cuda.synchronize()
            raw = out / f"{name}.json"
            profiler.export_chrome_trace(str(raw))
            trace = json.loads(raw.read_text())
            trace.pop("traceName", None)
            trace.pop("host_name", None)
            packed = gzip.compress(json.dumps(trace).encode(), mtime=0)
            (out / f"{name}.pt.trace.json.gz").write_bytes(packed)
            raw.unlink()
            print(f"{name}: {len(packed):,} bytes")


def _work() -> dict[str, Callable[[], object]]:
    """Each piece of work, by name."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    there = {"device": "cuda", "dtype": torch.bfloat16}
    left, right = torch.randn(8192, 8192, **there), torch.randn(8192, 8192, **there)
    large = torch.randn(1 << 28, **there)
    sum_of = torch.empty_like(large)
    pageable = torch.randn(1 << 26)
    row = torch.randn(1, 1024, **there)
    layers = [
        nn.Sequential(nn.LayerNorm(1024), nn.Linear(1024, 4096), nn.GELU(), nn.Linear(4096, 1024)) for _ in range(24)
    ]
    mlp = nn.Sequential(*layers).to(**there).eval()

    def captured() -> Callable[[], object]:
        with torch.inference_mode():
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                for _ in range(3):
                    mlp(row)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                mlp(row)
        return graph.replay

    def python_then_gemm() -> None:
        until = time.perf_counter() + 0.004
        while time.perf_counter() < until:
            sum(range(100))
        left @ right
        torch.cuda.synchronize()

    return {
        "gemm": lambda: left @ right,
        "stream_add": lambda: torch.add(large, 1.0, out=sum_of),
        "eager_mlp": lambda: mlp(row),
        "graph_mlp": captured(),
        "pageable_copies": lambda: (pageable.to("cuda"), left @ right),
        "python_then_gemm": python_then_gemm,
    }


if __name__ == "__main__":
    main()
