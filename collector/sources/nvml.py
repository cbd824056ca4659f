"""GPUs, through NVML and its performance monitors (GPM).

Reads, without privileges: utilization, memory, power, clocks and why they are low, temperatures, energy, ECC and row
remapping, PCIe health, XID errors, processes; and on Hopper and newer what SMs, tensor cores, DRAM, PCIe and NVLink
did (GPM), for the GPU and for each GPU instance of MIG. Needs the NVIDIA driver; in a container,
``NVIDIA_DRIVER_CAPABILITIES=utility``.

What it costs, measured on an H200: about 0.5 ms per GPU at each tick, GPM included. Calls that cost more are made
less often, and not all at one tick: energy (3 ms) and the processes' shares (2 ms) every 2 s, or every *n* seconds on
*n* GPUs; the list of processes every second, ECC every 5 s, link, limits and hardware slowdowns every 30 s. A
quantity that is not due is left out of a sample. NVML's own PCIe throughput (21 ms a call) is never asked for: GPM
has it.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType

from collector.options import Options
from collector.schema import Event, Gpu, Sample
from collector.sources import Reading, Source, Unavailable
from collector.sources._nvml_device import RARE_S, Device, World
from collector.sources._nvml_errors import errors, not_opened
from collector.sources._nvml_xid import XidWatch

_NS = 1_000_000_000

#: After so long NVML is opened afresh to see whether a lost GPU is back: no handle survives a reset.
REOPEN_S = 300.0

_NO_BINDING = "the Python package nvidia-ml-py is not installed; pip install 'inferometer[collector]'"
_NO_GPU = (
    "the NVIDIA driver shows no GPU; give the container the GPUs (--gpus all, or NVIDIA_VISIBLE_DEVICES=all), "
    "or the pod its share (nvidia.com/gpu)"
)


def open_source(options: Options) -> Source:
    """Open every GPU that can be opened."""
    return Nvml(options.gpu_interval_s or options.interval_s)


def gpus() -> tuple[Gpu, ...]:
    """The GPUs of this machine, for ``run.json``; none where NVML does not open."""
    try:
        nv, count = _open_nvml()
    except Unavailable:
        return ()
    try:
        return tuple(gpu for index in range(count) if (gpu := _describe(nv, index)) is not None)
    finally:
        nv.nvmlShutdown()


class Nvml:
    """Every GPU of this machine; a ``collector.sources.Source``."""

    def __init__(
        self,
        interval_s: float = 1.0,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open NVML.

        Args:
            interval_s: Seconds between two readings; GPM is read every 100 ms at most.
            clock: Nanoseconds that never go back.
            sleep: Waits for seconds.

        Raises:
            Unavailable: There is nothing to read; the message says why.
        """
        self.interval_s = interval_s
        self._clock, self._sleep = clock, sleep
        self._nv: ModuleType | None = None
        self._devices: list[Device] = []
        self._xids: XidWatch | None = None
        self._xid_counts: Counter[int] = Counter()
        self._told: set[int] = set()
        self._check_ns = self._reopen_ns = 0
        self._open()

    def read(self, t_ns: int) -> Reading:
        """Everything that is due.

        Raises:
            Unavailable: No GPU can be read any more, or NVML must be opened afresh.
        """
        now_ns = self._clock()
        if now_ns >= self._reopen_ns and any(device.lost for device in self._devices):
            self.close()
            self._open()
        if all(device.lost and device.index in self._told for device in self._devices):
            raise Unavailable(_reasons(self._devices))
        records: list[Sample | Event] = []
        if now_ns >= self._check_ns:
            self._check_ns = now_ns + round(RARE_S * _NS)
            records += [_reconfigured(t_ns, device) for device in self._devices if device.reconfigured()]
        for place, device in enumerate(self._devices):
            records += self._samples(device, t_ns, now_ns, place / len(self._devices))
        records += self._losses(t_ns)
        return records + (self._xids.drain(t_ns) if self._xids else [])

    def close(self) -> None:
        """Let go of NVML; a second call does nothing."""
        nv, self._nv = self._nv, None
        if nv is None:
            return
        if self._xids is not None:
            self._xid_counts = self._xids.counts
            if not self._xids.close():
                # A thread that hangs in the driver still needs NVML.
                return
        for device in self._devices:
            device.close()
        with suppress(*errors(nv)):
            nv.nvmlShutdown()

    def _open(self) -> None:
        self._nv, count = _open_nvml()
        self._devices, self._xids = [], None
        try:
            self._open_devices(self._nv, count)
        except BaseException:
            self.close()
            raise
        now_ns = self._clock()
        self._check_ns, self._reopen_ns = now_ns + round(RARE_S * _NS), now_ns + round(REOPEN_S * _NS)

    def _open_devices(self, nv: ModuleType, count: int) -> None:
        world = World(nv=nv, gpus=count, clock=self._clock, sleep=self._sleep)
        self._devices = [Device(world, index) for index in range(count)]
        handles = {device.index: device.handle for device in self._devices if not device.lost}
        if not handles:
            raise Unavailable(_reasons(self._devices))
        self._xids = XidWatch(nv, handles, self._xid_counts, self._clock)

    def _samples(self, device: Device, t_ns: int, now_ns: int, turn: float) -> list[Sample]:
        found = device.read(now_ns, round(self.interval_s * _NS / 2), turn)
        if self._xids is not None:
            unwatched = self._xids.absent.get(device.index)
            found[device.subject]["xid_errors_total"] = unwatched or float(self._xids.counts[device.index])
        return [
            Sample(t_ns=t_ns, source="nvml", subject=subject, values=values)
            for subject, values in found.items()
            if values
        ]

    def _losses(self, t_ns: int) -> list[Event]:
        """An event for each GPU that was lost or came back since the last reading."""
        lost = {device.index: device.lost for device in self._devices if device.lost}
        events = [
            Event(t_ns=t_ns, kind="gpu_lost", name=f"gpu:{index}", detail={"reason": lost[index].reason})
            for index in sorted(lost.keys() - self._told)
        ]
        events += [Event(t_ns=t_ns, kind="gpu_back", name=f"gpu:{index}") for index in sorted(self._told - lost.keys())]
        if lost.keys() - self._told:
            self._reopen_ns = self._clock() + round(REOPEN_S * _NS)
        self._told = set(lost)
        return events


def _reconfigured(t_ns: int, device: Device) -> Event:
    instances = ", ".join(map(str, device.instances()))
    return Event(t_ns=t_ns, kind="mig_layout", name=device.subject, detail={"instances": instances})


def _reasons(devices: list[Device]) -> str:
    return "; ".join(f"{device.subject}: {device.lost.reason}" for device in devices if device.lost)


def _open_nvml() -> tuple[ModuleType, int]:
    """The binding, with NVML open, and how many GPUs there are."""
    try:
        import pynvml as nv
    except ImportError as error:
        raise Unavailable(_NO_BINDING) from error
    try:
        nv.nvmlInit()
    except errors(nv) as error:
        raise not_opened(error) from error
    try:
        count: int = nv.nvmlDeviceGetCount()
    except errors(nv) as error:
        nv.nvmlShutdown()
        raise not_opened(error) from error
    if not count:
        nv.nvmlShutdown()
        raise Unavailable(_NO_GPU)
    return nv, count


def _describe(nv: ModuleType, index: int) -> Gpu | None:
    """A GPU as its driver names it, with what it does not say left out; None if it does not open."""

    def ask(call: Callable[[], float], scale: float = 1.0) -> float | None:
        try:
            return call() * scale
        except errors(nv):
            return None

    try:
        handle = nv.nvmlDeviceGetHandleByIndex(index)
        name, uuid = nv.nvmlDeviceGetName(handle), nv.nvmlDeviceGetUUID(handle)
        driver_version = nv.nvmlSystemGetDriverVersion()
    except errors(nv):
        return None
    memory_bytes = ask(lambda: nv.nvmlDeviceGetMemoryInfo(handle).total)
    return Gpu(
        index=index,
        name=name,
        uuid=uuid,
        memory_bytes=None if memory_bytes is None else int(memory_bytes),
        power_limit_watts=ask(lambda: nv.nvmlDeviceGetEnforcedPowerLimit(handle), 1e-3),
        max_sm_clock_hz=ask(lambda: nv.nvmlDeviceGetMaxClockInfo(handle, nv.NVML_CLOCK_SM), 1e6),
        driver_version=driver_version,
    )
