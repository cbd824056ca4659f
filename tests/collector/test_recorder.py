"""The recorder and the disk under it, on a clock that only moves when told to."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from collector import recorder
from collector.errors import UserError
from collector.options import Options
from collector.recorder import Recorder
from collector.schema import Engine, Event, Run, Sample
from collector.store import RunReader
from tests.collector.clocks import EPOCH_NS, FakeClock

GB = 1_000_000_000


class Disk:
    """A disk of 100 GB, half empty until a test says otherwise."""

    def __init__(self) -> None:
        self.total, self.free = 100 * GB, 50 * GB

    def __call__(self, _: Path) -> tuple[int, int]:
        return self.total, self.free


@pytest.fixture
def time() -> FakeClock:
    return FakeClock()


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def made(tmp_path: Path, time: FakeClock, disk: Disk) -> Iterator[Callable[..., Recorder]]:
    """Makes a recorder with the options given."""
    recorders: list[Recorder] = []

    def make(**options: object) -> Recorder:
        run = Run(run_id="first", started_ns=EPOCH_NS)
        recorders.append(Recorder(tmp_path / "run", run, Options(**options), time.clock, disk))  # type: ignore[arg-type]
        return recorders[-1]

    yield make
    for each in recorders:
        each._writer.abandon()


def second(recording: Recorder, time: FakeClock, *others: Sample | Event) -> None:
    """One second: a sample, and whatever else."""
    power = Sample(t_ns=time.clock.now_ns(), source="nvml", subject="gpu:0", values={"power_watts": 700.0})
    recording.record([power, *others])
    time.move(1.0)


def rows(path: Path) -> int:
    with RunReader.open(path) as reader:
        return len(reader.samples("nvml").rows)


def gaps(path: Path) -> list[tuple[float, float, object]]:
    """Where each gap begins and how long it is, in seconds, and what was lost in it."""
    with RunReader.open(path) as reader:
        return [
            ((gap.t_ns - EPOCH_NS) / 1e9, ((gap.end_ns or 0) - gap.t_ns) / 1e9, gap.detail["lost_records"])
            for gap in reader.events("gap")
        ]


@pytest.mark.parametrize("fault", ["query_only = ON", "max_page_count = 1"])
def test_a_disk_that_refuses_loses_nothing_until_the_backlog_is_full(
    made: Callable[..., Recorder], time: FakeClock, fault: str
) -> None:
    # GIVEN a disk that is read-only, or full, for ten seconds; a later sample is larger than any page
    recording = made()
    for number in range(30):
        if number == 10:
            recording._writer._connection.execute(f"PRAGMA {fault}")
        if number == 20:
            recording._writer._connection.execute("PRAGMA query_only = OFF")
            recording._writer._connection.execute("PRAGMA max_page_count = 1000000")
        long = Event(t_ns=time.clock.now_ns(), kind="phase", name="x" * 10_000)
        second(recording, time, long)
        assert bool(recording.fault) == (10 <= number < 20)
    recording.close(time.clock.now_ns())

    assert rows(recording.path) == 30
    assert gaps(recording.path) == [(110.0, 10.0, 0)]
    assert recording.lost_records == 0


def test_what_the_backlog_cannot_hold_is_lost_oldest_first_and_counted(
    made: Callable[..., Recorder], time: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "BACKLOG", 5)
    recording = made()
    recording._writer._connection.execute("PRAGMA query_only = ON")
    for _ in range(9):
        second(recording, time)
    recording._writer._connection.execute("PRAGMA query_only = OFF")
    second(recording, time)
    recording.close()

    # The first was with the writer already; the next three went, and the last made room for itself.
    with RunReader.open(recording.path) as reader:
        assert [(row[0] - EPOCH_NS) / 1e9 for row in reader.samples("nvml").rows] == [100, 105, 106, 107, 108, 109]
    assert gaps(recording.path) == [(100.0, 9.0, recording.lost_records)]
    assert recording.lost_records == 4


def test_recording_pauses_before_the_disk_is_full_and_goes_on_once_there_is_room(
    made: Callable[..., Recorder], time: FakeClock, disk: Disk
) -> None:
    recording = made()
    second(recording, time)
    disk.free = 499_999_999
    second(recording, time)
    assert "less than 500,000,000 bytes left (--keep-free)" in recording.fault
    assert rows(recording.path) == 1
    # A little more than the least is not enough, or it would swing.
    disk.free = 600_000_000
    second(recording, time)
    assert recording.fault
    disk.free = 700_000_000
    second(recording, time)
    assert not recording.fault
    recording.close()

    assert rows(recording.path) == 4
    assert gaps(recording.path) == [(101.0, 2.0, 0)]


@pytest.mark.parametrize(
    ("options", "total", "free", "pauses"),
    [
        ({}, GB, 25_000_000, False),
        ({}, GB, 15_000_000, True),
        ({"keep_free_bytes": 2 * GB}, 100 * GB, 1 * GB, True),
        ({"keep_free_bytes": 0}, 100 * GB, 0, False),
    ],
)
def test_how_much_is_left_to_others(
    made: Callable[..., Recorder], time: FakeClock, disk: Disk, options: dict[str, int], total: int, *, free: int,
    pauses: bool,
) -> None:  # fmt: skip
    recording = made(**options)
    disk.total, disk.free = total, free
    second(recording, time)

    assert bool(recording.fault) == pauses


def test_a_disk_that_does_not_say_how_full_it_is_is_written(
    made: Callable[..., Recorder], time: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = made()

    def silent(_: Path) -> tuple[int, int]:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(recording, "free_bytes", silent)
    second(recording, time)

    assert not recording.fault


def test_what_waits_at_the_end_is_recorded_also_where_recording_pauses(
    made: Callable[..., Recorder], time: FakeClock, disk: Disk
) -> None:
    recording = made()
    disk.free = 0
    for _ in range(3):
        second(recording, time)
    recording.close(time.clock.now_ns())
    recording.close()

    assert rows(recording.path) == 3
    assert gaps(recording.path) == [(100.0, 3.0, 0)]


def test_an_end_that_the_disk_refuses_is_said_and_looks_like_a_killed_recorder(
    made: Callable[..., Recorder], time: FakeClock
) -> None:
    recording = made()
    second(recording, time)
    recording._writer._connection.execute("PRAGMA query_only = ON")
    second(recording, time)

    with pytest.raises(UserError, match="cannot be written"):
        recording.close(time.clock.now_ns())
    with RunReader.open(recording.path) as reader:
        assert reader.live
        assert len(reader.samples("nvml").rows) == 1


def delete(path: Path) -> None:
    for file in sorted(path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    path.rmdir()


def test_a_folder_that_was_deleted_is_made_anew(made: Callable[..., Recorder], time: FakeClock) -> None:
    recording = made()
    for _ in range(3):
        second(recording, time)
    delete(recording.path)
    for _ in range(2):
        second(recording, time)
    recording.close(time.clock.now_ns())

    with RunReader.open(recording.path) as reader:
        assert reader.run.run_id != "first"
        assert [(row[0] - EPOCH_NS) / 1e9 for row in reader.samples("nvml").rows] == [103, 104]
        assert ["it was deleted or moved while it was written"] == [
            str(event.detail["reason"]).rpartition(": ")[2] for event in reader.events("gap")
        ]


def test_a_folder_that_was_moved_stays_whole_and_a_new_one_takes_its_place(
    made: Callable[..., Recorder], time: FakeClock, tmp_path: Path
) -> None:
    recording = made()
    for _ in range(3):
        second(recording, time)
    recording.path.rename(tmp_path / "archive")
    for _ in range(2):
        second(recording, time)
    recording.close(time.clock.now_ns())

    assert (rows(tmp_path / "archive"), rows(recording.path)) == (3, 2)


def test_a_place_that_cannot_be_made_anew_is_tried_again(
    made: Callable[..., Recorder], time: FakeClock, tmp_path: Path
) -> None:
    recording = made()
    second(recording, time)
    delete(recording.path)
    recording.path.write_text("in the way")
    for _ in range(3):
        second(recording, time)
        assert "cannot be written" in recording.fault
    (tmp_path / "run").unlink()
    second(recording, time)
    assert not recording.fault
    recording.close()

    assert rows(recording.path) == 4
    assert [gap[::2] for gap in gaps(recording.path)] == [(101.0, 0)]


def test_a_record_that_no_run_can_hold_is_lost_alone_and_the_gap_is_told_once(
    made: Callable[..., Recorder], time: FakeClock
) -> None:
    # GIVEN a clock that is set to 1959 for three seconds
    recording = made()
    second(recording, time)
    time.wall_offset_s = -67 * 365.25 * 86400
    for _ in range(3):
        second(recording, time)
        assert "no run folder can hold" in recording.fault
    time.wall_offset_s = 0.0
    second(recording, time)
    assert not recording.fault
    recording.close()

    assert rows(recording.path) == 2
    assert recording.lost_records == 3
    assert [gap[2] for gap in gaps(recording.path)] == [3]


def test_what_is_too_old_goes_but_not_while_the_clock_may_be_wrong(
    made: Callable[..., Recorder], time: FakeClock
) -> None:
    recording = made(keep_for_s=3600.0)
    second(recording, time)
    # WHEN the clock is set a year ahead, and back a minute later
    year_s = 365 * 86400.0
    for offset_s in (year_s, 0.0):
        time.wall_offset_s = offset_s
        second(recording, time, Event(t_ns=time.clock.now_ns(), kind="clock_jump", name="wall clock"))
        time.move(60.0)
    assert rows(recording.path) == 3
    # THEN age counts once it has not been set for an hour
    time.move(2 * 3600.0)
    for _ in range(3):
        second(recording, time)
    recording.close()

    with RunReader.open(recording.path) as reader:
        (told,) = reader.events("retention")
        assert "--keep-for" in str(told.detail["reason"])
        assert told.detail["rows"]
        assert min(row[0] for row in reader.samples("nvml").rows) > EPOCH_NS + 3600 * GB


def test_a_server_that_is_learnt_of_later_is_in_run_json_as_soon_as_the_disk_takes_it(
    made: Callable[..., Recorder], time: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording, engine = made(), Engine(name="vllm", version="0.23.1")
    recording.describe(engine)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        second(recording, time)
        assert "No space left" in recording.fault
        with RunReader.open(recording.path) as reader:
            assert reader.run == replace(recording.run, engine=None)
    second(recording, time)
    with RunReader.open(recording.path) as reader:
        assert reader.run.engine == engine
    recording.close(time.clock.now_ns())

    with RunReader.open(recording.path) as reader:
        assert reader.run.engine == engine
        assert reader.run.ended_ns is not None
