"""The host: cores, pressure, memory, disks, network, and the limits of the container that the collector runs in.

Everything is read from ``/proc`` and ``/sys/fs/cgroup``, needs no privilege, and costs about a millisecond (most of it
the kernel's own, in ``/proc/stat``). Subjects are ``host``, ``cpu:<n>`` for each core (256 at most, every five
seconds), ``disk:<name>`` and ``net:<name>`` (16 of each at most; whole disks and real interfaces only, so that nothing
is counted twice) and ``cgroup:collector``. The server's own limits are read by the source ``processes``, which knows
where the server is.

Counters are the kernel's. Two need care: ``iowait`` may fall, so a small fall is held back instead of being taken for
a restart; and inside a container ``/proc`` speaks of the whole host, only the cgroup speaks of the container.
"""

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from collector.options import Options
from collector.schema import Absent, Sample
from collector.sources import Unavailable
from collector.sources._cgroup import cgroup
from collector.sources._procfs import FAULTS, Seldom, Values, amount, measured, named, pressure, read_lines, why

#: Name and figures.
_Device: TypeAlias = tuple[str, Values]

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SECTOR_BYTES = 512
_MOST_CORES, _MOST_DEVICES = 256, 16
#: Counters lose nothing by being read less often, and of cores there are many.
_CORES_S = 5.0
#: A counter of CPU time that falls by less than this was corrected by the kernel; by more, it started again.
_CORRECTION_S = 3.0

_CPU = ("cpu_busy_seconds_total", "cpu_iowait_seconds_total", "cpu_steal_seconds_total")
_CORE = "core_busy_seconds_total"
_RUNNABLE, _LOAD = "runnable_tasks", "load_1min"
_MEMORY = {
    "MemTotal": ("host_memory_total_bytes", 1024.0),
    "MemAvailable": ("host_memory_available_bytes", 1024.0),
}
#: Whole disks by the kernel's names: no partitions, no loop or RAM disks, nothing stacked on other disks.
_DISK_NAME = re.compile(r"(?:sd|hd|vd|xvd|dasd)[a-z]+|nvme\d+n\d+|mmcblk\d+|pmem\d+")
#: Column of ``/proc/diskstats`` → quantity and the factor that gives its unit.
_DISK = {
    3: ("disk_reads_total", 1.0),
    5: ("disk_read_bytes_total", _SECTOR_BYTES),
    6: ("disk_read_seconds_total", 1e-3),
    7: ("disk_writes_total", 1.0),
    9: ("disk_written_bytes_total", _SECTOR_BYTES),
    10: ("disk_write_seconds_total", 1e-3),
    12: ("disk_busy_seconds_total", 1e-3),
}
_INTERFACE_NAME = re.compile(r"[!-.0-~]{1,15}")
#: Interfaces that stay inside the host or carry what another one carries, too.
_INNER_INTERFACE = re.compile(r"lo$|veth|docker|br-|virbr|cni|cali|flannel|ifb|dummy|tunl|kube|lxc|cilium|nodelocaldns")
#: Column of ``/proc/net/dev`` after the name → quantity.
_NET = {
    0: "net_received_bytes_total",
    2: "net_receive_errors_total",
    3: "net_receive_drops_total",
    8: "net_sent_bytes_total",
    10: "net_send_errors_total",
    11: "net_send_drops_total",
}


def open_source(options: Options) -> "Host":
    """The host that the options' trees describe.

    Raises:
        Unavailable: There is no ``/proc``, as on a system that is not Linux.
    """
    path = options.proc / "stat"
    try:
        read_lines(path)
    except OSError as error:
        raise Unavailable(f"{why(path, error)}; the host is read from the /proc of Linux") from error
    return Host(options)


class Host:
    """The host, ready to be read."""

    def __init__(self, options: Options) -> None:
        self.interval_s = options.interval_s
        self._proc, self._sys = options.proc, options.sys
        self._cpu_s: dict[str, float] = {}
        self._detail = Seldom(_CORES_S, self.interval_s)

    def read(self, t_ns: int) -> list[Sample]:
        """One reading; never raises, whatever the files hold."""
        subjects = {
            **self._cpus(with_cores=self._detail.due(t_ns)),
            **_devices(self._proc / "diskstats", "disk", _disk, [name for name, _ in _DISK.values()]),
            **_devices(self._proc / "net" / "dev", "net", _interface, list(_NET.values())),
            "cgroup:collector": cgroup(self._proc, self._sys),
        }
        return [Sample(t_ns=t_ns, source="host", subject=name, values=values) for name, values in subjects.items()]

    def close(self) -> None:
        """Nothing is held open."""

    def _cpus(self, *, with_cores: bool) -> dict[str, Values]:
        """The host as a whole, then each core if asked for."""
        cores: dict[str, Values] = {}

        def parse(lines: list[str]) -> dict[str, float]:
            host, *each = (line.split() for line in lines if line.startswith("cpu"))
            for name, *ticks in each[:_MOST_CORES] if with_cores else ():
                core = f"cpu:{amount(name[3:]):.0f}"
                cores[core] = {_CORE: self._rising(core, _core_seconds(ticks)[0])}
            rising = {
                name: self._rising(name, value) for name, value in zip(_CPU, _core_seconds(host[1:]), strict=True)
            }
            rising.update((_RUNNABLE, amount(line.split()[1])) for line in lines if line.startswith("procs_running "))
            return rising

        return {
            "host": {
                **measured(self._proc / "stat", [*_CPU, _RUNNABLE], parse),
                **measured(self._proc / "loadavg", [_LOAD], lambda lines: {_LOAD: _load(lines[0])}),
                **pressure("", "cpu", self._proc / "pressure" / "cpu"),
                **pressure("", "memory", self._proc / "pressure" / "memory"),
                **pressure("", "io", self._proc / "pressure" / "io"),
                **named(self._proc / "meminfo", _MEMORY),
            },
            **cores,
        }

    def _rising(self, counter: str, value: float) -> float:
        """The counter, held where the kernel corrected it downwards."""
        last = self._cpu_s.get(counter, 0.0)
        if last - _CORRECTION_S < value < last:
            return last
        self._cpu_s[counter] = value
        return value


def _core_seconds(ticks: list[str]) -> tuple[float, float, float]:
    """Busy, iowait and steal seconds; what guests used is part of ``user`` already."""
    user, nice, system, _, iowait, irq, softirq, steal = (amount(tick) / _TICKS_PER_S for tick in ticks[:8])
    return user + nice + system + irq + softirq, iowait, steal


def _load(line: str) -> float:
    value = float(line.split(maxsplit=1)[0])
    if not 0 <= value < math.inf:
        raise ValueError(line)
    return value


def _devices(path: Path, kind: str, parse: Callable[[str], _Device | None], quantities: list[str]) -> dict[str, Values]:
    """Figures of each device by its subject; where there is none, why."""
    try:
        devices = [device for line in read_lines(path) if (device := parse(line))]
    except FAULTS as error:
        return {kind: dict.fromkeys(quantities, Absent(why(path, error)))}
    if not devices:
        return {kind: dict.fromkeys(quantities, Absent(f"{path}: names none that counts"))}
    return {f"{kind}:{name}": values for name, values in devices[:_MOST_DEVICES]}


def _disk(line: str) -> _Device | None:
    columns = line.split()
    name = columns[2]
    if not _DISK_NAME.fullmatch(name):
        return None
    return name, {quantity: amount(columns[column]) * factor for column, (quantity, factor) in _DISK.items()}


def _interface(line: str) -> _Device | None:
    name, colon, figures = line.strip().rpartition(":")
    if not colon or not _INTERFACE_NAME.fullmatch(name) or _INNER_INTERFACE.match(name):
        return None
    columns = figures.split()
    return name, {quantity: amount(columns[column]) for column, quantity in _NET.items()}
