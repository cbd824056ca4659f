"""One GPU with its GPU instances of MIG, until it is lost. Private to the ``nvml`` source."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

from collector.schema import Absent
from collector.sources import _gpm, _nvml_readings
from collector.sources._nvml_errors import Code, GpuLost, absent, code_of, errors
from collector.sources._nvml_processes import Found
from collector.sources._nvml_readings import Handle
from collector.sources._nvml_unit import Unit

#: Seconds between two readings of the processes, of ECC, of what hardly changes.
PROCESSES_S, HEALTH_S, RARE_S = 1.0, 5.0, 30.0
#: The same of the calls that cost most CPU on a busy H200 with driver 580: 2.1 ms, 2.9 ms and 5.3 ms.
GRAPHICS_S, SHARES_S, ENERGY_S = 1.0, 5.0, 10.0
#: Each of them is made so often a second at most, over all GPUs.
_COSTLY_HZ = 2


@dataclass(frozen=True, kw_only=True)
class World:
    """What devices need of the world."""

    nv: ModuleType
    #: How many GPUs there are.
    gpus: int
    #: Nanoseconds that never go back.
    clock: Callable[[], int] = time.monotonic_ns
    #: Waits for seconds.
    sleep: Callable[[float], None] = time.sleep

    def spread(self, period_s: float) -> float:
        """The period of a costly call, longer where there are many GPUs."""
        return max(period_s, self.gpus / _COSTLY_HZ)


class Device:
    """One GPU by its index. Opening it never fails: a GPU that does not open is ``lost``, with the reason."""

    def __init__(self, world: World, index: int) -> None:
        """Open it, with its instances."""
        self.index = index
        #: Why nothing of it can be read.
        self.lost: Absent | None = None
        self.handle: Handle = None
        self._world = world
        self._units: list[Unit] = []
        self._instances: dict[int, tuple[str, ...]] = {}
        try:
            self.handle = world.nv.nvmlDeviceGetHandleByIndex(index)
            self._open_units()
        except GpuLost as lost:
            self.lost = Absent(str(lost))
        except errors(world.nv) as error:
            self.lost = _why_lost(error)

    @property
    def subject(self) -> str:
        """Its name in the samples."""
        return f"gpu:{self.index}"

    def read(self, now_ns: int, slack_ns: int, turn: float) -> Found:
        """Everything that is due, as ``Unit.read``, but for a loss: it is remembered, and said of everything."""
        if self.lost is None:
            try:
                found: Found = {}
                for unit in self._units:
                    found |= unit.read(now_ns, slack_ns, turn)
            except GpuLost as lost:
                self.lost = Absent(str(lost))
            else:
                return found
        if not self._units:
            return {self.subject: dict.fromkeys(_nvml_readings.ALWAYS, self.lost)}
        return {unit.subject: values for unit in self._units for values in unit.lost(self.lost).values()}

    def reconfigured(self) -> bool:
        """Whether its instances are others than before; if so, it is opened anew."""
        if self.lost is not None or not self._instances:
            return False
        try:
            if _identities(_instances(self._world.nv, self.handle)) == self._instances:
                return False
            self.close()
            self._open_units()
        except GpuLost as lost:
            self.lost = Absent(str(lost))
        except errors(self._world.nv):
            # It cannot be told now; the next look will.
            return False
        return True

    def instances(self) -> tuple[int, ...]:
        """Ids of its GPU instances."""
        return tuple(self._instances)

    def close(self) -> None:
        """Let go of the GPM samples."""
        for unit in self._units:
            unit.close()

    def _open_units(self) -> None:
        nv, handle, spread = self._world.nv, self.handle, self._world.spread
        try:
            instances = _instances(nv, handle)
        except errors(nv) as error:
            # Where MIG cannot be asked for, the whole GPU is what there is to read.
            absent(code_of(error), error)
            instances = {}
        self._instances = _identities(instances)
        take = partial(nv.nvmlGpmSampleGet, handle)
        whole = Unit(nv, self.subject, handle, _nvml_readings.FAST, self._windows(take, _gpm.METRICS))
        whole.also_graphics(spread(GRAPHICS_S), self._windows(take, _gpm.GRAPHICS))
        whole.also(spread(ENERGY_S), _nvml_readings.ENERGY)
        whole.also(HEALTH_S, _nvml_readings.HEALTH)
        whole.also(RARE_S, _nvml_readings.RARE)
        if not instances:
            whole.also_processes((handle,), spread(PROCESSES_S), spread(SHARES_S))
        self._units = [whole]
        for instance, parts in instances.items():
            handles = tuple(part for _, part in parts)
            take = partial(nv.nvmlGpmMigSampleGet, handle, instance)
            subject, windows = f"{self.subject}/mig:{instance}", self._windows(take, _gpm.METRICS)
            unit = Unit(nv, subject, handles[0], _nvml_readings.INSTANCE_FAST, windows)
            unit.also_graphics(spread(GRAPHICS_S), self._windows(take, _gpm.GRAPHICS))
            unit.also(RARE_S, _nvml_readings.INSTANCE_RARE)
            unit.also_processes(handles, spread(PROCESSES_S), spread(SHARES_S))
            self._units.append(unit)

    def _windows(self, take: Callable[[Any], object], metrics: _gpm.Metrics) -> _gpm.Windows | Absent:
        world = self._world
        no_gpm = _gpm.unsupported(world.nv, self.handle)
        return no_gpm or _gpm.Windows(world.nv, take, metrics, world.clock, world.sleep)


def _why_lost(error: Exception) -> Absent:
    try:
        return absent(code_of(error), error)
    except GpuLost as lost:
        return Absent(str(lost))


def _instances(nv: ModuleType, handle: Handle) -> dict[int, list[tuple[str, Handle]]]:
    """GPU instances by id, each with the names and handles of its compute instances; none where MIG is off."""
    if nv.nvmlDeviceGetMigMode(handle)[0] != nv.NVML_DEVICE_MIG_ENABLE:
        return {}
    found: dict[int, list[tuple[str, Handle]]] = defaultdict(list)
    for place in range(nv.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            part = nv.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
        except errors(nv) as error:
            if code_of(error) != Code.NOT_FOUND:
                raise
            continue
        found[nv.nvmlDeviceGetGpuInstanceId(part)].append((nv.nvmlDeviceGetUUID(part), part))
    return dict(sorted(found.items()))


def _identities(instances: dict[int, list[tuple[str, Handle]]]) -> dict[int, tuple[str, ...]]:
    """What tells a layout from another that uses the same ids again."""
    return {instance: tuple(name for name, _ in parts) for instance, parts in instances.items()}
