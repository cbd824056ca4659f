"""The server's processes: CPU, memory and waiting of each, and of its busiest threads.

The server is found from ``--pid``, or else from the port of the endpoint, or else among the processes that use the
GPUs, where one of them alone can be meant; all that descends from it is followed. It is looked for again every ten
seconds and when a process ends, and its threads are read every five. Everything is read from ``/proc`` without
privilege: about 0.1 ms for a process and for a thread. A server in another container needs a process namespace that is
shared (``shareProcessNamespace: true``); one of another user is still found if its title tells which it is. The driver
knows the GPUs' processes by the host's numbers only (``hostPID: true``). The collector itself never belongs to a
server.

Subjects are ``server``, ``cgroup:server`` (the limits and throttling of its container), ``process:<pid>/role:<role>``
for at most 64 processes, and ``process:<pid>/role:<role>/thread:<name>-<tid>`` for the 16 busiest threads of all.
Roles are api_server, engine_core, worker, tokenizer, resource_tracker and other, by the titles that servers give
their processes. A process that starts or ends while it is watched is an event.

The kernel counts context switches and waiting for a core by thread: for a process they are those of its main thread,
which in a Python server is the one that matters. A worker that waits for work may spin, so its CPU time is no proof
of work.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from collector.options import Options
from collector.schema import Absent, Event, Sample
from collector.sources import Unavailable
from collector.sources._cgroup import cgroup
from collector.sources._gpu_pids import gpu_pids
from collector.sources._procfs import FAULTS, Seldom, read_lines
from collector.sources._roles import OTHER, role_of
from collector.sources._server import Server, find_server, server_on_gpus, top_of
from collector.sources._tasks import (
    ENDED,
    Process,
    Task,
    all_processes,
    figures,
    numbered,
    own_pid,
    read_process,
    title_of,
    tree,
)

_LOOK_AGAIN_NS = 10_000_000_000
#: Counters lose nothing by being read less often, and of threads there are many.
_THREADS_S = 5.0
_MOST_PROCESSES, _MOST_THREADS, _MOST_SCANNED, _LONGEST_NAME = 64, 16, 2048, 15
_UNNAMED = "no server is named: --endpoint or --pid tells whose processes to watch"
_UNSAFE = re.compile(r"[^\w.+-]", re.ASCII)


def open_source(options: Options) -> "Processes":
    """The processes of the server that the options name.

    Raises:
        Unavailable: It cannot be found; the message says what would grant it.
    """
    return Processes(options)


class Processes:
    """The tree of a server's processes, ready to be read."""

    def __init__(self, options: Options, gpu_pids: Callable[[Path], set[int]] = gpu_pids) -> None:
        """Find the server; raises ``Unavailable`` as ``open_source``."""
        self.interval_s = options.interval_s
        self._gpu_pids = gpu_pids
        self._options, self._proc = options, options.proc
        self._server: Server | None = None
        self._roots: dict[int, int] = {}
        self._tasks: dict[int, Task] = {}
        self._threads: dict[tuple[int, int], Task] = {}
        self._thread_ticks: dict[tuple[int, int, int], int] = {}
        self._count: float | Absent = 0.0
        self._looked_ns: int | None = None
        self._due = False
        self._detail = Seldom(_THREADS_S, self.interval_s)
        processes = self._alive()
        self._take(self._find(processes), processes)

    def read(self, t_ns: int) -> list[Sample | Event]:
        """One reading; never raises, whatever the files hold and whoever ends meanwhile."""
        return list(self._read(t_ns))

    def close(self) -> None:
        """Nothing is held open."""

    def _read(self, t_ns: int) -> Iterator[Sample | Event]:
        if self._looked_ns is None:
            self._looked_ns = t_ns
        if self._due or not 0 <= t_ns - self._looked_ns < _LOOK_AGAIN_NS:
            yield from self._look_again(t_ns)
        for pid, task in list(self._tasks.items()):
            values = figures(task, "process")
            if values is None:
                del self._tasks[pid]
                self._count, self._due = float(len(self._tasks)), True
                yield _event(t_ns, "process_ended", pid, task)
            else:
                yield Sample(t_ns=t_ns, source="processes", subject=task.subject, values=values)
        for key, thread in list(self._threads.items()) if self._detail.due(t_ns) else ():
            values = figures(thread, "thread")
            if values is None:
                del self._threads[key]
            else:
                yield Sample(t_ns=t_ns, source="processes", subject=thread.subject, values=values)
        yield Sample(t_ns=t_ns, source="processes", subject="server", values={"server_processes": self._count})
        if self._tasks:
            values = cgroup(self._proc, self._options.sys, str(next(iter(self._tasks))))
            yield Sample(t_ns=t_ns, source="processes", subject="cgroup:server", values=values)

    def _look_again(self, t_ns: int) -> Iterator[Event]:
        """See who is there now."""
        before, self._looked_ns, self._due = self._tasks, t_ns, False
        processes = self._alive()
        survivors = {pid for pid, task in before.items() if _is(processes.get(pid), task.started)}
        try:
            roots = self._find(processes)
        except Unavailable as error:
            self._take(survivors, processes)
            if not survivors:
                self._count = Absent(str(error))
        else:
            self._take(roots | survivors, processes)
        for pid, task in before.items():
            if pid not in self._tasks or self._tasks[pid].started != task.started:
                yield _event(t_ns, "process_ended", pid, task)
        for pid, task in self._tasks.items():
            if pid not in before or before[pid].started != task.started:
                yield _event(t_ns, "process_started", pid, task)

    def _alive(self) -> dict[int, Process]:
        """Whoever may belong to a server: the collector does not."""
        own = own_pid(self._proc)
        found = all_processes(self._proc).items()
        return {pid: process for pid, process in found if process.state not in ENDED and pid != own}

    def _find(self, processes: dict[int, Process]) -> set[int]:
        """The roots of the tree: those known while one lives, or else the server is looked for."""
        known = {pid for pid, started in self._roots.items() if _is(processes.get(pid), started)}
        if known:
            return known
        self._server = self._named(processes) or self._sought(processes)
        self._roots = {root: processes[root].started for root in self._server.roots}
        return set(self._roots)

    def _named(self, processes: dict[int, Process]) -> Server | None:
        """The server of ``--pid``; None where none was given, or it ended and an endpoint leads on."""
        pid, endpoint = self._options.pid, self._options.endpoint
        if pid is None or (self._server is not None and endpoint is not None):
            return None
        if self._server is not None:
            raise Unavailable(f"process {pid} ended")
        if pid == own_pid(self._proc):
            raise Unavailable(f"process {pid} is the collector itself: --pid names one of the server's")
        if pid not in processes:
            raise Unavailable(f"no process {pid} is seen here; in a pod shareProcessNamespace: true shows them")
        return Server(frozenset({top_of(self._proc, pid, set(), processes)}), frozenset())

    def _sought(self, processes: dict[int, Process]) -> Server:
        """The server at the endpoint, or on the GPUs."""
        endpoint, refused = self._options.endpoint, _UNNAMED
        if endpoint is not None:
            try:
                return find_server(self._proc, endpoint, processes)
            except Unavailable as error:
                refused = str(error)
        try:
            pids = self._gpu_pids(self._proc)
            return server_on_gpus(self._proc, pids, processes, by_title=endpoint is not None)
        except Unavailable as error:
            raise Unavailable(f"{refused}; {error}") from error

    def _take(self, roots: set[int], processes: dict[int, Process]) -> None:
        """Follow a tree, and its busiest threads."""
        pids = tree(roots, processes)
        self._count = float(len(pids))
        self._tasks = {pid: self._task(processes[pid]) for pid in pids[:_MOST_PROCESSES]}
        self._threads = self._busiest()

    def _task(self, process: Process) -> Task:
        pid, known = process.pid, self._tasks.get(process.pid)
        if known and known.started == process.started and known.role != OTHER:
            return known
        folder = self._proc / str(pid)
        role = role_of(title_of(folder))
        if role == OTHER and self._server and pid in self._server.listening:
            role = "api_server"
        return Task(folder, process.started, f"process:{pid}/role:{role}", role)

    def _busiest(self) -> dict[tuple[int, int], Task]:
        """The threads that used most CPU time since the last look; those followed already count twice, for calm."""
        ticks, used, found = {}, {}, {}
        for pid, tid, folder in islice(self._all_threads(), _MOST_SCANNED):
            with suppress(*FAULTS):
                thread = read_process(folder)
                identity = (pid, tid, thread.started)
                ticks[identity] = thread.cpu_ticks
                gain = thread.cpu_ticks - self._thread_ticks.get(identity, 0)
                used[pid, tid] = gain * (2 if (pid, tid) in self._threads else 1)
                found[pid, tid] = (folder, thread.started)
        self._thread_ticks = ticks
        busy = (key for key in used if used[key] > 0 or key in self._threads)
        return {key: self._thread(key, *found[key]) for key in sorted(busy, key=lambda key: -used[key])[:_MOST_THREADS]}

    def _all_threads(self) -> Iterator[tuple[int, int, Path]]:
        for pid, task in self._tasks.items():
            with suppress(OSError):
                for folder in numbered(task.folder / "task"):
                    yield pid, int(folder.name), folder

    def _thread(self, key: tuple[int, int], folder: Path, started: int) -> Task:
        known, process = self._threads.get(key), self._tasks[key[0]]
        if known and known.started == started and known.subject.startswith(f"{process.subject}/"):
            return known
        name = "thread"
        with suppress(*FAULTS):
            name = _UNSAFE.sub("_", read_lines(folder / "comm")[0])[:_LONGEST_NAME]
        return Task(folder, started, f"{process.subject}/thread:{name}-{key[1]}")


def _is(process: Process | None, started: int) -> bool:
    return process is not None and process.started == started


def _event(t_ns: int, kind: str, pid: int, task: Task) -> Event:
    return Event(t_ns=t_ns, kind=kind, name=task.role, detail={"pid": pid, "subject": task.subject})
