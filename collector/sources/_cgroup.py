"""Limits and throttling of a process, as its container sees them: cgroup v2.

A container sees its own group as the root. Elsewhere a group may be limited by those above it, so the tightest limit
up to the root counts, with the throttling and the memory of the group that sets it.
"""

import math
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from collector.schema import Absent
from collector.sources._procfs import FAULTS, Values, amount, measured, named, pressure, pressure_names, read_lines, why

_USAGE = {"usage_usec": ("cgroup_cpu_seconds_total", 1e-6)}
_THROTTLING = {
    "nr_periods": ("cgroup_cpu_periods_total", 1.0),
    "nr_throttled": ("cgroup_cpu_throttled_periods_total", 1.0),
    "throttled_usec": ("cgroup_cpu_throttled_seconds_total", 1e-6),
}
_KILLS = {"oom_kill": ("cgroup_oom_kills_total", 1.0)}
_WAITED = ("cpu", "memory", "io")
#: What one group file holds; the limits and the memory come on top.
_FIELDS = (*_USAGE.values(), *_THROTTLING.values(), *_KILLS.values())
_QUANTITIES = (
    "cgroup_cpu_limit_cores",
    "cgroup_memory_limit_bytes",
    "cgroup_memory_bytes",
    *(name for name, _ in _FIELDS),
    *(name for waited in _WAITED for name in pressure_names("cgroup_", waited).values()),
)
_DEEPEST = 16


class _NoGroupError(Exception):
    """There is no cgroup v2 to read; the message says why, and what would grant it."""


def cgroup(proc: Path, sys: Path, pid: str = "self") -> Values:
    """Everything about the group of a process; what cannot be read is absent with its reason."""
    try:
        levels = _levels(proc, sys, pid)
    except _NoGroupError as error:
        return dict.fromkeys(_QUANTITIES, Absent(str(error)))
    leaf = levels[0]
    cpu_limit, cpu_level = _tightest(levels, "cpu.max", _cores)
    memory_limit, memory_level = _tightest(levels, "memory.max", _bytes)
    memory = "cgroup_memory_bytes"
    values = {
        "cgroup_cpu_limit_cores": cpu_limit,
        **named(leaf / "cpu.stat", _USAGE),
        **named(cpu_level / "cpu.stat", _THROTTLING),
        "cgroup_memory_limit_bytes": memory_limit,
        **measured(memory_level / "memory.current", [memory], lambda lines: {memory: amount(lines[0])}),
        **named(leaf / "memory.events", _KILLS),
    }
    for waited in _WAITED:
        values |= pressure("cgroup_", waited, leaf / f"{waited}.pressure")
    return values


def _levels(proc: Path, sys: Path, pid: str) -> list[Path]:
    """Folders of the group and of those above it, the group first."""
    path = proc / pid / "cgroup"
    try:
        group = next((line[3:] for line in read_lines(path) if line.startswith("0::/")), "/")
    except FAULTS as error:
        raise _NoGroupError(why(path, error)) from error
    mount = sys / "fs" / "cgroup"
    if ".." in PurePosixPath(group).parts:
        # Outside our own group lies another container's; only its own root shows what it sees.
        mount, group = proc / pid / "root" / "sys" / "fs" / "cgroup", "/"
    try:
        (mount / "cgroup.controllers").stat()
    except OSError as error:
        raise _NoGroupError(_why_not(mount, error)) from error
    folder, *above = (mount.joinpath(*parts) for parts in _prefixes(group))
    # With the host's cgroup namespace the path names folders that the container's mount does not show.
    return [folder, *above] if (folder / "cgroup.controllers").is_file() else [mount]


def _prefixes(group: str) -> list[tuple[str, ...]]:
    parts = PurePosixPath(group.replace("\0", "")).parts[1:][:_DEEPEST]
    return [parts[:count] for count in range(len(parts), -1, -1)]


def _why_not(mount: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"{mount}: another container's; running as its user, or CAP_SYS_PTRACE, shows it"
    if (mount / "cpu").exists() or (mount / "memory").exists():
        return f"{mount}: this host has cgroup v1; systemd.unified_cgroup_hierarchy=1 at its boot grants v2"
    return f"{mount}: no cgroup v2 is mounted"


def _tightest(levels: list[Path], name: str, limit_of: Callable[[str], float]) -> tuple[float | Absent, Path]:
    """The tightest limit and the folder that sets it; the group's own where nothing limits it."""
    limits = []
    for level in levels:
        path = level / name
        try:
            limits.append((limit_of(read_lines(path)[0]), level))
        except FileNotFoundError:
            # The root group has no such file: nothing limits it.
            continue
        except FAULTS as error:
            return Absent(why(path, error)), levels[0]
    limit, level = min(limits, default=(math.inf, levels[0]), key=lambda found: found[0])
    if math.isinf(limit):
        return Absent(f"{levels[0] / name}: no limit is set"), levels[0]
    return limit, level


def _cores(text: str) -> float:
    """``200000 100000`` are two cores."""
    quota, period = text.split()
    return math.inf if quota == "max" else amount(quota) / max(amount(period), 1.0)


def _bytes(text: str) -> float:
    return math.inf if text.strip() == "max" else amount(text)
