"""Turn a raw recording of vLLM on an H200 into the run folder ``vllm_h200``.

    python sample_traces/make_vllm_h200.py RAW_DIR [--out DIR]

``RAW_DIR`` holds ``gpu.jsonl.gz`` (NVML and GPM, 10 Hz), ``metrics.prom.gz`` (the server's ``/metrics``, 1 Hz),
``requests.jsonl.gz`` (what the client saw), ``phases.jsonl`` and ``traces/``. The same input gives the same output.
"""

import argparse
import gzip
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from collector.catalogue import CLOCK_EVENT_BITS
from collector.schema import Absent, Engine, Event, Gpu, Histogram, Request, Run, Sample
from collector.scrape import decode
from collector.store import RunWriter

_PERCENT = 0.01
_MIB = 1_048_576.0
_MILLI = 1e-3
_MEGA = 1e6

#: Raw name → quantity and factor. GPM: over the 100 ms before the reading.
_GPM = {
    "graphics": ("graphics_active_ratio", _PERCENT),
    "sm_util": ("sm_active_ratio", _PERCENT),
    "sm_occ": ("sm_occupancy_ratio", _PERCENT),
    "int": ("integer_active_ratio", _PERCENT),
    "tensor": ("tensor_active_ratio", _PERCENT),
    "hmma": ("tensor_hmma_active_ratio", _PERCENT),
    "imma": ("tensor_imma_active_ratio", _PERCENT),
    "dram": ("dram_active_ratio", _PERCENT),
    "fp64": ("fp64_active_ratio", _PERCENT),
    "fp32": ("fp32_active_ratio", _PERCENT),
    "fp16": ("fp16_active_ratio", _PERCENT),
    "pcie_tx": ("pcie_tx_bytes_per_s", _MIB),
    "pcie_rx": ("pcie_rx_bytes_per_s", _MIB),
    "nvl_rx": ("nvlink_rx_bytes_per_s", _MIB),
    "nvl_tx": ("nvlink_tx_bytes_per_s", _MIB),
}
_NVML = {
    "util": ("gpu_utilization_ratio", _PERCENT),
    "memutil": ("memory_busy_ratio", _PERCENT),
    "mem_used": ("memory_used_bytes", 1.0),
    "power_mw": ("power_watts", _MILLI),
    "sm_mhz": ("sm_clock_hz", _MEGA),
    "mem_mhz": ("memory_clock_hz", _MEGA),
    "temp_c": ("temperature_celsius", 1.0),
}
_NO_GPM = Absent("no counter update in the 100 ms before")

#: The trace of each phase. The raw recording tells when it was taken, not what the file is called.
_TRACES = {
    "A0_idle": "idle",
    "A1_decode_c32": "decode_c32",
    "A2_decode_c256": "decode_c256",
    "A3_prefill": "prefill",
    "A4_lowrate": "low_rate",
    "A5_single": "single_stream",
}
_LOAD = {"conc": "concurrency", "rps": "requests_per_s", "nin": "input_tokens", "nout": "output_tokens"}

_PROVENANCE = (
    "Recorded on 2026-11-21 (UTC) beside an unmodified vLLM 0.23.0 (V1 engine, CUDA graphs, torch 2.11.0+cu130) on "
    "one NVIDIA H200 with 16 CPU cores. The model has the shape of Llama-3.1-8B (32 layers, width 4096, 32 heads, "
    "8 KV heads, feed-forward 14336, vocabulary 128,256) in bf16 with random weights; prompts are random token ids, "
    "decoding is greedy and ignores the end of sequence. One client process on the same host streamed "
    "/v1/completions. NVML and GPM were read at 10 Hz, /metrics once a second; each phase of load has one torch "
    "profiler window. Made by sample_traces/make_vllm_h200.py; paths of files on that host were cut to their names."
)


def main() -> None:
    """Read the options, write the folder, say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path, metavar="RAW_DIR")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "vllm_h200")
    options = parser.parse_args()
    make(options.raw, options.out)


def make(raw: Path, out: Path) -> None:
    """Write the run folder ``out``, which must not exist or be empty, from the recording ``raw``."""
    samples = [_gpu_sample(row) for row in _rows(raw / "gpu.jsonl.gz")]
    scrapes = list(_scrapes(raw / "metrics.prom.gz"))
    requests = [_request(row) for row in _rows(raw / "requests.jsonl.gz")]
    events = list(_events(raw / "phases.jsonl"))
    times = [sample.t_ns for sample in samples] + [record.t_ns for record in scrapes]
    with RunWriter.create(out, _run(min(times))) as writer:
        for records in (samples, scrapes, requests, events):
            writer.add(records)
        writer.flush()
        print(f"{len(samples)} samples, {len(scrapes)} scraped records, {len(requests)} requests, {len(events)} events")
        for path in sorted((raw / "traces").glob("*.json.gz")):
            text = _without_paths(gzip.decompress(path.read_bytes()).decode(), path.name)
            data = gzip.compress(text.encode(), mtime=0)
            writer.trace_path(path.name).write_bytes(data)
            print(f"traces/{path.name}: {len(text):,} bytes, {len(data):,} packed")
        writer.close(max(times))
    print(f"{out}: {sum(path.stat().st_size for path in out.rglob('*')):,} bytes")


def _run(started_ns: int) -> Run:
    gpu = Gpu(
        index=0,
        name="NVIDIA H200",
        memory_bytes=150_754_820_096,
        power_limit_watts=700.0,
        max_sm_clock_hz=1980e6,
        driver_version="580.159.04",
    )
    engine = Engine(
        name="vllm",
        version="0.23.0",
        model="Llama-3.1-8B shape, bf16, random weights",
        settings={"max_model_len": 8192, "gpu_memory_utilization": 0.6, "enable_prefix_caching": False},
    )
    return Run(
        run_id="vllm_h200", started_ns=started_ns, gpus=(gpu,), engine=engine, cpu_cores=16, provenance=_PROVENANCE
    )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    data = path.read_bytes()
    yield from map(json.loads, (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines())


def _ns(seconds: float) -> int:
    """Unix seconds as nanoseconds; the recording has microseconds, and a float no more than a quarter of one."""
    return round(seconds * 1e6) * 1000


def _gpu_sample(row: dict[str, Any]) -> Sample:
    """One reading of the GPU, in the catalogue's names and units."""
    counted = math.isfinite(row.get("dram", math.nan))
    values: dict[str, float | Absent] = {
        quantity: row[name] * factor if counted else _NO_GPM for name, (quantity, factor) in _GPM.items()
    }
    values |= {quantity: row[name] * factor for name, (quantity, factor) in _NVML.items()}
    # Asked for once a second, because the call costs 3 ms; in between it is not absent, nobody asked.
    if "energy_mj" in row:
        values["energy_joules_total"] = row["energy_mj"] * _MILLI
    values |= {quantity: float(bool(row["clk_reasons"] & bit)) for bit, quantity in CLOCK_EVENT_BITS.items()}
    return Sample(t_ns=_ns(row["t"]), source="nvml", subject=f"gpu:{row['gpu']}", values=values)


def _scrapes(path: Path) -> Iterator[Sample | Histogram]:
    """The server's pages, each after a line with the time it was read."""
    with gzip.open(path, "rt") as file:
        pages = file.read().split("# SCRAPE ")[1:]
    for scrape in pages:
        seconds, _, page = scrape.partition("\n")
        _, samples, histograms = decode(page, _ns(float(seconds)))
        yield from samples
        yield from histograms


def _request(row: dict[str, Any]) -> Request:
    return Request(
        t_ns=_ns(row["t0"]),
        ttft_s=row["ttft"],
        e2e_latency_s=row["e2e"],
        input_tokens=row["nin"],
        output_tokens=row["nout"],
        error=row["err"],
    )


def _events(path: Path) -> Iterator[Event]:
    """The phases of load, and the profiler window of each."""
    for row in _rows(path):
        if "profile" in row:
            asked, *_, stopped = row["profile"]
            name = f"{_TRACES[row['phase']]}.pt.trace.json.gz"
            yield Event(t_ns=_ns(asked), end_ns=_ns(stopped), kind="trace", name=name)
        else:
            name = "warm-up" if row["phase"] == "warm" else row["phase"]
            detail = {meaning: row[key] for key, meaning in _LOAD.items() if key in row}
            yield Event(t_ns=_ns(row["start"]), end_ns=_ns(row["end"]), kind="phase", name=name, detail=detail)


def _without_paths(text: str, name: str) -> str:
    """A trace without the folders of the host it was taken on; not a byte else is changed."""
    text = re.sub(r'("traceName": )"[^"]*"', rf'\1"{name}"', text)
    return re.sub(r'"/(?:[^"/]+/)+([^"/]+)"', r'"\1"', text)


if __name__ == "__main__":
    main()
