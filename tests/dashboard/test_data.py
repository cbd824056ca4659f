"""The library reads a source once, again when it changed, and not while it rests."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from analyzer import pipeline
from analyzer.columns import RunData, Trace
from analyzer.prices import Prices
from collector.errors import UserError
from dashboard import data
from dashboard.data import Library
from tests import builders
from tests.dashboard import runs


@dataclass
class Clock:
    """Time that only passes when it is told to, and while something is read."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Reader:
    """Reads as the pipeline does, slowly, and remembers what it read."""

    clock: Clock
    takes_s: float = 1.0
    read: list[str] = field(default_factory=list)

    def __call__(self, path: Path) -> Trace | RunData:
        self.read.append(path.name)
        self.clock.now_s += self.takes_s
        return pipeline.load(path)


def test_a_source_is_read_when_it_is_asked_for_and_once(tmp_path: Path) -> None:
    reader = Reader(Clock())
    library = Library([runs.finished(tmp_path / "a")], clock=reader.clock, load=reader)
    assert reader.read == []

    first, second = library.shown("a"), library.shown("a")

    assert first is second
    assert reader.read == ["a"]
    assert not first.live


def test_a_run_that_grew_is_read_again_after_its_rest(tmp_path: Path) -> None:
    reader = Reader(Clock())
    with runs.start(tmp_path / "a") as writer:
        runs.record(writer, 0)
        library = Library([tmp_path / "a"], clock=reader.clock, load=reader)
        first = library.shown("a")
        runs.record(writer, 5)

        reader.clock.now_s += 3.9
        assert library.version("a") == first.version
        assert library.shown("a") is first

        reader.clock.now_s += 0.2
        assert library.version("a") != first.version
        second = library.shown("a")

    assert first.live
    assert second.version != first.version
    assert second.view.analysis.source.duration_s > first.view.analysis.source.duration_s
    assert reader.read == ["a", "a"]


def test_what_did_not_change_keeps_its_version(tmp_path: Path) -> None:
    library = Library([runs.finished(tmp_path / "a")])
    before = library.version("a")
    library.shown("a")
    assert library.version("a") == before


def test_many_askers_cause_one_reading(tmp_path: Path) -> None:
    reader = Reader(Clock())
    library = Library([runs.finished(tmp_path / "a")], clock=reader.clock, load=reader)
    threads = [threading.Thread(target=library.shown, args=("a",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reader.read == ["a"]


def test_only_so_many_sources_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "KEPT", 2)
    reader = Reader(Clock())
    paths = [runs.finished(tmp_path / name) for name in "abc"]
    library = Library(paths, clock=reader.clock, load=reader)
    for name in "abca":
        library.shown(name)
    assert reader.read == ["a", "b", "c", "a"]


def test_the_reference_is_read_once_and_stands_beside_every_run(tmp_path: Path) -> None:
    reader = Reader(Clock())
    paths = [runs.finished(tmp_path / name) for name in "ab"]
    reference = runs.finished(tmp_path / "reference")
    library = Library(paths, reference=reference, price_usd_per_gpu_hour=1.0, clock=reader.clock, load=reader)

    first, second = (library.shown(name).view for name in "ab")

    assert first.reference is second.reference
    assert sorted(reader.read) == ["a", "b", "reference"]
    assert first.analysis.cost is not None
    assert first.reference is not None
    assert first.reference.cost is not None
    assert first.analysis.cost.price != first.reference.cost.price


def test_the_user_s_prices_stand_before_the_list(tmp_path: Path) -> None:
    reader = Reader(Clock())
    own = Prices([(".*", builders.price(usd_per_gpu_hour=0.5))])
    library = Library([runs.finished(tmp_path / "a")], prices=own, clock=reader.clock, load=reader)

    cost = library.shown("a").view.analysis.cost

    assert cost is not None
    assert cost.price == builders.price(usd_per_gpu_hour=0.5)


def test_a_run_that_is_the_reference_stands_beside_itself(tmp_path: Path) -> None:
    path = runs.finished(tmp_path / "a")
    view = Library([path], reference=path).shown("a").view
    assert view.reference is view.analysis


def test_sources_of_one_name_are_told_apart_and_each_is_there_once(tmp_path: Path) -> None:
    first, second = runs.finished(tmp_path / "x" / "run"), runs.finished(tmp_path / "y" / "run")
    library = Library([first, second, tmp_path / "x"])
    assert [entry.id for entry in library.entries] == ["run", "run (2)"]
    assert library.entry("run (2)").path == second.resolve()


def test_an_unknown_name_is_the_first_source(tmp_path: Path) -> None:
    library = Library([runs.finished(tmp_path / "a")])
    assert library.entry("../../etc/passwd").id == "a"
    assert library.entry(None).id == "a"


def test_a_trace_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    library = Library([runs.finished(tmp_path / "a")])
    with pytest.raises(UserError, match=r"no '\.\./run\.json' here"):
        library.trace("a", "../run.json")


def test_a_trace_that_went_away_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"schemaVersion": 1, "traceEvents": []}')
    library = Library([path])
    before = library.version("a.json")
    path.unlink()
    assert library.version("a.json") != before
    with pytest.raises(UserError, match=r"a\.json"):
        library.shown("a.json")


def test_a_long_run_is_cut_into_longer_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_MOST_WINDOWS", 2)
    analysis = Library([runs.finished(tmp_path / "a", 40)]).shown("a").view.analysis
    assert len(analysis.verdict.windows) == 2


def test_a_path_with_nothing_to_show_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        Library([tmp_path])


def test_a_run_without_a_sample_yet_is_shown_as_that(tmp_path: Path) -> None:
    with runs.start(tmp_path / "a") as writer:
        writer.flush()
        shown = Library([tmp_path / "a"]).shown("a")
    assert shown.live
    assert shown.view.analysis.verdict.abstained
