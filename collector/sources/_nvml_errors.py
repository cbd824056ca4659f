"""What NVML's error codes mean for the person who reads them. Private to ``collector.sources.nvml``."""

from enum import IntEnum
from types import ModuleType

from collector.schema import Absent
from collector.sources import Unavailable


class Code(IntEnum):
    """The return codes of nvml.h that are told apart here."""

    UNINITIALIZED = 1
    NOT_SUPPORTED = 3
    NO_PERMISSION = 4
    NOT_FOUND = 6
    DRIVER_NOT_LOADED = 9
    TIMEOUT = 10
    LIBRARY_NOT_FOUND = 12
    FUNCTION_NOT_FOUND = 13
    GPU_IS_LOST = 15
    RESET_REQUIRED = 16
    LIB_RM_VERSION_MISMATCH = 18
    ARGUMENT_VERSION_MISMATCH = 25
    UNKNOWN = 999


NOT_PERMITTED = "not permitted: NVML wants more rights for this; run the collector as root, or privileged"
UNKNOWN = "NVML answers only “Unknown Error”; the kernel log may say more (dmesg | grep -i nvrm)"

_REASONS = {
    Code.NOT_SUPPORTED: "not offered by this GPU or its driver",
    Code.NO_PERMISSION: NOT_PERMITTED,
    Code.FUNCTION_NOT_FOUND: "the driver is too old to offer this; update it",
    Code.ARGUMENT_VERSION_MISMATCH: "the driver is too old to offer this; update it",
    Code.UNKNOWN: UNKNOWN,
}

_LOST = {
    Code.GPU_IS_LOST: "GPU is lost: it fell off the bus; see the kernel log for its XID, then reset it or the machine",
    Code.RESET_REQUIRED: "GPU is lost until it is reset (nvidia-smi --gpu-reset)",
}

#: NVML itself is gone: nothing can be read until it is opened again.
_CLOSED = {
    Code.UNINITIALIZED: "NVML was closed under the collector; it will be opened again",
    Code.DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded; load it on the host (nvidia-smi there says more)",
    Code.LIB_RM_VERSION_MISMATCH: (
        "the driver was updated under a running system, and library and kernel module differ; "
        "reload the module or reboot, then make the container anew"
    ),
}

#: Why NVML cannot be opened at all.
_NOT_OPENED = _CLOSED | {
    Code.LIBRARY_NOT_FOUND: (
        "there is no NVIDIA driver library (libnvidia-ml.so.1) here; in a container of a GPU host, "
        "set NVIDIA_DRIVER_CAPABILITIES=utility and give it the GPUs (--gpus all)"
    ),
    Code.NO_PERMISSION: (
        "not permitted to open the NVIDIA devices; let this user read and write /dev/nvidiactl and /dev/nvidia*"
    ),
}

#: Codes that will not change while NVML is open, so that asking again is a waste.
LASTING = frozenset({Code.NOT_SUPPORTED, Code.FUNCTION_NOT_FOUND, Code.ARGUMENT_VERSION_MISMATCH})


class GpuLost(Exception):  # noqa: N818 - a state, not an error
    """One GPU cannot be read any more; the message is the reason."""


def errors(nv: ModuleType) -> tuple[type[Exception], ...]:
    """Everything a call of the binding raises because of NVML."""
    return (nv.NVMLError, nv.NVMLLibraryMismatchError)


def code_of(error: Exception) -> int:
    """The return code in an error of the binding, which has none where the library lacks the function."""
    code: int = getattr(error, "value", Code.FUNCTION_NOT_FOUND)
    return code


def absent(code: int, text: object = "") -> Absent:
    """Why a value is absent.

    Raises:
        GpuLost: The code says so of the whole GPU.
        Unavailable: The code says so of NVML.
    """
    if code in _LOST:
        raise GpuLost(_LOST[Code(code)])
    if code in _CLOSED:
        raise Unavailable(_CLOSED[Code(code)])
    return Absent(_REASONS[Code(code)] if code in _REASONS else f"NVML answers {text or f'with error {code}'}")


def not_opened(error: Exception) -> Unavailable:
    """Why there is nothing to read at all."""
    code = code_of(error)
    return Unavailable(_NOT_OPENED[Code(code)] if code in _NOT_OPENED else f"NVML does not open: {error}")
