"""The GPUs: driver, performance monitors, what each process has of them, and XID errors.

Reads the source ``nvml`` until each of the performance monitors (GPM) was read once. Only they tell the compute roof
from the memory roof, so a verdict needs them; NVML's “GPU utilization” cannot take their place.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing

from collector.checks import Finding, Found, Topic
from collector.checks._world import World
from collector.schema import Absent, Sample
from collector.sources import Unavailable, _gpm, nvml

TITLE = "GPUs"

#: What the roofs are told apart by, and what tells busy time from idle time: one of the two suffices.
_ROOFS = ("tensor_active_ratio", "dram_active_ratio")
_BUSY = ("graphics_active_ratio", "gpu_utilization_ratio")
_SHARES = ("process_sm_utilization_ratio", "process_memory_busy_ratio")
_XID = "xid_errors_total"
_OWN_FINDING = {*_gpm.QUANTITIES, *_SHARES, _XID}
#: The rarest of the performance monitors are read once a second; this is how long the doctor waits for all of them.
_STEP_S, _STEPS = 0.2, 7


def check(world: World) -> Found:
    """A finding for the driver, and those of each GPU and each GPU instance of MIG."""
    try:
        values = _read(world)
    except Unavailable as error:
        yield Topic("driver", "gpu", "verdict").missing(str(error))
        return
    for gpu in nvml.gpus():
        yield Topic("driver", f"gpu:{gpu.index}", "verdict").ok(
            f"{gpu.name}, driver {gpu.driver_version}",
            name=gpu.name,
            driver_version=gpu.driver_version,
            memory_bytes=gpu.memory_bytes,
        )
    for subject, found in values.items():
        yield Sample(t_ns=world.now_ns, source="nvml", subject=subject, values=found)
        if "/pid:" in subject:
            continue
        if lost := _lost(found):
            yield Topic("driver", subject, "verdict").missing(lost)
            continue
        yield _activity(subject, found)
        if not any(other.startswith(f"{subject}/mig:") for other in values):
            yield _shares(subject, found)
        yield from _xid(subject, found)
        yield from _rest(subject, {name: value for name, value in found.items() if name not in _OWN_FINDING})


def _read(world: World) -> dict[str, dict[str, float | Absent]]:
    """Everything that NVML says, by subject."""
    options = world.options
    values: dict[str, dict[str, float | Absent]] = defaultdict(dict)
    with closing(nvml.Nvml(options.gpu_interval_s or options.interval_s, world.clock, world.sleep)) as source:
        for step in range(_STEPS + 1):
            if step:
                world.sleep(_STEP_S)
            for record in source.read(world.now_ns):
                if isinstance(record, Sample):
                    values[record.subject] |= record.values
            if all(map(_complete, values, values.values())):
                break
    return values


def _complete(subject: str, values: Mapping[str, float | Absent]) -> bool:
    """Whether everything was read once, in a window that held something."""
    monitors = [values.get(name, _gpm.EMPTY) for name in _gpm.QUANTITIES]
    return "/pid:" in subject or bool(_lost(values)) or _gpm.EMPTY not in monitors


def _lost(values: Mapping[str, float | Absent]) -> str:
    """Why nothing at all is read of a GPU; "" where something is. Errors that it reported are counted on."""
    reasons = {value.reason if isinstance(value, Absent) else "" for name, value in values.items() if name != _XID}
    return reasons.pop() if len(reasons) == 1 else ""


def _activity(subject: str, values: Mapping[str, float | Absent]) -> Finding:
    """Whether the performance monitors answer, and so whether the roofs can be told apart."""
    topic = Topic("activity", subject, "verdict")
    read = {name: values.get(name, _gpm.EMPTY) for name in _gpm.QUANTITIES}
    absent = {name: value.reason for name, value in read.items() if isinstance(value, Absent)}
    busy = () if any(isinstance(values.get(name), float) for name in _BUSY) else _BUSY[:1]
    for name in (*_ROOFS, *busy):
        if name in absent:
            return topic.missing(absent[name], absent=absent)
    if absent:
        return topic.degraded(f"GPM does not tell {', '.join(absent)}", absent=absent)
    return topic.ok("GPM tells what SMs, tensor cores, DRAM and PCIe do")


def _shares(subject: str, values: Mapping[str, float | Absent]) -> Finding:
    """What each process has of the GPU; where it is refused, that is told of the GPU."""
    topic = Topic("process_shares", subject)
    refused = [value.reason for name in _SHARES if isinstance(value := values.get(name), Absent)]
    if refused:
        return topic.missing(refused[0])
    return topic.ok("the driver says what each process has of it")


def _xid(subject: str, values: Mapping[str, float | Absent]) -> Iterator[Finding]:
    """Errors are reported of whole GPUs."""
    value = values.get(_XID)
    if isinstance(value, Absent):
        yield Topic("xid", subject).missing(value.reason)
    elif value is not None:
        yield Topic("xid", subject).ok("the driver reports XID errors as they happen")


def _rest(subject: str, values: Mapping[str, float | Absent]) -> Iterator[Finding]:
    """Utilization, memory, power, clocks, energy, health: a finding for each reason why some are not read."""
    topic = Topic("values", subject)
    reasons: dict[str, list[str]] = defaultdict(list)
    for name, value in values.items():
        if isinstance(value, Absent):
            reasons[value.reason].append(name)
    for reason, names in reasons.items():
        said, semicolon, remedy = reason.partition("; ")
        yield topic.degraded(f"not read: {', '.join(names)} ({said}){semicolon}{remedy}", quantities=tuple(names))
    if not reasons:
        yield topic.ok(f"memory, power, clocks, energy and health are read: {len(values)} values")
