"""What a run folder drops while it is written, and that what it keeps is whole."""

import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.errors import UserError
from collector.schema import Absent, Event, Sample
from collector.store import RESOLUTIONS_S, RunReader, RunWriter
from tests.collector.builders import NS, event, histogram, request, run, sample
from tests.collector.test_store import SAMPLES, check_rollups

SPAN_S = 600
KB = 1000


def drop_all(writer: RunWriter, *, before_ns: int | None = None, largest_bytes: int | None = None) -> None:
    """Call until there is nothing more to drop: twice, because the last call may have had nothing to do."""
    before = -1
    while before != writer._connection.total_changes:
        before = writer._connection.total_changes
        writer.retain(before_ns=before_ns, largest_bytes=largest_bytes)


def dropped(reader: RunReader) -> Event | None:
    found = reader.events("retention")
    assert len(found) <= 1
    return found[0] if found else None


@settings(max_examples=40, deadline=None)
@given(
    flushes=st.lists(st.lists(SAMPLES, min_size=1, max_size=12), min_size=1, max_size=4),
    before_s=st.lists(st.integers(0, 2_400), min_size=4, max_size=4),
)
def test_what_is_kept_is_whole_at_every_resolution(flushes: list[list[Sample]], before_s: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder, RunWriter.create(Path(folder), run()) as writer:
        kept: list[Sample] = []
        lost: list[int] = []
        rows = 0
        for samples, before in zip(flushes, before_s, strict=False):
            writer.add(samples)
            writer.flush()
            kept += samples
            drop_all(writer, before_ns=before * NS)
            with RunReader.open(Path(folder)) as reader:
                told = dropped(reader)
                spans = {found.t_ns // (SPAN_S * NS) for found in kept}
                if told is not None:
                    assert told.end_ns is not None
                    assert told.end_ns % (SPAN_S * NS) == 0
                    rows = int(told.detail["rows"] or 0)
                # Whole spans that are too old, and never the newest; all in the span that the event names.
                gone = {span for span in spans if (span + 1) * SPAN_S <= before and span != max(spans)}
                lost += [found.t_ns for found in kept if found.t_ns // (SPAN_S * NS) in gone]
                assert told is not None or not lost
                assert all(told.t_ns <= t_ns < (told.end_ns or 0) for t_ns in lost if told)
                kept = [found for found in kept if found.t_ns // (SPAN_S * NS) not in gone]
                assert bool(rows) >= bool(gone)
                assert sorted(found.t_ns for found in kept) == [row[0] for row in reader.samples("nvml").rows]
                check_rollups(reader, kept, (0, 2_001 * NS))


def test_the_folder_stays_within_its_size_while_it_is_written_and_read(tmp_path: Path) -> None:
    # GIVEN 100 minutes at 20 Hz, which take 5 MB, and a folder that may take 2 MB
    largest, rows = 2_000 * KB, 0
    with RunWriter.create(tmp_path / "run", run()) as writer, RunReader.open(tmp_path / "run") as reader:
        for second in range(0, 6_000, 10):
            times = range(second * NS, (second + 10) * NS, NS // 20)
            writer.add(sample(t_ns, {"power_watts": t_ns / NS}) for t_ns in times)
            writer.flush()
            writer.retain(largest_bytes=largest)
            # An empty WAL keeps its size; what is in it is in the database by the next checkpoint.
            assert (tmp_path / "run" / "samples.sqlite").stat().st_size <= largest
            if second % 500 == 0:
                rows = len(reader.samples("nvml", resolution_s=1).rows)
        writer.close(6_000 * NS)

    assert rows > 0
    with RunReader.open(tmp_path / "run") as reader:
        told = dropped(reader)
        assert told is not None
        assert told.end_ns is not None
        assert "--keep-size" in str(told.detail["reason"])
        kept = reader.samples("nvml").rows
        # THEN the newest is all there, and what is not there is what the event says
        assert [row[0] for row in kept] == list(range(kept[0][0], 6_000 * NS, NS // 20))
        assert told.t_ns == 0
        assert kept[0][0] <= told.end_ns


def test_a_span_goes_in_pieces_and_the_event_is_there_from_the_first(tmp_path: Path) -> None:
    # GIVEN a span of 6,000 samples, of which a call takes 2,000
    with RunWriter.create(tmp_path / "run", run()) as writer, RunReader.open(tmp_path / "run") as reader:
        writer.add(sample(tenth * NS // 10) for tenth in range(SPAN_S * 10))
        writer.add([sample(2 * SPAN_S * NS)])
        writer.flush()
        left = []
        for _ in range(5):
            writer.retain(before_ns=SPAN_S * NS)
            told = dropped(reader)
            assert told is not None
            left.append(len(reader.samples("nvml").rows))
            assert (told.t_ns, told.end_ns) == (0, SPAN_S * NS)
        writer.close()

    assert left == [4_001, 2_001, 1, 1, 1]


def test_the_last_state_before_what_is_kept_stays(tmp_path: Path) -> None:
    no_driver, lost = Absent("no driver"), Absent("GPU is lost")
    with RunWriter.create(tmp_path / "run", run()) as writer:
        for t_s in (0, 700, 1_300):
            writer.add([sample(t_s * NS), histogram(t_s * NS, (0.0, 0.0, float(t_s))), request(t_s * NS)])
            writer.add([event(t_s * NS, name=str(t_s))])
        writer.add([sample(0, {"sm_active_ratio": no_driver}), sample(NS, {"sm_active_ratio": lost})])
        writer.add([Event(t_ns=0, kind="phase", name="long", end_ns=2_000 * NS)])
        writer.flush()
        drop_all(writer, before_ns=1_250 * NS)
        writer.close()

    with RunReader.open(tmp_path / "run") as reader:
        assert [1_300 * NS] == [row[0] for row in reader.samples("nvml").rows]
        # A difference needs what was counted before.
        assert [700 * NS, 1_300 * NS] == [found.t_ns for found in reader.histograms()]
        assert [1_300 * NS] == [found.t_ns for found in reader.requests()]
        assert {"long", "1300", "store"} == {found.name for found in reader.events()}
        assert [(NS, "GPU is lost")] == [(found.t_ns, found.reason) for found in reader.absences()]


def test_nothing_is_left_of_a_process_that_ended_long_ago_and_it_may_come_back(tmp_path: Path) -> None:
    def reading(t_s: int, subject: str) -> list[Sample]:
        return [sample(t_s * NS, {"power_watts": 1.0, "sm_active_ratio": Absent("hidden")}, subject=subject)]

    with RunWriter.create(tmp_path / "run", run()) as writer:
        writer.add([*reading(0, "gpu:0/pid:7"), *reading(0, "gpu:0"), *reading(1_300, "gpu:0")])
        writer.flush()
        drop_all(writer, before_ns=1_300 * NS)
        database = sqlite3.connect(tmp_path / "run" / "samples.sqlite")
        subjects = [name for (name,) in database.execute("SELECT name FROM subject")]
        database.close()
        assert subjects == ["gpu:0"]
        assert set(writer._subjects) == {"gpu:0"}
        writer.add(reading(1_400, "gpu:0/pid:7"))
        writer.close()

    with RunReader.open(tmp_path / "run") as reader:
        assert [(1_300 * NS, "gpu:0"), (1_400 * NS, "gpu:0/pid:7")] == [row[:2] for row in reader.samples("nvml").rows]
        assert [(0, "gpu:0"), (1_400 * NS, "gpu:0/pid:7")] == [(each.t_ns, each.subject) for each in reader.absences()]


def test_a_disk_that_refuses_drops_nothing_and_says_nothing_was(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path / "run", run()) as writer:
        writer.add([sample(0), sample(2 * SPAN_S * NS)])
        writer.flush()
        writer._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(UserError, match="readonly"):
            writer.retain(before_ns=SPAN_S * NS)
        with RunReader.open(tmp_path / "run") as reader:
            assert 2 == len(reader.samples("nvml").rows)
            assert dropped(reader) is None
        writer._connection.execute("PRAGMA query_only = OFF")
        drop_all(writer, before_ns=SPAN_S * NS)
        with RunReader.open(tmp_path / "run") as reader:
            assert [1] * len(RESOLUTIONS_S) == [len(reader.samples("nvml", resolution_s=s).rows) for s in RESOLUTIONS_S]
            assert dropped(reader) is not None
