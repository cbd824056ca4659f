"""The runner and the loop, on a clock that only moves when told to; one test lets real threads run."""

import queue
import threading
from collections.abc import Callable, Iterable
from itertools import pairwise
from types import ModuleType

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from collector.errors import UserError
from collector.options import Options
from collector.overhead import Governor, Usage
from collector.sampler import RETRY_S, Runner, Sampler
from collector.schema import Event, Sample
from collector.sources import Reading, Unavailable
from collector.store import Record
from tests.collector.clocks import EPOCH_NS, FakeClock


class Scripted:
    """A source that does what its script says, one entry a reading: records, or something to raise."""

    interval_s = 1.0

    def __init__(self, *script: Callable[[int], Reading] | Exception) -> None:
        self.script = list(script)
        self.closed = 0

    def read(self, t_ns: int) -> Reading:
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        return step(t_ns)

    def close(self) -> None:
        self.closed += 1


def power(t_ns: int) -> list[Sample]:
    return [Sample(t_ns=t_ns, source="nvml", subject="gpu:0", values={"power_watts": 700.0})]


def plugin(open_source: Callable[[Options], object]) -> ModuleType:
    module = ModuleType("plugin")
    module.open_source = open_source  # type: ignore[attr-defined]
    return module


def _opens(source: object) -> Callable[[Options], object]:
    return lambda _: source


def events(records: Iterable[Record], kind: str) -> list[Event]:
    return [record for record in records if isinstance(record, Event) and record.kind == kind]


def sampler(seen: list[Record], time: FakeClock, **sources: object) -> Sampler:
    return Sampler(
        {name: plugin(_opens(source)) for name, source in sources.items()},
        Options(),
        take=seen.extend,
        clock=time.clock,
        read_usage=lambda: Usage(0.0, 1, 1),
    )


def test_a_reading_bears_the_instant_of_its_tick() -> None:
    time = FakeClock()

    (sample, event) = Runner("nvml", lambda _: Scripted(power), Options(), time.clock).read()

    assert isinstance(sample, Sample)
    assert sample.t_ns == time.clock.now_ns()
    assert isinstance(event, Event)
    assert event.kind == "source_up"


def test_a_source_that_raises_is_counted_and_said_once_and_read_again() -> None:
    runner = Runner("nvml", lambda _: Scripted(power, ValueError("broken"), power), Options(), FakeClock().clock)

    records = [record for _ in range(4) for record in runner.read()]

    assert [event.detail["reason"] for event in events(records, "source_down")] == ["ValueError: broken"]
    assert len(events(records, "source_up")) == 2
    assert (runner.health.readings, runner.health.failures) == (3, 1)


def test_a_source_that_is_not_there_is_asked_again_only_now_and_then() -> None:
    time = FakeClock()
    asked = []

    def absent(_: Options) -> Scripted:
        asked.append(time.elapsed_s)
        raise Unavailable("no driver: install one")

    runner = Runner("nvml", absent, Options(), time.clock)
    for _ in range(int(RETRY_S) + 2):
        runner.read()
        time.move(1.0)

    assert asked == [100.0, 100.0 + RETRY_S]
    assert runner.health.reason == "no driver: install one"


def test_a_source_that_vanishes_is_closed_and_opened_anew() -> None:
    time = FakeClock()
    lost, fresh = Scripted(power, Unavailable("GPU is lost")), Scripted(power)
    waiting = [lost, fresh]
    runner = Runner("nvml", lambda _: waiting.pop(0), Options(), time.clock)

    runner.read()
    runner.read()
    time.move(RETRY_S)
    records = runner.read()

    assert lost.closed == 1
    assert any(isinstance(record, Sample) for record in records)


def test_a_reading_that_lasts_too_long_becomes_an_event_once() -> None:
    time, seen = FakeClock(), list[Record]()
    loop = sampler(seen, time, nvml=Scripted(power))
    loop.runners["nvml"].health.began = time.elapsed_s
    for _ in range(20):
        time.move(1.0)
        loop.step()

    assert [event.name for event in events(seen, "source_hangs")] == ["nvml"]


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 40 * 365 * 86400.0, -40 * 365 * 86400.0])
def test_a_wall_clock_that_is_set_becomes_an_event(step_s: float) -> None:
    time, seen = FakeClock(), list[Record]()
    loop = sampler(seen, time, nvml=Scripted(power))
    loop.step()
    time.move(1.0)
    time.wall_offset_s += step_s
    loop.step()

    (jump,) = events(seen, "clock_jump")
    assert jump.detail["step_s"] == pytest.approx(step_s)
    assert not [*events(seen, "suspend"), *events(seen, "gap")]


def test_a_machine_that_was_suspended_is_told_from_a_clock_that_was_set() -> None:
    time, seen = FakeClock(), list[Record]()
    loop = sampler(seen, time, nvml=Scripted(power))
    loop.step()
    time.suspend(3600.0)
    time.move(1.0)
    loop.step()

    (slept,) = events(seen, "suspend")
    assert slept.detail["asleep_s"] == pytest.approx(3600.0)
    assert slept.end_ns is not None
    assert slept.end_ns - slept.t_ns == pytest.approx(3601e9)
    assert not [*events(seen, "clock_jump"), *events(seen, "gap")]


def test_a_clock_that_is_set_while_the_machine_is_suspended_is_both() -> None:
    time, seen = FakeClock(), list[Record]()
    loop = sampler(seen, time, nvml=Scripted(power))
    loop.step()
    time.suspend(3600.0)
    time.wall_offset_s -= 100.0
    loop.step()

    assert [event.detail["step_s"] for event in events(seen, "clock_jump")] == [pytest.approx(-100.0)]
    assert [event.detail["asleep_s"] for event in events(seen, "suspend")] == [pytest.approx(3600.0)]


def test_a_collector_that_did_not_run_is_a_gap_and_a_step_that_was_only_late_is_none() -> None:
    time, seen = FakeClock(), list[Record]()
    loop = sampler(seen, time, nvml=Scripted(power))
    loop.step()
    # Ten seconds in which the sources were read although nobody took what they brought.
    for _ in range(10):
        time.move(1.0)
        loop._queue.put(loop.runners["nvml"].read())
    loop.step()
    assert not events(seen, "gap")

    time.move(10.0)
    loop.step()
    (gap,) = events(seen, "gap")
    assert gap.name == "collector"
    assert (gap.end_ns or 0) - gap.t_ns == pytest.approx(10e9)


def test_clocks_that_are_read_apart_are_no_basis_for_a_comparison() -> None:
    time, seen = FakeClock(), list[Record]()
    loop = sampler(seen, time, nvml=Scripted(power))
    loop.step()
    time.between_reads_s = 1.0
    loop.step()
    time.between_reads_s = 0.0
    loop.step()

    assert not [*events(seen, "clock_jump"), *events(seen, "suspend")]


def test_a_source_that_cannot_even_be_closed_is_asked_again() -> None:
    class Stubborn(Scripted):
        def close(self) -> None:
            raise OSError

    time = FakeClock()
    waiting = [Stubborn(power, Unavailable("GPU is lost")), Scripted(power)]
    runner = Runner("nvml", lambda _: waiting.pop(0), Options(), time.clock)
    runner.read()
    runner.read()
    time.move(RETRY_S)

    assert any(isinstance(record, Sample) for record in runner.read())


def test_its_own_cost_and_the_state_of_its_sources_are_samples_like_any_other() -> None:
    seen = list[Record]()

    sampler(seen, FakeClock(), nvml=Scripted(power)).step()

    assert {record.subject for record in seen if isinstance(record, Sample)} == {"collector", "source:nvml"}


def test_a_source_that_does_not_exist_is_a_mistake_of_the_user() -> None:
    with pytest.raises(UserError, match="no source is called nvnl"):
        Sampler({}, Options(sources=("nvnl",)))


def test_a_thread_that_hangs_stops_no_other_and_not_the_end() -> None:
    # GIVEN one source that never comes back, and one that is read at once
    release, seen, read = threading.Event(), list[Record](), queue.SimpleQueue[int]()

    def hang(_: int) -> Reading:
        release.wait(30)
        return []

    def note(t_ns: int) -> Reading:
        read.put(t_ns)
        return power(t_ns)

    quick = Scripted(note)
    quick.interval_s = 0.01
    loop = Sampler(
        {"stuck": plugin(lambda _: Scripted(hang)), "nvml": plugin(lambda _: quick)}, Options(), take=seen.extend
    )
    loop.start()
    try:
        instants = [read.get(timeout=30) for _ in range(5)]
    finally:
        loop.stop(timeout_s=0.1)
        release.set()

    assert instants == sorted(instants)
    assert sum(isinstance(record, Sample) and record.source == "nvml" for record in seen) >= 5


def test_ticks_that_pass_during_a_slow_reading_are_counted_as_missed() -> None:
    # GIVEN a source of 1 s whose second reading takes 3.5 s
    time, stop = FakeClock(), threading.Event()
    steps = iter([0.0, 3.5, 0.0])

    instants = []

    def slow(t_ns: int) -> Reading:
        instants.append((t_ns - EPOCH_NS) / 1e9)
        time.move(next(steps, 0.0))
        return power(t_ns)

    class Waiting(threading.Event):
        """Lets the clock run where a thread would wait."""

        def wait(self, timeout: float | None = None) -> bool:
            time.move(timeout or 0.0)
            return runner.health.readings >= 4

    runner = Runner("nvml", lambda _: Scripted(slow), Options(), time.clock)
    out = queue.SimpleQueue[list[Record]]()
    stop = Waiting()
    runner.loop(stop, out, lambda: 1.0)

    assert runner.health.missed_ticks == 3
    # THEN the readings stay on multiples of the interval
    assert instants == [100.0, 101.0, 105.0, 106.0]


class Load:
    """A collector on a clock that jumps: what it uses besides, and what its readings use at the rates asked for."""

    def __init__(self, governor: Governor) -> None:
        self.governor, self.now, self.cpu_s, self.reading_s = governor, 0.0, 5.0, 1.0
        self.factor = governor.slowdown(self.cpu_s, self.reading_s, self.now)

    def run(self, seconds: int, besides: float, reading: float) -> list[float]:
        """The factors of so many seconds."""
        factors = []
        for _ in range(seconds):
            self.now += 1
            self.reading_s += reading / self.factor
            self.cpu_s += besides + reading / self.factor
            self.factor = self.governor.slowdown(self.cpu_s, self.reading_s, self.now)
            factors.append(self.factor)
        return factors


@given(limit=st.floats(0.001, 0.5), besides=st.floats(0, 0.3), reading=st.floats(0, 0.8))
def test_a_limit_is_kept_from_the_first_window_on_with_the_least_slowdown(
    limit: float, besides: float, reading: float
) -> None:
    # Exactly on the limit either is right.
    assume(all(abs(besides + reading / factor - limit) > 1e-6 for factor in (1, 2, 4, 8, 16)))
    factors = Load(Governor(limit)).run(300, besides, reading)

    settled = factors[20]
    assert {settled} == set(factors[20:])
    if settled < 16:
        assert besides + reading / settled <= limit
    if settled > 1:
        assert besides + reading / (settled / 2) > limit


@given(before=st.floats(0.0, 0.5), after=st.floats(0.0, 0.006))
def test_rates_come_back_when_there_is_room_again(before: float, after: float) -> None:
    load = Load(Governor(0.01))
    load.run(300, 0.001, before)

    assert load.run(400, 0.001, after)[-1] == 1


def test_what_was_asked_for_and_what_is_allowed_are_said() -> None:
    governor = Governor(0.01)
    assert governor.reason == ""

    Load(governor).run(12, besides=0.004, reading=0.03)

    reason = "every interval is stretched 8 times: what was asked for takes 3.4 % of a core, and --max-cpu allows 1 %"
    assert governor.reason == reason


def test_without_a_limit_nothing_is_slowed_down() -> None:
    assert {1.0} == set(Load(Governor(0.0)).run(100, 0.5, 0.5))


def test_sources_of_one_interval_are_not_read_at_the_same_instants() -> None:
    plugins = {name: ModuleType(name) for name in "abcdef"}
    for module in plugins.values():
        module.open_source = None  # type: ignore[attr-defined]

    shares = sorted(runner.first_share for runner in Sampler(plugins, Options()).runners.values())

    assert all(0 < share <= 1 for share in shares)
    assert min(late - early for early, late in pairwise(shares)) > 0.05
