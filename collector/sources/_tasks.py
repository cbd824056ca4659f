"""Processes and threads as ``/proc`` shows them, one at a time and as a tree."""

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from collector.schema import Absent
from collector.sources._procfs import (
    FAULTS,
    PAST_THE_COUNTERS,
    Values,
    amount,
    measured,
    named,
    read_bytes,
    read_lines,
    why,
)
from collector.sources._roles import OTHER

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_LONGEST_TITLE = 4096
#: States of a process that has ended: nobody asked yet how.
ENDED = "ZX"

_QUANTITIES = {
    "process": ("process_cpu_seconds_total", "process_resident_bytes", "process_threads"),
    "thread": ("thread_cpu_seconds_total",),
}
_SWITCHES = {"voluntary_ctxt_switches": "voluntary", "nonvoluntary_ctxt_switches": "involuntary"}


class Process(NamedTuple):
    """One process, as one reading of ``/proc/<pid>/stat`` shows it."""

    pid: int
    parent: int
    #: ``Z`` and ``X`` have ended.
    state: str
    #: Clock ticks since boot; with the pid, its identity.
    started: int
    cpu_ticks: int
    threads: int
    resident_pages: int


@dataclass(frozen=True)
class Task:
    """A process or a thread that is followed."""

    folder: Path
    #: Ticks since boot: a number that is used again shows another one.
    started: int
    subject: str
    role: str = OTHER

    @cached_property
    def files(self) -> tuple[Path, Path, Path]:
        """Where its figures are: made once, because a path costs as much to make as its file to read."""
        return self.folder / "stat", self.folder / "status", self.folder / "schedstat"


def read_process(folder: Path) -> Process:
    """A process, or a thread by its folder in ``task/``.

    Raises:
        OSError: It ended, or may not be read.
        ValueError, LookupError: The file is not what the kernel writes.
    """
    return _read_stat(folder / "stat", int(folder.name))


def _read_stat(stat: Path, pid: int) -> Process:
    line = read_lines(stat)[0]
    # A name may hold spaces and brackets; the last bracket ends it.
    fields = line[line.rindex(")") + 1 :].split(None, 22)
    parent, user, system, threads, started, resident = figures = [int(fields[at]) for at in (1, 11, 12, 17, 19, 21)]
    if min(figures) < 0 or max(figures) >= PAST_THE_COUNTERS:
        raise ValueError(line)
    return Process(pid, parent, fields[0], started, user + system, threads, resident)


def title_of(folder: Path) -> str:
    """The command line, or the name where there is none; empty where neither can be read."""
    for name in ("cmdline", "comm"):
        with suppress(OSError):
            text = read_bytes(folder / name, _LONGEST_TITLE).replace(b"\0", b" ").decode("utf-8", "replace").strip()
            if text:
                return text
    return ""


def numbered(folder: Path) -> list[Path]:
    """Folders whose names are numbers, in their order.

    Raises:
        OSError: The folder cannot be listed.
    """
    return sorted((found for found in folder.iterdir() if found.name.isdecimal()), key=lambda found: int(found.name))


def all_processes(proc: Path) -> dict[int, Process]:
    """Every process that can be seen."""
    found = {}
    with suppress(OSError):
        for folder in numbered(proc):
            with suppress(*FAULTS):
                found[int(folder.name)] = read_process(folder)
    return found


def own_pid(proc: Path) -> int | None:
    """This process's number as that tree of ``/proc`` counts; None where it does not show it."""
    with suppress(OSError, ValueError):
        return int((proc / "self").readlink().name)
    return None


def tree(roots: set[int], processes: dict[int, Process]) -> list[int]:
    """The roots and all that descend from them, parents before children."""
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    found = dict.fromkeys(sorted(roots & processes.keys()))
    queue = list(found)
    for pid in queue:
        new = [child for child in sorted(children.get(pid, [])) if child not in found]
        found.update(dict.fromkeys(new))
        queue += new
    return list(found)


def figures(task: Task, kind: str) -> Values | None:
    """What a ``process`` or a ``thread`` has used and waited for; None if it ended."""
    quantities = _QUANTITIES[kind]
    values: Values
    stat, status, schedstat = task.files
    try:
        found = _read_stat(stat, int(task.folder.name))
    except (FileNotFoundError, ProcessLookupError):
        return None
    except FAULTS as error:
        values = dict.fromkeys(quantities, Absent(why(stat, error)))
    else:
        if found.started != task.started or found.state in ENDED:
            return None
        used = (found.cpu_ticks / _TICKS_PER_S, float(found.resident_pages * _PAGE_BYTES), float(found.threads))
        values = dict(zip(quantities, used, strict=False))
    wait = f"{kind}_cpu_wait_seconds_total"
    switches = {field: (f"{kind}_{switch}_switches_total", 1.0) for field, switch in _SWITCHES.items()}
    return {
        **values,
        **named(status, switches),
        **measured(schedstat, [wait], lambda lines: {wait: amount(lines[0].split()[1]) / 1e9}),
    }
