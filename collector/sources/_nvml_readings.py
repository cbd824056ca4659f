"""Every NVML call that reads a GPU, with the quantities it brings. Private to the ``nvml`` source.

A call may raise any error of the binding; whoever asks turns it into a reason. Units are converted here: NVML has
mW, mJ, MHz, ns and percent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

from collector.catalogue import CLOCK_EVENT_BITS
from collector.schema import Absent
from collector.sources._gpm import ratio
from collector.sources._nvml_errors import absent

Value: TypeAlias = float | Absent
Handle: TypeAlias = Any

_KNOWN_BITS = sum(CLOCK_EVENT_BITS)


@dataclass(frozen=True)
class Reading:
    """One call and what it brings, in order."""

    quantities: tuple[str, ...]
    ask: Callable[[ModuleType, Handle], tuple[Value, ...]]


def _utilization(nv: ModuleType, handle: Handle) -> tuple[Value, ...]:
    rates = nv.nvmlDeviceGetUtilizationRates(handle)
    return ratio(rates.gpu), ratio(rates.memory)


def _clock_events(nv: ModuleType, handle: Handle) -> tuple[Value, ...]:
    mask = nv.nvmlDeviceGetCurrentClocksEventReasons(handle)
    return (*(float(bool(mask & bit)) for bit in CLOCK_EVENT_BITS), float(bool(mask & ~_KNOWN_BITS)))


def _remapped_rows(nv: ModuleType, handle: Handle) -> tuple[Value, ...]:
    corrected, uncorrected, pending, failed = nv.nvmlDeviceGetRemappedRows(handle)
    return float(corrected), float(uncorrected), float(bool(pending)), float(bool(failed))


def _ecc(nv: ModuleType, handle: Handle) -> tuple[Value, ...]:
    kinds = (nv.NVML_MEMORY_ERROR_TYPE_CORRECTED, nv.NVML_MEMORY_ERROR_TYPE_UNCORRECTED)
    return tuple(float(nv.nvmlDeviceGetTotalEccErrors(handle, kind, nv.NVML_VOLATILE_ECC)) for kind in kinds)


def _fields(*fields: tuple[int, str, float]) -> Reading:
    """Fields in one call, each with its id, its quantity and what its number is multiplied by."""
    ids = [field for field, _, _ in fields]

    def ask(nv: ModuleType, handle: Handle) -> tuple[Value, ...]:
        answers = nv.nvmlDeviceGetFieldValues(handle, ids)
        return tuple(_field(nv, answer, scale) for answer, (_, _, scale) in zip(answers, fields, strict=True))

    return Reading(tuple(quantity for _, quantity, _ in fields), ask)


def _field(nv: ModuleType, answer: Any, scale: float) -> Value:  # noqa: ANN401 - a struct of a binding without types
    if answer.nvmlReturn != 0:
        return absent(answer.nvmlReturn)
    # Every field that is asked for here is one of these two.
    is_short = answer.valueType == nv.NVML_VALUE_TYPE_UNSIGNED_INT
    number: int = answer.value.uiVal if is_short else answer.value.ullVal
    return number * scale


def _one(quantity: str, ask: Callable[[ModuleType, Handle], float]) -> Reading:
    return Reading((quantity,), lambda nv, handle: (float(ask(nv, handle)),))


MEMORY = _one("memory_used_bytes", lambda nv, handle: nv.nvmlDeviceGetMemoryInfo(handle).used)
_MEMORY_TOTAL = _one("memory_total_bytes", lambda nv, handle: nv.nvmlDeviceGetMemoryInfo(handle).total)

#: 1–10 µs each: read at every tick.
FAST = (
    Reading(("gpu_utilization_ratio", "memory_busy_ratio"), _utilization),
    MEMORY,
    _one("power_watts", lambda nv, handle: nv.nvmlDeviceGetPowerUsage(handle) / 1e3),
    _one("sm_clock_hz", lambda nv, handle: nv.nvmlDeviceGetClockInfo(handle, nv.NVML_CLOCK_SM) * 1e6),
    _one("memory_clock_hz", lambda nv, handle: nv.nvmlDeviceGetClockInfo(handle, nv.NVML_CLOCK_MEM) * 1e6),
    _one("temperature_celsius", lambda nv, handle: nv.nvmlDeviceGetTemperature(handle, nv.NVML_TEMPERATURE_GPU)),
    Reading((*CLOCK_EVENT_BITS.values(), "clock_event_other"), _clock_events),
    _fields(
        (186, "power_instant_watts", 1e-3),
        (185, "power_average_watts", 1e-3),
        (82, "memory_temperature_celsius", 1.0),
        (74, "throttled_sw_power_cap_seconds_total", 1e-9),
        (76, "throttled_sync_boost_seconds_total", 1e-9),
        (269, "throttled_sw_thermal_seconds_total", 1e-9),
    ),
)

#: 3 ms idle, 5 ms of CPU on average on a busy GPU, and up to 27 ms.
ENERGY = (_one("energy_joules_total", lambda nv, handle: nv.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3),)

#: 1–10 µs, but seldom new.
HEALTH = (
    Reading(("ecc_corrected_errors_total", "ecc_uncorrected_errors_total"), _ecc),
    Reading(
        (
            "remapped_rows_corrected_total",
            "remapped_rows_uncorrected_total",
            "row_remapping_pending",
            "row_remapping_failed",
        ),
        _remapped_rows,
    ),
)

#: 170–880 µs for some, and hardly ever new.
RARE = (
    _MEMORY_TOTAL,
    _one("power_limit_watts", lambda nv, handle: nv.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3),
    _one("pcie_replays_total", lambda nv, handle: nv.nvmlDeviceGetPcieReplayCounter(handle)),
    _one("pcie_link_generation", lambda nv, handle: nv.nvmlDeviceGetCurrPcieLinkGeneration(handle)),
    _one("pcie_link_lanes", lambda nv, handle: nv.nvmlDeviceGetCurrPcieLinkWidth(handle)),
    _fields(
        (270, "throttled_hw_thermal_seconds_total", 1e-9),
        (271, "throttled_hw_power_brake_seconds_total", 1e-9),
    ),
)

#: The little that NVML has for one instance of MIG.
INSTANCE_FAST = (MEMORY,)
INSTANCE_RARE = (_MEMORY_TOTAL,)

#: What each sample of a whole GPU has something to say of.
ALWAYS = tuple(quantity for reading in FAST for quantity in reading.quantities)
