"""The loop: one clock, and a thread a source.

A source is read on its own thread at multiples of its interval, so that one that hangs, raises or vanishes stops no
other. What they bring meets in one queue, which ``Sampler.step`` empties once a second. Every tick is accounted for:
read, failed or missed.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import NamedTuple

from collector.errors import UserError
from collector.health import Clock, Health
from collector.options import Options
from collector.overhead import Governor, Usage, own_samples, own_usage
from collector.schema import Event
from collector.sources import Source, Unavailable
from collector.store import Record

#: A source that could not be opened is tried again after this long.
RETRY_S = 30.0
#: Two clocks drift apart by less than this in a second; a step is more.
_CLOCK_STEP_S = 0.5
#: The clocks are read one after the other: what was read apart by more is no basis for a comparison.
_APART_S = 0.05
#: Sources are read at instants that lie apart by this share of an interval (the golden ratio, so that any number of
#: them is spread out): they run in one interpreter, and would wait for each other.
_SPREAD = 0.618
#: A step that comes so late means that the collector itself did not run.
_STALL_S = 5.0
_NS = 1_000_000_000


class Instant(NamedTuple):
    """One instant on three clocks, in seconds."""

    wall: float
    #: Stands still while the machine is suspended.
    awake: float
    #: Goes on.
    booted: float


@dataclass
class Runner:
    """Reads one source: opens it, times it, and turns whatever it does into records."""

    name: str
    open_source: Callable[[Options], Source]
    options: Options
    clock: Clock = field(default_factory=Clock)
    health: Health = field(default_factory=Health)
    #: The second reading comes after this share of an interval, all others after a whole one.
    first_share: float = 1.0
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
            with suppress(Exception):
                source.close()

    def loop(
        self, stop: threading.Event, out: "queue.SimpleQueue[list[Record]]", slowdown: Callable[[], float]
    ) -> None:
        """Read at multiples of the interval until told to stop; ticks that pass meanwhile are counted as missed."""
        due, share = self.clock.monotonic(), self.first_share
        while not stop.wait(max(0.0, due - self.clock.monotonic())):
            out.put(self.read())
            self.health.slowdown = slowdown()
            interval = (self.health.interval_s or self.options.interval_s) * self.health.slowdown
            late = self.clock.monotonic() - due
            missed = int(late // interval)
            self.health.missed_ticks += missed
            due += (missed + share) * interval
            share = 1.0
        self._close()


class Sampler:
    """All sources, read side by side."""

    def __init__(
        self,
        plugins: Mapping[str, ModuleType],
        options: Options,
        *,
        take: Callable[[list[Record]], None] = lambda _: None,
        lost_records: Callable[[], int] = lambda: 0,
        clock: Clock | None = None,
        read_usage: Callable[[], Usage] = own_usage,
    ) -> None:
        """Prepare the sources that the options name; nothing runs yet.

        Args:
            plugins: Sources by name, from ``discover``.
            options: What the collector was told.
            take: Called with the records of each second.
            lost_records: How many of them could not be kept so far.
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
            name: Runner(name, plugins[name].open_source, options, self.clock, first_share=1 - _SPREAD * place % 1)
            for place, name in enumerate(name for name in plugins if name in chosen)
        }
        self.slowdown = 1.0
        #: Why; empty where nothing is slowed down.
        self.slowed = ""
        self._take, self._lost_records, self._read_usage = take, lost_records, read_usage
        self._governor = Governor(options.max_cpu_ratio)
        self._queue: queue.SimpleQueue[list[Record]] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._hung: set[str] = set()
        self._before: Instant | None = None

    def start(self) -> None:
        """Begin to read, each source on its own thread."""
        for name, runner in self.runners.items():
            thread = threading.Thread(
                target=runner.loop, args=(self._stop, self._queue, lambda: self.slowdown), name=name, daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def step(self) -> None:
        """Hand over what was read since the last call, and what happened to the collector itself."""
        read = list(self._drain())
        self._take([*read, *self._clock_events(read), *self._hang_events(), *self._own_records()])

    def stop(self, timeout_s: float = 1.0) -> None:
        """Stop reading and hand over what is left; a source that hangs is left behind."""
        self._stop.set()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self.step()

    def _drain(self) -> Iterable[Record]:
        while not self._queue.empty():
            yield from self._queue.get()

    def _clock_events(self, read: Iterable[Record]) -> Iterable[Event]:
        """An event where the wall clock was set, the machine was suspended, or nothing ran in it for a while."""
        now, before = self._instant(), self._before
        if now is None:
            return
        self._before = now
        if before is None:
            return
        wall_s, awake_s, booted_s = (late - early for late, early in zip(now, before, strict=True))
        end_ns = max(0, round(now.wall * 1e9))
        # Of what lasted, the length is known, also where the clock was set meanwhile.
        t_ns = max(0, end_ns - round(booted_s * 1e9))
        if abs(wall_s - booted_s) > _CLOCK_STEP_S:
            detail: dict[str, str | float] = {"step_s": wall_s - booted_s}
            yield Event(t_ns=end_ns, kind="clock_jump", name="wall clock", detail=detail)
        if booted_s - awake_s > _CLOCK_STEP_S:
            detail = {"reason": "the machine was suspended", "asleep_s": booted_s - awake_s}
            yield Event(t_ns=t_ns, kind="suspend", name="machine", end_ns=end_ns, detail=detail)
        elif awake_s > _STALL_S and not any(t_ns + _NS < record.t_ns < end_ns - _NS for record in read):
            detail = {"reason": "nothing was read: the collector was stopped, or had no CPU time"}
            yield Event(t_ns=t_ns, kind="gap", name="collector", end_ns=end_ns, detail=detail)

    def _instant(self) -> Instant | None:
        """The clocks as they are now; None where reading them was interrupted."""
        awake = self.clock.monotonic()
        instant = Instant(self.clock.now_ns() / 1e9, awake, self.clock.boottime())
        return instant if self.clock.monotonic() - awake < _APART_S else None

    def _own_records(self) -> Iterable[Record]:
        """What the collector itself costs, and an event where its rates were changed to keep that down."""
        t_ns = self.clock.now_ns()
        usage = self._read_usage()
        health = {name: runner.health for name, runner in self.runners.items()}
        reading_s = sum(each.cpu_s for each in health.values())
        slowdown = self._governor.slowdown(usage.cpu_s, reading_s, self.clock.monotonic())
        if slowdown != self.slowdown:
            self.slowdown, self.slowed = slowdown, self._governor.reason
            detail = {"intervals": slowdown, "wanted_cpu_ratio": self._governor.wanted_ratio}
            yield Event(t_ns=t_ns, kind="rate_change", name="collector", detail=detail)
        yield from own_samples(t_ns, usage, health, self._lost_records(), slowdown)

    def _hang_events(self) -> Iterable[Event]:
        now = self.clock.monotonic()
        hung = {name for name, runner in self.runners.items() if runner.health.hangs(now)}
        for name in sorted(hung - self._hung):
            yield Event(t_ns=self.clock.now_ns(), kind="source_hangs", name=name)
        self._hung = hung
