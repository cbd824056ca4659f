"""What each process has of a GPU. Private to the ``nvml`` source.

Pids are those of the host: in a container without the host's pid namespace they match no local process, or the
driver lists none.
"""

from collections.abc import Callable, Sequence
from types import ModuleType

from collector.schema import Absent
from collector.sources._gpm import ratio
from collector.sources._nvml_errors import LASTING, Code, absent, code_of, errors
from collector.sources._nvml_readings import Handle, Value

#: Values by subject.
Found = dict[str, dict[str, Value]]

_MEMORY = "process_gpu_memory_bytes"
_UTILIZATION = ("process_sm_utilization_ratio", "process_memory_busy_ratio")
_HIDDEN = Absent("the driver does not say how much memory a process holds here")
_NOTHING_NEW = Absent("the driver has no newer sample: the process ran nothing since the last reading")


class Processes:
    """The processes on one GPU, or on one GPU instance of MIG."""

    def __init__(self, nv: ModuleType, subject: str, handles: Sequence[Handle]) -> None:
        """Read nothing yet.

        Args:
            nv: The module ``pynvml``.
            subject: What the processes run on; theirs are ``<subject>/pid:<pid>``.
            handles: The GPU, or all compute instances of a GPU instance.
        """
        self._nv, self._subject, self._handles = nv, subject, handles
        self._pids: set[int] = set()
        self._newest_us = 0
        self._never: dict[tuple[str, ...], Absent] = {}

    def memory(self) -> Found:
        """Memory of each process.

        Raises:
            GpuLost: The GPU cannot be read at all.
            Unavailable: NVML cannot.
        """
        return self._ask((_MEMORY,), self._memory)

    def utilization(self) -> Found:
        """Share of the GPU of each process, in the driver's newest sample of it; raises as ``memory``."""
        return self._ask(_UTILIZATION, self._utilization)

    def _ask(self, quantities: tuple[str, ...], ask: Callable[[], Found]) -> Found:
        """Ask; a refusal is told of the GPU, for want of a process to tell it of."""
        if quantities in self._never:
            return {self._subject: dict.fromkeys(quantities, self._never[quantities])}
        try:
            return ask()
        except errors(self._nv) as error:
            reason = absent(code_of(error), error)
            if code_of(error) in LASTING:
                self._never[quantities] = reason
            return {self._subject: dict.fromkeys(quantities, reason)}

    def _memory(self) -> Found:
        found: Found = {}
        for handle in self._handles:
            for process in self._nv.nvmlDeviceGetComputeRunningProcesses(handle):
                used = process.usedGpuMemory
                found[self._of(process.pid)] = {_MEMORY: _HIDDEN if used is None else float(used)}
                self._pids.add(process.pid)
        self._pids = {pid for pid in self._pids if self._of(pid) in found}
        return found

    def _utilization(self) -> Found:
        found: Found = {self._of(pid): dict.fromkeys(_UTILIZATION, _NOTHING_NEW) for pid in self._pids}
        try:
            samples = self._nv.nvmlDeviceGetProcessUtilization(self._handles[0], self._newest_us)
        except errors(self._nv) as error:
            if code_of(error) != Code.NOT_FOUND:
                raise
            return found
        # Some drivers pad the list with entries that belong to no process.
        new = [sample for sample in samples if sample.pid and sample.timeStamp > self._newest_us]
        for sample in sorted(new, key=lambda sample: sample.timeStamp):
            shares = (ratio(sample.smUtil), ratio(sample.memUtil))
            found[self._of(sample.pid)] = dict(zip(_UTILIZATION, shares, strict=True))
            self._newest_us = sample.timeStamp
        return found

    def _of(self, pid: int) -> str:
        return f"{self._subject}/pid:{pid}"
