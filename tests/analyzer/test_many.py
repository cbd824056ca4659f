"""Many sources: each for itself, in any number of processes, with the same answers."""

import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from analyzer import many
from analyzer.importers import Progress
from analyzer.many import Outcome
from analyzer.tables import every
from collector.errors import UserError
from tests import builders
from tests.analyzer.traces import decode_step, document, kernel, launch

#: As the command analyses.
analyse = partial(many.analyse, price_usd_per_gpu_hour=None, window_s=5.0)


def ignore(_done: int, _whole: int) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """Two traces of one name, one that is damaged, and one that is large enough to be worth processes."""
    for number, name in enumerate(("a/same.json", "b/same.json", "large.json")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        padding = "x" * (5 << 20 if name == "large.json" else 0)
        text = document(
            decode_step(0, 100 + number), launch(0, correlation=1), kernel(10, 50, correlation=1), padding=padding
        )
        path.write_text(json.dumps(text))
    (tmp_path / "damaged.json.gz").write_bytes(b"\x1f\x8b\x08\x00 and then nothing of the kind")
    return tmp_path


@pytest.mark.parametrize("jobs", [1, 3])
def test_every_source_gets_its_answer_whoever_works_on_it(folder: Path, jobs: int) -> None:
    sources = many.find_sources(folder)
    seen: list[tuple[int, int]] = []

    found = many.outcomes(sources, analyse, jobs, lambda done, whole: seen.append((done, whole)))

    assert sources == [outcome.source for outcome in found]
    assert ["a/same.json", "b/same.json", "damaged.json.gz", "large.json"] == [
        outcome.analysis.source.name for outcome in found
    ]
    assert [None, None, "unreadable", None] == [
        outcome.analysis.source.kind if outcome.failure else None for outcome in found
    ]
    assert found[0].analysis.budget == analyse(sources[0], None).analysis.budget
    assert sum(path.stat().st_size for path in sources) == seen[-1][0] == seen[-1][1]
    assert sorted(seen) == seen


def killed(source: Path, progress: Progress | None) -> Outcome:
    """Analyse, in a process that the system ends on the damaged file."""
    if source.name == "damaged.json.gz":
        os.kill(os.getpid(), signal.SIGKILL)
    return analyse(source, progress)


def test_a_process_that_is_killed_costs_its_own_source_alone(folder: Path) -> None:
    found = many.outcomes(many.find_sources(folder), killed, 2, ignore)

    assert [False, False, True, False] == [outcome.failure is not None for outcome in found]
    assert "killed" in str(found[2].failure)


def gone(source: Path, _progress: Progress | None) -> Outcome:
    raise UserError(f"{source} is gone")


def test_a_source_that_vanishes_is_said_to_be_gone(tmp_path: Path) -> None:
    path = tmp_path / "vanished.json"

    assert [f"{path} is gone"] == [outcome.failure for outcome in many.outcomes([path], gone, 1, ignore)]


def test_the_one_with_the_most_to_win_back_is_first_and_the_unusable_are_last() -> None:
    small, large = (
        builders.trace_analysis(verdict=builders.verdict(shares=(builders.share(recoverable_s=recoverable_s),)))
        for recoverable_s in (0.1, 0.4)
    )
    open_end = builders.trace_analysis(verdict=builders.abstention())
    broken = many.unusable(Path("broken.json"), "it is broken").analysis

    grid = every.sources([broken, open_end, small, large])

    assert ["400 ms", "100 ms", "–", "–"] == [
        row[[column.title for column in grid.columns].index("to win\nback")] for row in grid.rows
    ]
    assert ["? cannot tell", "? cannot be used"] == [row[1] for row in grid.rows[2:]]
    assert "TTFT p99" not in {column.title for column in grid.columns}
    assert (("broken.json", "it is broken"),) == every.unusable([broken, small]).rows
