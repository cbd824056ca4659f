"""Every measured quantity, once: its name, kind, unit, meaning and source.

The store takes its columns from here, the exposition its metric names, the dashboard its labels. Units are in
the names; ratios run from 0 to 1; a ``counter`` only grows (a fall is a reset), a ``flag`` is 0 or 1, a
``histogram`` is stored as ``collector.schema.Histogram``.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "flag", "histogram"]


@dataclass(frozen=True)
class Quantity:
    """One measured quantity."""

    name: str
    kind: Kind
    unit: str
    #: One sentence for a person.
    meaning: str
    #: Where it is read: the call, the field or the metric.
    source: str


def _gpm(name: str, metric: int, meaning: str) -> Quantity:
    return Quantity(name, "gauge", "ratio", meaning, f"NVML GPM metric {metric}, over the window since the last sample")


def _gpm_rate(name: str, metric: int, meaning: str) -> Quantity:
    return Quantity(name, "gauge", "bytes/s", meaning, f"NVML GPM metric {metric}, MiB/s converted")


def _clock_event(name: str, bit: int, meaning: str) -> Quantity:
    source = f"nvmlDeviceGetCurrentClocksEventReasons, bit 0x{bit:03x}"
    return Quantity(f"clock_event_{name}", "flag", "1", meaning, source)


#: Bits of the clock event mask, in the driver's order, with the quantity each one becomes.
CLOCK_EVENT_BITS = {
    0x001: "clock_event_gpu_idle",
    0x004: "clock_event_sw_power_cap",
    0x008: "clock_event_hw_slowdown",
    0x010: "clock_event_sync_boost",
    0x020: "clock_event_sw_thermal_slowdown",
    0x040: "clock_event_hw_thermal_slowdown",
    0x080: "clock_event_hw_power_brake",
}

_QUANTITIES = (
    # GPU: what NVML calls utilization, and what the performance monitors see.
    Quantity(
        "gpu_utilization_ratio",
        "gauge",
        "ratio",
        "Share of time in which any kernel or copy ran; says nothing about how full the GPU was.",
        "nvmlDeviceGetUtilizationRates.gpu, refreshed about every 200 ms",
    ),
    Quantity(
        "memory_busy_ratio",
        "gauge",
        "ratio",
        "Share of time in which the memory interface was busy (NVML's “memory utilization”).",
        "nvmlDeviceGetUtilizationRates.memory",
    ),
    _gpm("graphics_active_ratio", 1, "Share of time in which a compute or graphics context was active."),
    _gpm("sm_active_ratio", 2, "Share of SMs that had work, averaged over time."),
    _gpm("sm_occupancy_ratio", 3, "Active warps over the most the SMs can hold."),
    _gpm("integer_active_ratio", 4, "Activity of the integer pipe."),
    _gpm("tensor_active_ratio", 5, "Activity of the tensor cores, any type."),
    _gpm("tensor_hmma_active_ratio", 7, "Activity of the tensor cores on fp16 and bf16."),
    _gpm("tensor_imma_active_ratio", 9, "Activity of the tensor cores on int8."),
    _gpm("dram_active_ratio", 10, "Bytes moved to and from HBM over the vendor's peak."),
    _gpm("fp64_active_ratio", 11, "Activity of the FP64 pipe."),
    _gpm("fp32_active_ratio", 12, "Activity of the FP32 pipe."),
    _gpm("fp16_active_ratio", 13, "Activity of the FP16 pipe, tensor cores apart."),
    _gpm_rate("pcie_tx_bytes_per_s", 20, "Bytes a second from the GPU over PCIe."),
    _gpm_rate("pcie_rx_bytes_per_s", 21, "Bytes a second to the GPU over PCIe."),
    _gpm_rate("nvlink_rx_bytes_per_s", 60, "Bytes a second received over all NVLinks."),
    _gpm_rate("nvlink_tx_bytes_per_s", 61, "Bytes a second sent over all NVLinks."),
    Quantity("memory_used_bytes", "gauge", "bytes", "GPU memory in use.", "nvmlDeviceGetMemoryInfo.used"),
    Quantity("power_watts", "gauge", "W", "Power drawn by the GPU board.", "nvmlDeviceGetPowerUsage, a 1 s average"),
    Quantity(
        "energy_joules_total",
        "counter",
        "J",
        "Energy drawn by the GPU board since the driver was loaded.",
        "nvmlDeviceGetTotalEnergyConsumption",
    ),
    Quantity("sm_clock_hz", "gauge", "Hz", "SM clock.", "nvmlDeviceGetClockInfo(SM)"),
    Quantity("memory_clock_hz", "gauge", "Hz", "Memory clock.", "nvmlDeviceGetClockInfo(MEM)"),
    Quantity("temperature_celsius", "gauge", "°C", "Temperature of the GPU.", "nvmlDeviceGetTemperature"),
    _clock_event("gpu_idle", 0x001, "Clocks are low because nothing runs."),
    _clock_event("sw_power_cap", 0x004, "Clocks are lowered to respect the power limit; normal at full load."),
    _clock_event("hw_slowdown", 0x008, "Clocks are halved or worse by heat, power brake or a fast trigger."),
    _clock_event("sync_boost", 0x010, "Clocks are held down by another GPU of the boost group."),
    _clock_event("sw_thermal_slowdown", 0x020, "Clocks are lowered because GPU or memory is too hot."),
    _clock_event("hw_thermal_slowdown", 0x040, "Clocks are halved or worse by temperature."),
    _clock_event("hw_power_brake", 0x080, "Clocks are lowered by an external power brake."),
    # Serving: one vocabulary for every engine.
    Quantity("requests_running", "gauge", "requests", "Requests in the running batch.", "the engine's /metrics"),
    Quantity("requests_waiting", "gauge", "requests", "Requests waiting to be scheduled.", "the engine's /metrics"),
    Quantity("kv_cache_usage_ratio", "gauge", "ratio", "Share of the KV cache in use.", "the engine's /metrics"),
    Quantity(
        "requests_ok_total",
        "counter",
        "requests",
        "Requests that finished with an answer (stop, length, repetition).",
        "the engine's /metrics, by finish reason",
    ),
    Quantity(
        "requests_failed_total",
        "counter",
        "requests",
        "Requests that ended without an answer (abort, error).",
        "the engine's /metrics, by finish reason",
    ),
    Quantity("input_tokens_total", "counter", "tokens", "Prompt tokens processed.", "the engine's /metrics"),
    Quantity("output_tokens_total", "counter", "tokens", "Tokens generated.", "the engine's /metrics"),
    Quantity(
        "preemptions_total",
        "counter",
        "requests",
        "Requests pushed out of the batch for want of KV cache.",
        "the engine's /metrics",
    ),
    Quantity(
        "prefix_cache_queries_total",
        "counter",
        "tokens",
        "Prompt tokens looked up in the prefix cache.",
        "the engine's /metrics",
    ),
    Quantity(
        "prefix_cache_hits_total",
        "counter",
        "tokens",
        "Prompt tokens found in the prefix cache.",
        "the engine's /metrics",
    ),
    Quantity(
        "front_end_cpu_seconds_total",
        "counter",
        "s",
        "CPU time of the process that answers HTTP: tokenising, detokenising, streaming.",
        "process_cpu_seconds_total on the engine's /metrics",
    ),
    Quantity(
        "front_end_memory_bytes",
        "gauge",
        "bytes",
        "Resident memory of the process that answers HTTP.",
        "process_resident_memory_bytes on the engine's /metrics",
    ),
    Quantity("ttft_s", "histogram", "s", "Time to first token, from arrival at the server.", "the engine's /metrics"),
    Quantity("itl_s", "histogram", "s", "Inter-token latency: each gap between two tokens.", "the engine's /metrics"),
    Quantity(
        "tpot_s",
        "histogram",
        "s",
        "Time per output token: a request's mean after its first token.",
        "the engine's /metrics",
    ),
    Quantity("e2e_latency_s", "histogram", "s", "Arrival to last token.", "the engine's /metrics"),
    Quantity(
        "queue_time_s",
        "histogram",
        "s",
        "Arrival to first scheduling; written when the request ends.",
        "the engine's /metrics",
    ),
    Quantity(
        "prefill_s",
        "histogram",
        "s",
        "First scheduling to first token; written when the request ends.",
        "the engine's /metrics",
    ),
    Quantity(
        "decode_s", "histogram", "s", "First to last token; written when the request ends.", "the engine's /metrics"
    ),
    Quantity(
        "step_tokens",
        "histogram",
        "tokens",
        "Tokens processed by one engine step, prompt and output.",
        "the engine's /metrics",
    ),
)

#: Every quantity by its name.
CATALOGUE: dict[str, Quantity] = {quantity.name: quantity for quantity in _QUANTITIES}
