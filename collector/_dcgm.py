"""GPU metrics once more under the names of dcgm-exporter, so that boards made for it work."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client import Metric

from collector.schema import Absent, Gpu, Sample


class _Alias(NamedTuple):
    """A field of DCGM: its name, its type, and what our base unit is multiplied by."""

    name: str
    kind: str
    scale: float


#: Units as dcgm-exporter has them: percent, MiB, MHz, mJ, and 0–1 for the profiling fields.
_ALIASES = {
    "gpu_utilization_ratio": _Alias("DCGM_FI_DEV_GPU_UTIL", "gauge", 100),
    "memory_busy_ratio": _Alias("DCGM_FI_DEV_MEM_COPY_UTIL", "gauge", 100),
    "memory_used_bytes": _Alias("DCGM_FI_DEV_FB_USED", "gauge", 1 / 1048576),
    "power_watts": _Alias("DCGM_FI_DEV_POWER_USAGE", "gauge", 1),
    "energy_joules_total": _Alias("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", 1000),
    "sm_clock_hz": _Alias("DCGM_FI_DEV_SM_CLOCK", "gauge", 1e-6),
    "memory_clock_hz": _Alias("DCGM_FI_DEV_MEM_CLOCK", "gauge", 1e-6),
    "temperature_celsius": _Alias("DCGM_FI_DEV_GPU_TEMP", "gauge", 1),
    "graphics_active_ratio": _Alias("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "gauge", 1),
    "sm_active_ratio": _Alias("DCGM_FI_PROF_SM_ACTIVE", "gauge", 1),
    "sm_occupancy_ratio": _Alias("DCGM_FI_PROF_SM_OCCUPANCY", "gauge", 1),
    "tensor_active_ratio": _Alias("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "gauge", 1),
    "dram_active_ratio": _Alias("DCGM_FI_PROF_DRAM_ACTIVE", "gauge", 1),
    "fp64_active_ratio": _Alias("DCGM_FI_PROF_PIPE_FP64_ACTIVE", "gauge", 1),
    "fp32_active_ratio": _Alias("DCGM_FI_PROF_PIPE_FP32_ACTIVE", "gauge", 1),
    "fp16_active_ratio": _Alias("DCGM_FI_PROF_PIPE_FP16_ACTIVE", "gauge", 1),
    "pcie_tx_bytes_per_s": _Alias("DCGM_FI_PROF_PCIE_TX_BYTES", "gauge", 1),
    "pcie_rx_bytes_per_s": _Alias("DCGM_FI_PROF_PCIE_RX_BYTES", "gauge", 1),
    "nvlink_tx_bytes_per_s": _Alias("DCGM_FI_PROF_NVLINK_TX_BYTES", "gauge", 1),
    "nvlink_rx_bytes_per_s": _Alias("DCGM_FI_PROF_NVLINK_RX_BYTES", "gauge", 1),
}


def families(samples: Iterable[Sample], gpus: Iterable[Gpu]) -> Iterator[Metric]:
    """The aliases of whole GPUs' samples, with dcgm-exporter's labels."""
    known = {str(gpu.index): gpu for gpu in gpus}
    found = {quantity: Metric(alias.name, f"{quantity}, as dcgm-exporter has it.", alias.kind)
             for quantity, alias in _ALIASES.items()}  # fmt: skip
    for sample in samples:
        kind, _, index = sample.subject.partition(":")
        if kind != "gpu" or index not in known:
            continue
        own = {"gpu": index, "UUID": known[index].uuid, "device": f"nvidia{index}", "modelName": known[index].name}
        for quantity, alias in _ALIASES.items():
            value = sample.values.get(quantity)
            if value is not None and not isinstance(value, Absent):
                # dcgm-exporter names its counters without ``_total``.
                found[quantity].add_sample(alias.name, own, value * alias.scale)
    yield from (family for family in found.values() if family.samples)
