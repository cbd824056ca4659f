"""The loop: one clock, a thread a source, one writer.

A source is read on its own thread at multiples of its interval, so that one that hangs, raises or vanishes stops no
other. What they bring meets in one queue, which ``Sampler.step`` empties once a second into the store and the
exposition. Every tick is accounted for: read, failed or missed.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType

from collector.errors import UserError
from collector.health import Clock, Health
from collector.options import Options
from collector.overhead import Governor, Usage, own_samples, own_usage
from collector.schema import Event
from collector.sources import Source, Unavailable
from collector.store import Record, RunWriter

#: A source that could not be opened is tried again after this long.
RETRY_S = 30.0
#: Records kept while the disk refuses them: a minute of eight GPUs at 10 Hz; older ones are lost, and counted.
_BACKLOG = 6000
#: The wall clock and the monotonic clock drift apart by less than this in a second; a step is more.
_CLOCK_STEP_NS = 500_000_000


@dataclass
class Runner:
    """Reads one source: opens it, times it, and turns whatever it does into records."""

    name: str
    open_source: Callable[[Options], Source]
    options: Options
    clock: Clock = field(default_factory=Clock)
    health: Health = field(default_factory=Health)
    _source: Source | None = None
    _retry_at: float = 0.0

    def read(self) -> list[Record]:
        """One tick: what was read, and an event where the state of the source changed."""
        if self._source is None and self.clock.monotonic() < self._retry_at:
            return []
        was = (self.health.success, self.health.reason)
        self.health.began, cpu_s = self.clock.monotonic(), self.clock.thread_cpu()
        t_ns = self.clock.now_ns()
        try:
            records = self._records(t_ns)
        except Unavailable as error:
            self._close()
            self._retry_at = self.clock.monotonic() + RETRY_S
            records = self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - a source may fail in any way and must stop no other
            records = self._failed(f"{type(error).__name__}: {error}")
        else:
            self.health.readings += 1
            self.health.success, self.health.reason, self.health.last_success_ns = True, "", t_ns
        self.health.read_s += self.clock.monotonic() - self.health.began
        self.health.cpu_s += self.clock.thread_cpu() - cpu_s
        self.health.began = None
        if was != (self.health.success, self.health.reason):
            kind = "source_up" if self.health.success else "source_down"
            records.append(Event(t_ns=t_ns, kind=kind, name=self.name, detail={"reason": self.health.reason}))
        return records

    def _records(self, t_ns: int) -> list[Record]:
        if self._source is None:
            self._source = self.open_source(self.options)
            self.health.interval_s = self._source.interval_s
        return list(self._source.read(t_ns))

    def _failed(self, reason: str) -> list[Record]:
        self.health.failures += 1
        self.health.success, self.health.reason = False, reason
        return []

    def _close(self) -> None:
        if self._source is not None:
            source, self._source = self._source, None
            source.close()

    def loop(
        self, stop: threading.Event, out: "queue.SimpleQueue[list[Record]]", slowdown: Callable[[], float]
    ) -> None:
        """Read at multiples of the interval until told to stop; ticks that pass meanwhile are counted as missed."""
        due = self.clock.monotonic()
        while not stop.wait(max(0.0, due - self.clock.monotonic())):
            out.put(self.read())
            interval = (self.health.interval_s or self.options.interval_s) * slowdown()
            late = self.clock.monotonic() - due
            missed = int(late // interval)
            self.health.missed_ticks += missed
            due += (missed + 1) * interval
        self._close()


class Sampler:
    """All sources, and where their records go."""

    def __init__(
        self,
        plugins: Mapping[str, ModuleType],
        options: Options,
        *,
        writer: RunWriter | None = None,
        observe: Callable[[Iterable[Record]], None] = lambda _: None,
        clock: Clock | None = None,
        read_usage: Callable[[], Usage] = own_usage,
    ) -> None:
        """Prepare the sources that the options name; nothing runs yet.

        Args:
            plugins: Sources by name, from ``discover``.
            options: What the collector was told.
            writer: The run folder, or None.
            observe: Called with the records of each second, for the exposition.
            clock: The time.
            read_usage: What the collector itself has used.

        Raises:
            UserError: The options name a source that does not exist.
        """
        self.options = options
        self.clock = clock or Clock()
        chosen = options.sources or tuple(plugins)
        if unknown := set(chosen) - set(plugins):
            raise UserError(f"no source is called {', '.join(sorted(unknown))}; there are {', '.join(plugins)}")
        self.runners = {
            name: Runner(name, plugins[name].open_source, options, self.clock) for name in plugins if name in chosen
        }
        self.slowdown = 1.0
        self.lost_records = 0
        self.store_fault = ""
        self._writer, self._observe, self._read_usage = writer, observe, read_usage
        self._governor = Governor(options.max_cpu_ratio)
        self._queue: queue.SimpleQueue[list[Record]] = queue.SimpleQueue()
        self._backlog: deque[Record] = deque()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._hung: set[str] = set()
        self._offset_ns: int | None = None

    def start(self) -> None:
        """Begin to read, each source on its own thread."""
        for name, runner in self.runners.items():
            thread = threading.Thread(
                target=runner.loop, args=(self._stop, self._queue, lambda: self.slowdown), name=name, daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def step(self) -> None:
        """Take what was read since the last call to the store and the exposition."""
        records = [*self._drain(), *self._clock_events(), *self._hang_events(), *self._own_records()]
        self._observe(records)
        if self._writer is not None:
            self._store(records, self._writer)

    def stop(self, timeout_s: float = 1.0) -> None:
        """Stop reading and store what is left; a source that hangs is left behind."""
        self._stop.set()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self.step()

    def _drain(self) -> Iterable[Record]:
        while not self._queue.empty():
            yield from self._queue.get()

    def _store(self, records: Iterable[Record], writer: RunWriter) -> None:
        """Write; while the disk refuses, keep the newest records and count what had to go."""
        self._backlog.extend(records)
        while len(self._backlog) > _BACKLOG:
            self._backlog.popleft()
            self.lost_records += 1
        try:
            if self.store_fault:
                writer.flush()
                self._backlog.append(self._gap())
            writer.add(self._backlog)
            self._backlog.clear()
            writer.flush()
        except UserError as error:
            self.store_fault = str(error)
        else:
            self.store_fault = ""

    def _gap(self) -> Event:
        return Event(
            t_ns=self.clock.now_ns(),
            kind="gap",
            name="store",
            detail={"reason": self.store_fault, "lost_records": self.lost_records},
        )

    def _clock_events(self) -> Iterable[Event]:
        """An event where the wall clock was set, or the machine was suspended: the two look alike from here."""
        offset_ns = self.clock.now_ns() - round(self.clock.monotonic() * 1e9)
        step_ns = offset_ns - (offset_ns if self._offset_ns is None else self._offset_ns)
        self._offset_ns = offset_ns
        if abs(step_ns) > _CLOCK_STEP_NS:
            detail = {"step_s": step_ns / 1e9}
            yield Event(t_ns=self.clock.now_ns(), kind="clock_jump", name="wall clock", detail=detail)

    def _own_records(self) -> Iterable[Record]:
        """What the collector itself costs, and an event where its rates were changed to keep that down."""
        t_ns = self.clock.now_ns()
        usage = self._read_usage()
        slowdown = self._governor.slowdown(usage.cpu_s, self.clock.monotonic())
        if slowdown != self.slowdown:
            self.slowdown = slowdown
            yield Event(t_ns=t_ns, kind="rate_change", name="collector", detail={"intervals": slowdown})
        yield from own_samples(
            t_ns, usage, {name: runner.health for name, runner in self.runners.items()}, self.lost_records
        )

    def _hang_events(self) -> Iterable[Event]:
        now = self.clock.monotonic()
        hung = {name for name, runner in self.runners.items() if runner.health.hangs(now)}
        for name in sorted(hung - self._hung):
            yield Event(t_ns=self.clock.now_ns(), kind="source_hangs", name=name)
        self._hung = hung
