"""GPU performance monitors (GPM): what the parts of a GPU did between two samples. Private to the ``nvml`` source.

Facts measured on an H200 with driver 580: the counters are refreshed about every 100 ms, and a window that holds no
refresh reads as an idle GPU, but for the DRAM bandwidth, which is NaN then. So no window shorter than 100 ms is
asked for, and the DRAM bandwidth is the proof of the rest. A sample costs 0.24 ms of CPU and all metrics together
0.01 ms, but for the graphics activity, which alone costs 2.1 ms: it has windows of its own, and longer ones. Sampling
GPUs in parallel crashes in some drivers: one lock for all.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any, TypeAlias

from collector.schema import Absent
from collector.sources._nvml_errors import LASTING, Code, absent, code_of, errors

MIN_WINDOW_NS = 100_000_000
#: A tick that comes early by no more than this waits, so that 10 Hz is not read at 5 Hz for its jitter.
_PATIENCE_NS = 10_000_000

_MIB = 1048576
_PROOF = 10
_PAIR = 2

#: Metric id → quantity and its factor: percent to ratio, MiB/s to bytes/s.
Metrics: TypeAlias = Mapping[int, tuple[str, float]]
METRICS: Metrics = {
    2: ("sm_active_ratio", 0.01),
    3: ("sm_occupancy_ratio", 0.01),
    5: ("tensor_active_ratio", 0.01),
    _PROOF: ("dram_active_ratio", 0.01),
    20: ("pcie_tx_bytes_per_s", _MIB),
    21: ("pcie_rx_bytes_per_s", _MIB),
    60: ("nvlink_rx_bytes_per_s", _MIB),
    61: ("nvlink_tx_bytes_per_s", _MIB),
    6: ("tensor_dfma_active_ratio", 0.01),
    7: ("tensor_hmma_active_ratio", 0.01),
    9: ("tensor_imma_active_ratio", 0.01),
    4: ("integer_active_ratio", 0.01),
    11: ("fp64_active_ratio", 0.01),
    12: ("fp32_active_ratio", 0.01),
    13: ("fp16_active_ratio", 0.01),
}
#: The same, of the costly one.
GRAPHICS: Metrics = {1: ("graphics_active_ratio", 0.01)}
QUANTITIES = tuple(quantity for quantity, _ in {**METRICS, **GRAPHICS}.values())

EMPTY = Absent("GPM window held no counter update")
PRE_HOPPER = Absent("pre-Hopper GPU: GPM needs Hopper or newer; DCGM profiling metrics would be needed")
_BUSY = Absent("an earlier GPM call has not come back; GPM takes one call at a time")

#: More than this above 100 % is no rounding.
_EXCESS = 1.01

_LOCK = threading.Lock()
_LOCK_S = 1.0


class _Busy(Exception):  # noqa: N818 - a state, not an error
    """Another thread is in GPM, and does not come back."""


@contextmanager
def _alone() -> Iterator[None]:
    if not _LOCK.acquire(timeout=_LOCK_S):
        raise _Busy
    try:
        yield
    finally:
        _LOCK.release()


def unsupported(nv: ModuleType, handle: object) -> Absent | None:
    """Why a GPU has no GPM; None if it has.

    Raises:
        GpuLost: The GPU cannot be read at all.
        Unavailable: NVML cannot.
    """
    try:
        with _alone():
            return None if nv.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice else PRE_HOPPER
    except _Busy:
        return _BUSY
    except errors(nv) as error:
        code = code_of(error)
        return PRE_HOPPER if code in LASTING - {Code.FUNCTION_NOT_FOUND} else absent(code, error)


class Windows:
    """The windows of one GPU, each from one sample to the next."""

    def __init__(
        self,
        nv: ModuleType,
        take: Callable[[Any], object],
        metrics: Metrics = METRICS,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Ask for nothing yet.

        Args:
            nv: The module ``pynvml``.
            take: Takes a sample of the GPU into the buffer it is given.
            metrics: What to read, as ``METRICS``.
            clock: Nanoseconds that never go back.
            sleep: Waits for seconds.
        """
        self._nv, self._take, self._clock, self._sleep = nv, take, clock, sleep
        self._samples: list[Any] = []
        self._wanted = metrics
        self._request = nv.c_nvmlGpmMetricsGet_t()
        self._request.version = nv.NVML_GPM_METRICS_GET_VERSION
        # Views of the request, made once: the binding's structs are slow to reach into.
        self._answers = {number: self._request.metrics[place] for place, number in enumerate({**metrics, _PROOF: None})}
        self._request.numMetrics = len(self._answers)
        for number, answer in self._answers.items():
            answer.metricId = number
        self._started_ns: int | None = None

    def read(self) -> dict[str, float | Absent]:
        """What was measured since the last window; empty at first, and while this one is too short to tell.

        Raises:
            GpuLost: The GPU cannot be read at all.
            Unavailable: NVML cannot.
        """
        if self._started_ns is not None:
            short_ns = MIN_WINDOW_NS - (self._clock() - self._started_ns)
            if short_ns > _PATIENCE_NS:
                return {}
            if short_ns > 0:
                self._sleep(short_ns / 1e9)
        try:
            with _alone():
                return self._begin() if self._started_ns is None else self._finish()
        except _Busy:
            return self._nothing(_BUSY)
        except errors(self._nv) as error:
            self._started_ns = None
            return self._nothing(absent(code_of(error), error))

    def close(self) -> None:
        """Free the samples, which must happen before NVML is shut down; a second call does nothing."""
        samples, self._samples, self._started_ns = self._samples, [], None
        with suppress(_Busy), _alone():
            for sample in samples:
                with suppress(*errors(self._nv)):
                    self._nv.nvmlGpmSampleFree(sample)

    def _begin(self) -> dict[str, float | Absent]:
        while len(self._samples) < _PAIR:
            self._samples.append(self._nv.nvmlGpmSampleAlloc())
        self._take(self._samples[0])
        self._started_ns = self._clock()
        return {}

    def _finish(self) -> dict[str, float | Absent]:
        self._take(self._samples[1])
        ended_ns = self._clock()
        self._request.sample1, self._request.sample2 = self._samples
        self._nv.nvmlGpmMetricsGet(self._request)
        proof = self._answers[_PROOF]
        if proof.nvmlReturn == 0 and not math.isfinite(proof.value):
            # The sample is not kept: the next window then starts at the last refresh that was seen.
            return self._nothing(EMPTY)
        self._samples.reverse()
        self._started_ns = ended_ns
        wanted = self._wanted.items()
        return {quantity: _value(self._answers[number], factor) for number, (quantity, factor) in wanted}

    def _nothing(self, why: Absent) -> dict[str, float | Absent]:
        return {quantity: why for quantity, _ in self._wanted.values()}


def ratio(percent: float) -> float | Absent:
    """A share of 0–1 from percent, forgiving what rounding adds."""
    return min(percent / 100, 1.0) if 0 <= percent <= _EXCESS * 100 else Absent(f"read as {percent:g} %: no share")


def _value(metric: Any, factor: float) -> float | Absent:  # noqa: ANN401 - a struct of a binding without types
    if metric.nvmlReturn != 0:
        return absent(metric.nvmlReturn)
    value: float = metric.value
    if not math.isfinite(value):
        return Absent(f"GPM read it as {value}")
    return ratio(value) if factor < 1 else value * factor
