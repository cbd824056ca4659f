"""Small valid analyses, so that a test states only what matters to it.

Every builder takes the fields of its dataclass as keywords and fills the rest with plausible figures.
"""

from dataclasses import replace
from typing import Any, TypeVar

from analyzer.columns import Loss
from analyzer.evidence import Fact
from analyzer.schema import (
    Analysis,
    Budget,
    Cost,
    CostWindow,
    DeviceBudget,
    FamilyRoofline,
    GpuUse,
    Invoice,
    InvoicePart,
    Kernel,
    Latency,
    LatencyStats,
    LatencyWindow,
    Offer,
    Percentile,
    Price,
    Quality,
    Roofline,
    Service,
    Share,
    Slo,
    SloWindow,
    Source,
    Step,
    StepGroup,
    Steps,
    StreamBudget,
    UseWindow,
    Verdict,
    VerdictWindow,
)

W = TypeVar("W", VerdictWindow, UseWindow, LatencyWindow, SloWindow, CostWindow)

START_S = 1_795_280_336.0

_USE: dict[str, float | None] = {
    "gpu_utilization_ratio": 0.79,
    "sm_active_ratio": 0.55,
    "tensor_active_ratio": 0.04,
    "dram_active_ratio": 0.5,
    "power_watts": 412.0,
}


def fact(**fields: Any) -> Fact:
    defaults: dict[str, Any] = {
        "measure": "GPU idle while requests wait",
        "value": 0.42,
        "threshold": "> 10 %",
        "where": "trace",
    }
    return Fact(**defaults | fields)


def share(bottleneck: str = "host_overhead", part: float = 0.62, **fields: Any) -> Share:
    defaults: dict[str, Any] = {
        "bottleneck": bottleneck,
        "share": part,
        "recoverable_s": part * 0.7,
        "gain_ceiling_ratio": 1 / (1 - part * 0.7),
        "evidence": (fact(), fact(measure="median launch gap", value=18.2e-6, threshold="> 10 µs", unit="s")),
        "remedy": f"Turn on CUDA graphs: they launch a whole step at once ({bottleneck}).",
    }
    return Share(**defaults | fields)


def verdict_window(name: str | None = None, index: int = 0, **fields: Any) -> VerdictWindow:
    defaults: dict[str, Any] = {
        "name": name,
        "start_s": START_S + 20 * index,
        "end_s": START_S + 20 * (index + 1),
        "bottleneck": "batching",
        "confidence": 0.93,
        "abstained": None,
        "shares": {"batching": 0.7, "memory_bandwidth": 0.3},
    }
    return VerdictWindow(**defaults | fields)


def verdict(**fields: Any) -> Verdict:
    defaults: dict[str, Any] = {
        "bottleneck": "host_overhead",
        "confidence": 0.88,
        "abstained": None,
        "shares": (share(), share("memory_bandwidth", 0.3), share("compute", 0.08)),
        "runner_up": "memory_bandwidth",
    }
    return Verdict(**defaults | fields)


def abstention(reason: str = "no kernel ran in the window") -> Verdict:
    unknown = share("unknown", 1.0, recoverable_s=0.0, gain_ceiling_ratio=None, evidence=(), remedy="Trace under load.")
    return Verdict(bottleneck="unknown", confidence=0.0, abstained=reason, shares=(unknown,))


def kernel(name: str = "nvjet_tst_64x32_64x16_4x1_v_bz_TNT", **fields: Any) -> Kernel:
    defaults: dict[str, Any] = {
        "name": name,
        "family": "gemm",
        "count": 1200,
        "total_s": 0.21,
        "mean_s": 0.21 / 1200,
        "share": 0.55,
        "bound": "memory",
    }
    return Kernel(**defaults | fields)


def stats(measure: str = "ttft_s", middle_s: float = 0.043, **fields: Any) -> LatencyStats:
    defaults: dict[str, Any] = {
        "measure": measure,
        "origin": "requests",
        "n": 690,
        "mean_s": middle_s * 1.1,
        "percentiles": tuple(
            Percentile(
                q=q,
                value_s=middle_s * factor,
                low_s=middle_s * factor * 0.97,
                high_s=middle_s * factor * 1.04,
            )
            for q, factor in ((0.5, 1.0), (0.95, 2.0), (0.99, 3.1))
        ),
    }
    return LatencyStats(**defaults | fields)


def latency_window(name: str | None = None, index: int = 0, **fields: Any) -> LatencyWindow:
    defaults: dict[str, Any] = {
        "name": name,
        "start_s": START_S + 20 * index,
        "end_s": START_S + 20 * (index + 1),
        "stats": (stats(), stats("tpot_s", 0.0064), stats("e2e_latency_s", 1.68)),
        "queue_delay_s": 0.012,
        "queue_delay_low_s": 0.01,
        "queue_delay_high_s": 0.012,
        "requests_per_s": 34.5,
        "input_tokens_per_s": 8830.0,
        "output_tokens_per_s": 8830.0,
        "requests_running": 31.2,
        "requests_waiting": 0.4,
    }
    return LatencyWindow(**defaults | fields)


def use_window(name: str | None = None, index: int = 0, **means: float | None) -> UseWindow:
    start_s = START_S + 20 * index
    return UseWindow(name=name, start_s=start_s, end_s=start_s + 20, means=_USE | means)


def cost_window(name: str | None = None, index: int = 0, **fields: Any) -> CostWindow:
    defaults: dict[str, Any] = {
        "name": name,
        "start_s": START_S + 20 * index,
        "end_s": START_S + 20 * (index + 1),
        "usd": 0.0213,
        "requests_ok": 690,
        "requests_failed": 2,
        "usd_per_1000": 0.0309,
        "usd_per_1000_busy": 0.0295,
        "idle_ratio": 0.045,
        "usd_per_million_tokens": 0.0603,
        "joules_per_request": 14.2,
    }
    return CostWindow(**defaults | fields)


def invoice(**usd: float) -> Invoice:
    """What forty seconds paid for, part by part."""
    parts = usd or {"startup": 0.0031, "answered": 0.0352, "failed": 0.0001, "idle": 0.0042}
    return Invoice(
        usd=sum(parts.values()),
        power_usd=0.0,
        parts=tuple(InvoicePart(part=name, usd=each, seconds=40 / len(parts)) for name, each in parts.items()),
    )


def price(**fields: Any) -> Price:
    defaults: dict[str, Any] = {
        "gpu": "NVIDIA H200",
        "usd_per_gpu_hour": 3.83,
        "provider": "example cloud",
        "sku": "gpu-h200-1x",
        "region": "us-east",
        "market": "on demand",
        "source": "example cloud price list",
        "read_on": "2026-11-21",
    }
    return Price(**defaults | fields)


def quality(**fields: Any) -> Quality:
    defaults: dict[str, Any] = {
        "coverage": 0.97,
        "losses": (Loss(kind="cut_span", count=3, note="spans cut off by the end of the window"),),
        "notes": ("the profiler itself took 1.2 % of the window",),
    }
    return Quality(**defaults | fields)


def family_roofline(family: str = "gemm", **fields: Any) -> FamilyRoofline:
    """A family half of whose kernels carry shapes."""
    defaults: dict[str, Any] = {
        "family": family,
        "time_share": 0.65,
        "known_ratio": 0.5,
        "bound": "memory",
        "flops_per_s": 80e12,
        "bytes_per_s": 2.5e12,
        "intensity_flops_per_byte": 32.0,
        "efficiency_ratio": 0.52,
        "warning": None,
        "reason": None,
    }
    return FamilyRoofline(**defaults | fields)


def roofline(**fields: Any) -> Roofline:
    """The roofs of an H200, one family below them and one that nothing is known of; no model was given."""
    nothing = dict.fromkeys(
        ("bound", "flops_per_s", "bytes_per_s", "intensity_flops_per_byte", "efficiency_ratio"),
    )
    defaults: dict[str, Any] = {
        "gpu": "H200",
        "tensor_flops_per_s": {"bf16": 989e12},
        "achieved_flops_per_s": {"bf16": 797e12},
        "vector_flops_per_s": 67e12,
        "dram_bytes_per_s": 4.8e12,
        "achieved_bytes_per_s": 4.29e12,
        "source": "a datasheet",
        "reason": None,
        "model": None,
        "families": (
            family_roofline(),
            family_roofline("attention", time_share=0.3, known_ratio=0.0, reason="no shapes", **nothing),
        ),
        "steps": (),
        "steps_reason": "decode steps: no shapes",
        "warnings": (),
    }
    return Roofline(**defaults | fields)


def trace_analysis(**fields: Any) -> Analysis:
    """What a torch profiler trace of one GPU gives: no latency, no cost."""
    device = DeviceBudget(
        device=0,
        span_s=0.5,
        compute_s=0.19,
        exposed_communication_s=0.0,
        exposed_copy_s=0.01,
        idle_s=0.3,
        idle_launch_s=0.28,
        idle_device_s=0.02,
        idle={"host_sync": 0.2, "host_unseen": 0.08, "device_graph": 0.02},
        streams=(StreamBudget(stream=7, count=4480, busy_s=0.2),),
    )
    step = Step(
        phase="decode",
        start_s=START_S,
        duration_s=0.0064,
        batch=32,
        tokens=32,
        busy_ratio=0.4,
        compute_s=0.00256,
        exposed_communication_s=0.0,
        exposed_copy_s=0.0,
        idle_s=0.00384,
        gap_s=0.0036,
    )
    group = StepGroup(
        phase="decode",
        count=70,
        duration_p50_s=0.0064,
        batch_p50=32.0,
        tokens_p50=32.0,
        tokens_per_s=5000.0,
        idle_ratio=0.6,
        gap_p50_s=0.0036,
        idle={"host_sync": 0.2, "host_unseen": 0.06},
    )
    defaults: dict[str, Any] = {
        "source": Source(
            kind="trace",
            name="decode.pt.trace.json.gz",
            started_s=START_S,
            duration_s=0.5,
            gpus=("NVIDIA H200",),
            engine=None,
        ),
        "quality": quality(),
        "verdict": verdict(),
        "budget": Budget(span_s=0.5, busy_s=0.2, idle_s=0.3, devices=(device,)),
        "steps": Steps(
            groups=(group,),
            warm_up=2,
            origin="marks of the engine",
            confidence=1.0,
            steps=tuple(replace(step, start_s=START_S + 0.0064 * index) for index in range(70)),
        ),
        "kernels": (
            kernel(),
            kernel(
                "void flash_fwd_splitkv_kernel<Flash_fwd_kernel_traits<128>, false>(Params)",
                family="attention",
                count=2240,
                total_s=0.06,
                mean_s=0.06 / 2240,
                share=0.3,
            ),
            kernel("Memcpy HtoD", family="copy", count=140, total_s=0.01, mean_s=7.1e-5, share=0.05, bound=None),
        ),
        "roofline": roofline(),
        "latency": None,
        "cost": None,
    }
    return Analysis(**defaults | fields)


def _each(window: W) -> tuple[W, ...]:
    """The windows of a run of 40 s, 5 s each."""
    return tuple(replace(window, start_s=START_S + 5 * i, end_s=START_S + 5 * i + 5) for i in range(8))


_PHASES = ("A1_decode_c32", "A3_prefill")


def slo_window(name: str | None = None, index: int = 0, **fields: Any) -> SloWindow:
    """As buckets tell it: between 93 % and 97 % of a thousand requests."""
    defaults: dict[str, Any] = {
        "name": name,
        "start_s": START_S + 20 * index,
        "end_s": START_S + 20 * (index + 1),
        "origin": "histogram",
        "requests": 1000,
        "failed": 4,
        "good_low": 930,
        "good_high": 970,
        "good_low_ratio": 0.93,
        "good_high_ratio": 0.97,
        "goodput_low_requests_per_s": 46.5,
        "goodput_high_requests_per_s": 48.5,
        "burn_rate_low": 3.0,
        "burn_rate_high": 7.0,
    }
    return SloWindow(**defaults | fields)


def service(**fields: Any) -> Service:
    limits = {"ttft_s": 0.5, "tpot_s": 0.03}
    defaults: dict[str, Any] = {
        "slo": Slo(name="chat", target_ratio=0.99, limits_s=limits, source="yours", read_on=""),
        "budget_requests": 10.0,
        "overall": slo_window(end_s=START_S + 40),
        "phases": tuple(slo_window(name, index) for index, name in enumerate(_PHASES)),
        "windows": _each(slo_window()),
    }
    return Service(**defaults | fields)


def run_analysis(**fields: Any) -> Analysis:
    """What a run folder of one GPU and two phases of load gives: no steps, no kernels."""
    defaults: dict[str, Any] = {
        "source": Source(
            kind="run",
            name="vllm_h200",
            started_s=START_S,
            duration_s=40.0,
            gpus=("NVIDIA H200",),
            engine="vllm 0.23.0",
            traces=("decode.pt.trace.json.gz",),
        ),
        "quality": quality(losses=(), notes=("1 s of a capture was left out of the means",)),
        "verdict": verdict(
            bottleneck="batching",
            shares=(share("batching", 0.7), share("memory_bandwidth", 0.3)),
            phases=tuple(verdict_window(name, index) for index, name in enumerate(_PHASES)),
            windows=_each(verdict_window()),
        ),
        "budget": Budget(
            span_s=40.0,
            busy_s=31.6,
            idle_s=8.4,
            gpus=(GpuUse(device=0, means=_USE),),
            phases=tuple(use_window(name, index) for index, name in enumerate(_PHASES)),
            windows=_each(use_window()),
        ),
        "steps": None,
        "kernels": None,
        "latency": Latency(
            overall=latency_window(end_s=START_S + 40),
            phases=tuple(latency_window(name, index) for index, name in enumerate(_PHASES)),
            windows=_each(latency_window()),
            inference="One inference is one sequence that vLLM finished.",
        ),
        "cost": Cost(
            price=price(),
            gpus=1,
            overall=cost_window(end_s=START_S + 40),
            phases=tuple(cost_window(name, index) for index, name in enumerate(_PHASES)),
            windows=_each(cost_window()),
            invoice=invoice(),
            offers=(
                Offer(price=price(), usd=0.0426, usd_per_1000=0.0309),
                Offer(price=price(market="spot", usd_per_gpu_hour=1.2), usd=0.0133, usd_per_1000=0.0097),
            ),
        ),
    }
    return Analysis(**defaults | fields)
