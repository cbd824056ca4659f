"""Ranks of one job: what was drawn is found, whatever the clocks say and whatever the profilers missed."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer import many
from analyzer.reports import csv as csv_report
from analyzer.reports import text as text_report
from analyzer.schema import Analysis, RankTime
from analyzer.tables import ranks as tables
from tests.analyzer.test_many import analyse, ignore
from tests.analyzer.traces import document, kernel

NAME = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
TRANSFER_US = 40


def events(arrivals: list[list[int]], rank: int, *, ahead_us: int = 0, name: str = NAME, stream: int = 20) -> list[Any]:
    """One rank's collectives: on each it begins at its own arrival and ends ``TRANSFER_US`` after the last one's."""
    return [
        kernel(each[rank] + ahead_us, max(each) + TRANSFER_US - each[rank], name, stream=stream) for each in arrivals
    ]


def written(folder: Path, rank: int, found: list[Any], ranks: int) -> Path:
    path = folder / f"rank{rank}.pt.trace.json"
    path.write_text(json.dumps(document(*found, distributedInfo={"rank": rank, "world_size": ranks})))
    return path


def found_in(folder: Path) -> list[Analysis]:
    return [outcome.analysis for outcome in many.outcomes(many.find_sources(folder), analyse, 1, ignore)]


def ranks_of(analyses: list[Analysis]) -> list[RankTime]:
    return [analysis.rank for analysis in analyses if analysis.rank is not None]


def job(folder: Path, arrivals: list[list[int]], ahead_us: list[int]) -> list[RankTime]:
    """What a folder of ranks says, each with its own clock."""
    for rank, ahead in enumerate(ahead_us):
        written(folder, rank, events(arrivals, rank, ahead_us=ahead), len(ahead_us))
    return ranks_of(found_in(folder))


def irregular(count: int, ranks: int, late: int, by_us: int) -> list[list[int]]:
    """Arrivals of each rank at each collective: apart by times that never repeat, one of them late."""
    at, found = 1000, []
    for number in range(count):
        at += 500 + (number * number * 37) % 211
        found.append([at + (number * (rank + 3)) % 5 + (by_us if rank == late else 0) for rank in range(ranks)])
    return found


def test_the_rank_that_is_late_is_named_and_what_the_others_wait_is_no_transfer(tmp_path: Path) -> None:
    arrivals = irregular(40, 4, late=2, by_us=100)

    found = job(tmp_path, arrivals, [0, 0, 0, 0])

    assert [0, 1, 2, 3] == [each.rank for each in found]
    assert {(4, (0, 1, 2, 3), 40, 0)} == {(each.world_size, each.ranks, each.matched, each.unmatched) for each in found}
    assert [pytest.approx(40 * TRANSFER_US * 1e-6)] * 4 == [each.transfer_s for each in found]
    assert [0, 0, 40, 0] == [each.last_count for each in found]
    for rank, each in enumerate(found):
        waited_us = sum(max(arrival) - arrival[rank] for arrival in arrivals)
        assert waited_us == pytest.approx(1e6 * (each.wait_s or 0))
    late_us = sum(max(arrival) - sorted(arrival)[-2] for arrival in arrivals)
    assert [0, 0, late_us, 0] == [pytest.approx(1e6 * (each.late_s or 0)) for each in found]
    assert found[2].delay_p50_s == pytest.approx(100e-6, abs=5e-6)


@settings(max_examples=25)
@given(
    between=st.lists(st.integers(30, 130), min_size=12, max_size=30, unique=True),
    delays=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=30, max_size=30),
    ahead_us=st.integers(-100_000, 100_000),
    missing=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_clocks_that_differ_and_profilers_that_began_later_change_nothing(
    between: list[int],
    delays: list[tuple[int, int]],
    ahead_us: int,
    missing: tuple[int, int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    at, drawn = 200_000, []
    for gap, (first_us, second_us) in zip(between, delays, strict=False):
        at += 7 * gap
        drawn.append([at + first_us, at + second_us])
    folder = tmp_path_factory.mktemp("job")
    for rank, (ahead, gone) in enumerate(zip((0, ahead_us), missing, strict=True)):
        written(folder, rank, events(drawn[gone:], rank, ahead_us=ahead), 2)
    kept = drawn[max(missing) :]

    first, second = ranks_of(found_in(folder))

    assert len(kept) == first.matched == second.matched
    assert ahead_us == pytest.approx(1e6 * (second.clock_ahead_s or 0), abs=1e-3)
    assert second.clock_uncertainty_s == 0
    assert len(kept) * TRANSFER_US == pytest.approx(1e6 * (first.transfer_s or 0))
    assert sum(each[0] > each[1] for each in kept) == first.last_count
    assert sum(each[1] > each[0] for each in kept) == second.last_count


def test_clocks_decide_where_every_shift_fits(tmp_path: Path) -> None:
    even = [[1000 + 500 * number] * 2 for number in range(40)]
    for rank in (0, 1):
        written(tmp_path, rank, events(even[rank:], rank), 2)

    found = ranks_of(found_in(tmp_path))

    assert [39, 39] == [each.matched for each in found]
    assert [0, 0] == [each.clock_ahead_s for each in found]


def test_process_groups_are_told_apart_by_their_streams(tmp_path: Path) -> None:
    """Two groups run one kernel at once; on rank 1 their order differs."""
    tensor, data = irregular(20, 2, late=0, by_us=30), irregular(20, 2, late=1, by_us=60)
    for rank in (0, 1):
        written(tmp_path, rank, events(tensor, rank, stream=20) + events(data, rank, stream=24), 2)

    found = ranks_of(found_in(tmp_path))

    assert [20, 20] == [each.last_count for each in found]
    assert 40 * TRANSFER_US == pytest.approx(1e6 * (found[0].transfer_s or 0))


def test_what_a_profiler_lost_is_left_out_and_counted(tmp_path: Path) -> None:
    arrivals = irregular(40, 2, late=1, by_us=80)
    written(tmp_path, 0, events(arrivals, 0), 2)
    written(tmp_path, 1, [each for at, each in enumerate(events(arrivals, 1)) if at not in {7, 30}], 2)

    found = ranks_of(found_in(tmp_path))

    assert [(38, 2), (38, 0)] == [(each.matched, each.unmatched) for each in found]
    assert 38 == found[1].last_count


def test_traces_without_a_collective_in_common_say_so(tmp_path: Path) -> None:
    written(tmp_path, 0, [kernel(0, 50)], 2)
    written(tmp_path, 1, [kernel(0, 50)], 2)

    found = ranks_of(found_in(tmp_path))

    assert {"the ranks have no collective in common"} == {each.reason for each in found}
    assert {None} == {each.wait_s for each in found}


def test_ends_that_never_agree_are_not_compared(tmp_path: Path) -> None:
    first = [[1000 + 90 * at + (at * at * 31) % 83, 0] for at in range(60)]
    second = [[0, 1000 + 130 * at + (at * at * 57 + at * 13) % 79] for at in range(60)]
    written(tmp_path, 0, events([[a, a] for a, _ in first], 0), 2)
    written(tmp_path, 1, events([[b, b] for _, b in second], 1), 2)

    assert {"the ends of the collectives do not agree under any shift of their order"} == {
        each.reason for each in ranks_of(found_in(tmp_path))
    }


def test_a_second_capture_of_the_same_ranks_is_a_job_of_its_own(tmp_path: Path) -> None:
    arrivals = irregular(10, 2, late=1, by_us=80)
    for capture in (0, 1):
        for rank in (0, 1):
            shifted = [[at + capture * 10_000_000 for at in each] for each in arrivals]
            written(tmp_path, rank, events(shifted, rank), 2).rename(tmp_path / f"{capture}_rank{rank}.json")

    found = ranks_of(found_in(tmp_path))

    assert [tmp_path.name] * 2 + [f"{tmp_path.name} (2)"] * 2 == [each.job for each in found]


def test_a_trace_of_no_rank_or_of_several_devices_has_no_part(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(document(kernel(0, 50, NAME))))
    written(tmp_path, 0, [kernel(0, 50, NAME), kernel(0, 50, NAME, device=1)], 2)

    assert [] == ranks_of(found_in(tmp_path))


def test_the_table_says_who_is_late_and_that_ranks_are_missing(tmp_path: Path) -> None:
    arrivals = irregular(40, 2, late=1, by_us=100)
    for rank in (0, 1):
        written(tmp_path, rank, events(arrivals, rank), 8)
    out = io.StringIO()

    analyses = found_in(tmp_path)
    text_report.write(analyses, out, full=False)

    said = " ".join(out.getvalue().split())
    assert "Only 2 of 8 ranks are here." in said
    assert "Rank 1 comes last to 100 % of them" in said
    table = io.StringIO()
    csv_report.write(analyses, table, full=False)
    assert f"rank,rank 1,last_count,{len(arrivals)}," in table.getvalue()
    ((grid, _),) = tables.jobs(analyses)
    assert ["0", "1"] == [row[0] for row in grid.rows]
