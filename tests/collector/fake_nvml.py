"""``pynvml`` without a driver: it plays what was recorded on an H200, through the real names, structs and errors.

``FakeNvml`` takes the place of the module (``monkeypatch.setitem(sys.modules, "pynvml", fake)``). Constants and types
come from the real package; every call answers with its recorded value or error, moved by the workload that is being
played, and can be made to fail, to hang, to cost what it cost, or to speak for eight GPUs, MIG or an older part.
"""

import ctypes
import gzip
import inspect
import json
import math
import queue
import threading
import time
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

REAL = import_module("pynvml")

#: GPM's counters, and the recorded rows, move so often.
EPOCH_NS = 100_000_000
GPM_IDS = (1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 20, 21, 60, 61)
PID = 1001

#: Costs in µs that were measured apart from the recording; metric 1, the graphics activity, is the dear one.
_COSTS_US = {
    "nvmlGpmSampleGet": 240.0,
    "nvmlGpmMigSampleGet": 240.0,
    "nvmlGpmMetricsGet": 10.0,
    "nvmlGpmMetricsGet(1)": 2070.0,
}
#: What any call of the binding costs, within the recorded cost of a field.
_BINDING_US = 6.0
_HANDLE, _PART = 0x1000, 0x10
_NO_INSTANCE = 0xFFFFFFFF
_WAIT_S = 0.005
#: Some 10 µs of work; the lock is let go for more than 5 kB only.
_BURNT = bytes(16_384)


@cache
def recording() -> dict[str, Any]:
    """Calls, and rows of 0.1 s by workload, as an H200 answered."""
    path = Path(__file__).parent / "data" / "nvml_h200.json.gz"
    found: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return found


class FakeClock:
    """Nanoseconds that pass only when told to."""

    def __init__(self) -> None:
        self.ns = 10_000 * EPOCH_NS

    def __call__(self) -> int:
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)


class FakeNvml(ModuleType):
    """The module ``pynvml`` of a machine that is not there."""

    def __init__(
        self,
        *,
        gpus: int = 1,
        play: Sequence[tuple[float, str]] = ((0.0, "gemm"),),
        clock: Callable[[], int] = time.monotonic_ns,
        gpm: bool = True,
        mig: Mapping[int, Sequence[int]] | None = None,
        cost: Literal["spin", "sleep"] | None = None,
    ) -> None:
        """A machine whose driver was just loaded.

        Args:
            gpus: How many GPUs it has.
            play: Workloads of the recording, each with the second at which it begins.
            clock: Nanoseconds; the recording plays on it.
            gpm: False for a part older than Hopper.
            mig: GPU instance ids by GPU, where MIG is on; may be changed later.
            cost: How each call passes the time that it took on the H200; None takes no time.
        """
        super().__init__("pynvml", "A fake of pynvml.")
        self.gpus, self.gpm, self.mig, self.cost = gpus, gpm, dict(mig or {}), cost
        #: Calls so far, by name, and by ``name(argument)`` where the arguments are numbers.
        self.calls: Counter[str] = Counter()
        #: Length of every GPM window that was asked for.
        self.windows_ns: list[int] = []
        #: What a real driver would have crashed on.
        self.faults: list[str] = []
        self.processes: list[SimpleNamespace] | None = None
        self._clock, self._start_ns = clock, clock()
        self._starts = [round(start * 1e9) // EPOCH_NS for start, _ in play]
        self._rows = [recording()["workloads"][name] for _, name in play]
        self._busy = [name != "idle" for _, name in play]
        self._open = 0
        self._failing: dict[tuple[str, int | None], int] = {}
        self._lost: dict[int, tuple[int, int]] = {}
        self._hanging: dict[str, threading.Event] = {}
        self._samples: dict[int, tuple[int, int]] = {}
        self._gpm_calls = 0
        self._energy_start = 0
        self._events: queue.Queue[Any] = queue.Queue()
        self._registered: set[int] = set()
        self._delivered = False

    def __getattr__(self, name: str) -> Any:
        value = getattr(REAL, name)
        is_call = name.startswith("nvml") and callable(value) and not isinstance(value, type)
        return partial(self._call, name) if is_call else value

    # ---------------------------------------------------------------------------------------- what a test may do

    def fail(self, call: str, code: int, gpu: int | None = None) -> None:
        """From now on a call fails, on one GPU or on all."""
        self._failing[call, gpu] = code

    def heal(self) -> None:
        """Every call succeeds again, and lost GPUs are back."""
        self._failing.clear()
        self._lost.clear()

    def lose(self, gpu: int, after_s: float = 0.0, code: int = REAL.NVML_ERROR_GPU_IS_LOST) -> None:
        """A GPU falls off the bus so long from now."""
        self._lost[gpu] = (self._clock() + round(after_s * 1e9), code)

    def hang(self, call: str) -> threading.Event:
        """A call does not come back until the event is set."""
        return self._hanging.setdefault(call, threading.Event())

    def reset_energy(self) -> None:
        """The energy counter begins again at zero, as when the GPU is reset."""
        self._energy_start = self._epoch()

    def xid(self, gpu: int, code: int, instance: int = _NO_INSTANCE, alias: int = 0) -> None:
        """The driver reports an error; returns when whoever waits for it has taken it.

        With an alias, it names the GPU by another handle than it gave out.
        """
        assert gpu in self._registered, "nobody waits for errors of this GPU"
        self._events.put(
            REAL.c_nvmlEventData_t(
                device=_handle(gpu, alias or None),
                eventType=REAL.nvmlEventTypeXidCriticalError,
                eventData=code,
                gpuInstanceId=instance,
                computeInstanceId=_NO_INSTANCE,
            )
        )
        self._events.join()

    def row(self, epochs_ago: int = 0) -> list[float]:
        """The recorded row that is being played."""
        return self._row(self._epoch() - epochs_ago)

    # -------------------------------------------------------------------------------------------------- every call

    def _call(self, name: str, *args: Any) -> Any:
        began = time.perf_counter()
        _check(name, len(args))
        keys = _keys(name, args)
        self.calls.update({name, *keys})
        is_gpm = name.startswith("nvmlGpm")
        self._gpm_calls += is_gpm
        if self._gpm_calls > 1:
            self.faults.append("two GPM calls at once crash some drivers")
        if name in self._hanging:
            self._hanging[name].wait()
        gpu = self._gpu(name, args)
        code = self._failing.get((name, gpu), self._failing.get((name, None)))
        lost_ns, lost_code = self._lost.get(gpu, (math.inf, 0)) if gpu is not None else (math.inf, 0)
        try:
            if not self._open and name != "nvmlInit":
                raise REAL.NVMLError(REAL.NVML_ERROR_UNINITIALIZED)
            if code is not None:
                raise REAL.NVMLError(code)
            if self._clock() >= lost_ns:
                raise REAL.NVMLError(lost_code)
            return _PLAYED[name](self, *args) if name in _PLAYED else self._replay(keys[-1])
        finally:
            self._spend(name, keys, began)
            self._gpm_calls -= is_gpm

    def _gpu(self, name: str, args: tuple[Any, ...]) -> int | None:
        if name == "nvmlDeviceGetHandleByIndex":
            return int(args[0])
        return _of(args[0])[0] if args and isinstance(args[0], REAL.c_nvmlDevice_t) else None

    def _replay(self, key: str) -> Any:
        entry = self._recorded()[key]
        if "error" in entry:
            raise REAL.NVMLError(entry["error"][0])
        value = entry["value"]
        return SimpleNamespace(**value) if isinstance(value, dict) else value

    def _spend(self, name: str, keys: list[str], began: float) -> None:
        if self.cost is None or name == "nvmlEventSetWait_v2":
            return
        recorded = self._recorded()
        costs_us = [recorded[key]["median_us"] for key in keys if key in recorded]
        if name == "nvmlDeviceGetFieldValues":
            cost_us = _BINDING_US + sum(max(0.0, each - _BINDING_US) for each in costs_us)
        else:
            costs_us = [_COSTS_US[key] for key in (name, *keys) if key in _COSTS_US] or costs_us
            cost_us = max(costs_us, default=1.0)
        until = began + cost_us / 1e6
        if self.cost == "sleep":
            time.sleep(max(0.0, until - time.perf_counter()))
        while time.perf_counter() < until:
            # As in the driver: busy, and without Python's lock.
            zlib.crc32(_BURNT)

    # ------------------------------------------------------------------------------------------ what is being played

    def _epoch(self) -> int:
        return (self._clock() - self._start_ns) // EPOCH_NS

    def _segment(self, epoch: int) -> int:
        return max(0, bisect_right(self._starts, epoch) - 1)

    def _row(self, epoch: int) -> list[float]:
        segment = self._segment(epoch)
        rows = self._rows[segment]
        row: list[float] = rows[(epoch - self._starts[segment]) % len(rows)]
        return row

    def _recorded(self) -> dict[str, Any]:
        busy = self._busy[self._segment(self._epoch())]
        calls: dict[str, Any] = recording()["calls"]["busy" if busy else "idle"]
        return calls

    def _sum(self, first: int, last: int, what: Callable[[list[float]], float]) -> float:
        """Sum over epochs, one workload after the other, in time that does not grow with their length."""
        total, epoch = 0.0, first
        while epoch < last:
            segment = self._segment(epoch)
            rows, start = self._rows[segment], self._starts[segment]
            end = min(last, self._starts[segment + 1] if segment + 1 < len(self._starts) else last)
            sums = [0.0, *accumulate(map(what, rows))]
            total += _wrapped(sums, end - start) - _wrapped(sums, epoch - start)
            epoch = end
        return total

    # ------------------------------------------------------------------------------------------ calls with a life

    def _init(self) -> None:
        self._open += 1

    def _shutdown(self) -> None:
        self._open -= 1
        if not self._open and self._samples:
            self.faults.append("NVML was shut down with GPM samples in use")

    def _handle_by_index(self, index: int) -> Any:
        if index >= self.gpus:
            raise REAL.NVMLError(REAL.NVML_ERROR_INVALID_ARGUMENT)
        return _handle(index)

    def _uuid(self, handle: Any) -> str:
        gpu, instance = _of(handle)
        return f"GPU-{gpu:08}-0000-0000-0000-000000000000" if instance is None else f"MIG-{gpu:08}-{instance:04}"

    def _utilization(self, handle: Any) -> Any:
        if _of(handle)[0] in self.mig:
            raise REAL.NVMLError(REAL.NVML_ERROR_NOT_SUPPORTED)
        memory = self._recorded()["nvmlDeviceGetUtilizationRates"]["value"]["memory"]
        return SimpleNamespace(gpu=self.row()[0], memory=memory)

    def _clock_info(self, _handle: Any, kind: int) -> Any:
        return self.row()[2] if kind == REAL.NVML_CLOCK_SM else self._replay(f"nvmlDeviceGetClockInfo({kind})")

    def _energy_mj(self, _handle: Any) -> int:
        base: int = (
            0 if self._energy_start else recording()["calls"]["idle"]["nvmlDeviceGetTotalEnergyConsumption"]["value"]
        )
        return base + int(self._sum(self._energy_start, self._epoch(), lambda row: row[1] * EPOCH_NS / 1e9))

    def _fields(self, _handle: Any, ids: Sequence[int]) -> Any:
        answers = (REAL.c_nvmlFieldValue_t * len(ids))()
        for answer, field in zip(answers, ids, strict=True):
            recorded = self._recorded()[f"nvmlDeviceGetFieldValues({field})"]["value"]
            answer.fieldId, answer.valueType = field, recorded["valueType"]
            answer.nvmlReturn = self._failing.get((f"nvmlDeviceGetFieldValues({field})", None), recorded["nvmlReturn"])
            answer.value.ullVal = self._field(field, recorded["ull"])
        return answers

    def _field(self, field: int, recorded: int) -> int:
        if field in (REAL.NVML_FI_DEV_POWER_AVERAGE, REAL.NVML_FI_DEV_POWER_INSTANT):
            return int(self.row()[1])
        if field == REAL.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP:
            return int(self._sum(0, self._epoch(), lambda row: EPOCH_NS * bool(int(row[3]) & 4)))
        return recorded

    def _compute_processes(self, handle: Any) -> list[Any]:
        if self.processes is not None:
            return self.processes
        gpu, instance = _of(handle)
        if gpu in self.mig and instance is None:
            raise REAL.NVMLError(REAL.NVML_ERROR_NO_PERMISSION)
        found = self._recorded()["nvmlDeviceGetComputeRunningProcesses"]["value"]
        return [SimpleNamespace(**process) for process in found]

    def _process_utilization(self, handle: Any, since_us: int) -> list[Any]:
        if _of(handle)[0] in self.mig:
            raise REAL.NVMLError(REAL.NVML_ERROR_NOT_SUPPORTED)
        now_us = self._epoch() * EPOCH_NS // 1000 + 1
        recorded = self._recorded()["nvmlDeviceGetProcessUtilization(0)"]
        if "error" in recorded or since_us >= now_us:
            raise REAL.NVMLError(REAL.NVML_ERROR_NOT_FOUND)
        padding = REAL.c_nvmlProcessUtilizationSample_t()
        samples = [REAL.c_nvmlProcessUtilizationSample_t(**each, timeStamp=now_us) for each in recorded["value"]]
        return [padding, *samples]

    # -------------------------------------------------------------------------------------------------------- MIG

    def _mig_mode(self, handle: Any) -> list[int]:
        return [int(_of(handle)[0] in self.mig)] * 2

    def _mig_handle(self, handle: Any, place: int) -> Any:
        gpu, _ = _of(handle)
        if place not in self.mig[gpu]:
            raise REAL.NVMLError(REAL.NVML_ERROR_NOT_FOUND)
        return _handle(gpu, place)

    # -------------------------------------------------------------------------------------------------------- GPM

    def _gpm_support(self, _handle: Any) -> Any:
        return REAL.c_nvmlGpmSupport_t(version=REAL.NVML_GPM_SUPPORT_VERSION, isSupportedDevice=int(self.gpm))

    def _gpm_alloc(self) -> Any:
        address = _HANDLE * (1 + max(self._samples, default=0) // _HANDLE)
        self._samples[address] = (0, 0)
        return ctypes.cast(ctypes.c_void_p(address), REAL.c_nvmlGpmSample_t)

    def _gpm_free(self, sample: Any) -> None:
        del self._samples[_address(sample)]

    def _gpm_sample(self, _handle: Any, *args: Any) -> Any:
        if not self.gpm:
            raise REAL.NVMLError(REAL.NVML_ERROR_NOT_SUPPORTED)
        self._samples[_address(args[-1])] = (self._clock(), self._epoch())
        return args[-1]

    def _gpm_metrics(self, request: Any) -> Any:
        assert request.version == REAL.NVML_GPM_METRICS_GET_VERSION
        (start_ns, start), (end_ns, end) = (
            self._samples[_address(sample)] for sample in (request.sample1, request.sample2)
        )
        self.windows_ns.append(end_ns - start_ns)
        rows = [self._row(epoch) for epoch in range(start, end)]
        for i in range(request.numMetrics):
            metric = request.metrics[i]
            known = metric.metricId in GPM_IDS
            metric.nvmlReturn = REAL.NVML_SUCCESS if known else REAL.NVML_ERROR_NOT_SUPPORTED
            if rows and known:
                metric.value = fmean(row[4 + GPM_IDS.index(metric.metricId)] for row in rows)
            else:
                metric.value = math.nan if metric.metricId == REAL.NVML_GPM_METRIC_DRAM_BW_UTIL else 0.0
        return request

    # ----------------------------------------------------------------------------------------------------- events

    def _register(self, handle: Any, kinds: int, _events: Any) -> None:
        assert kinds == REAL.nvmlEventTypeXidCriticalError
        self._registered.add(_of(handle)[0])

    def _wait(self, _events: Any, timeout_ms: int) -> Any:
        if self._delivered:
            self._delivered = False
            self._events.task_done()
        try:
            # A test that closes the source should not have to wait; a benchmark should not see a wait that spins.
            event = self._events.get(timeout=timeout_ms / 1000 if self.cost else _WAIT_S)
        except queue.Empty:
            raise REAL.NVMLError(REAL.NVML_ERROR_TIMEOUT) from None
        self._delivered = True
        return event


_PLAYED: dict[str, Callable[..., Any]] = {
    "nvmlInit": FakeNvml._init,
    "nvmlShutdown": FakeNvml._shutdown,
    "nvmlDeviceGetCount": lambda fake: fake.gpus,
    "nvmlDeviceGetHandleByIndex": FakeNvml._handle_by_index,
    "nvmlDeviceGetIndex": lambda _, handle: _of(handle)[0],
    "nvmlDeviceGetUUID": FakeNvml._uuid,
    "nvmlDeviceGetUtilizationRates": FakeNvml._utilization,
    "nvmlDeviceGetPowerUsage": lambda fake, _: fake.row()[1],
    "nvmlDeviceGetClockInfo": FakeNvml._clock_info,
    "nvmlDeviceGetCurrentClocksEventReasons": lambda fake, _: int(fake.row()[3]),
    "nvmlDeviceGetTotalEnergyConsumption": FakeNvml._energy_mj,
    "nvmlDeviceGetFieldValues": FakeNvml._fields,
    "nvmlDeviceGetComputeRunningProcesses": FakeNvml._compute_processes,
    "nvmlDeviceGetProcessUtilization": FakeNvml._process_utilization,
    "nvmlDeviceGetMigMode": FakeNvml._mig_mode,
    "nvmlDeviceGetMaxMigDeviceCount": lambda _fake, _handle: 7,
    "nvmlDeviceGetMigDeviceHandleByIndex": FakeNvml._mig_handle,
    "nvmlDeviceGetGpuInstanceId": lambda _, handle: _of(handle)[1],
    "nvmlGpmQueryDeviceSupport": FakeNvml._gpm_support,
    "nvmlGpmSampleAlloc": FakeNvml._gpm_alloc,
    "nvmlGpmSampleFree": FakeNvml._gpm_free,
    "nvmlGpmSampleGet": FakeNvml._gpm_sample,
    "nvmlGpmMigSampleGet": FakeNvml._gpm_sample,
    "nvmlGpmMetricsGet": FakeNvml._gpm_metrics,
    "nvmlEventSetCreate": lambda _: object(),
    "nvmlDeviceRegisterEvents": FakeNvml._register,
    "nvmlEventSetWait_v2": FakeNvml._wait,
    "nvmlEventSetFree": lambda _fake, _events: None,
}


@cache
def _check(name: str, arguments: int) -> None:
    """Raise TypeError where the real binding would."""
    inspect.signature(getattr(REAL, name)).bind(*range(arguments))


def _keys(name: str, args: tuple[Any, ...]) -> list[str]:
    """What a call is called in the recording: with its numbers, where it has some."""
    if name == "nvmlDeviceGetFieldValues":
        return [f"{name}({field})" for field in args[1]]
    if name == "nvmlGpmMetricsGet":
        asked = {metric.metricId for metric in args[0].metrics[: args[0].numMetrics]}
        return [f"{name}(1)" if 1 in asked else name]
    numbers = ",".join(str(each) for each in args[1:] if isinstance(each, int))
    if name == "nvmlDeviceGetProcessUtilization":
        numbers = "0"
    return [f"{name}({numbers})" if numbers else name]


def _wrapped(sums: list[float], length: int) -> float:
    """Sum of the first ``length`` of rows that begin again when they end."""
    rounds, rest = divmod(length, len(sums) - 1)
    return rounds * sums[-1] + sums[rest]


def _handle(gpu: int, instance: int | None = None) -> Any:
    address = _HANDLE * (gpu + 1) + (0 if instance is None else _PART * (instance + 1))
    return ctypes.cast(ctypes.c_void_p(address), REAL.c_nvmlDevice_t)


def _of(handle: Any) -> tuple[int, int | None]:
    """GPU and GPU instance of a handle."""
    gpu, part = divmod(_address(handle), _HANDLE)
    return gpu - 1, part // _PART - 1 if part else None


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0
