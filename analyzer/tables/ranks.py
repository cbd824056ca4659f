"""The ranks of each job beside each other."""

from collections.abc import Sequence
from itertools import groupby

from analyzer.formatting import MISSING, count, duration, percent
from analyzer.schema import Analysis, RankTime
from analyzer.tables.grid import Grid, columns
from analyzer.wording import plain


def jobs(analyses: Sequence[Analysis]) -> list[tuple[Grid, list[str]]]:
    """Each job: a row a rank, and what it says in sentences."""
    ranked = [(analysis, analysis.rank) for analysis in analyses if analysis.rank is not None]
    ranked.sort(key=lambda each: (each[1].job, each[1].rank))
    found = []
    for job, group in groupby(ranked, key=lambda each: each[1].job):
        members = list(group)
        found.append((_grid(job, members), _said([rank for _, rank in members])))
    return found


def _grid(job: str, members: Sequence[tuple[Analysis, RankTime]]) -> Grid:
    return Grid(
        title=f"Ranks of {plain(job, 60)}",
        columns=columns(
            ">rank",
            ">busy",
            ">transfer",
            ">waits",
            ">last",
            ">late\nin all",
            ">comes after\nthe first",
            ">clock\nahead",
            ">±",
        ),
        rows=tuple(_row(analysis, rank) for analysis, rank in members),
    )


def _row(analysis: Analysis, rank: RankTime) -> tuple[str, ...]:
    budget = analysis.budget
    known = rank.reason is None
    return (
        str(rank.rank),
        percent(budget.busy_s / budget.span_s) if budget and budget.span_s else MISSING,
        duration(rank.transfer_s),
        duration(rank.wait_s),
        percent((rank.last_count or 0) / rank.matched) if known else MISSING,
        duration(rank.late_s),
        duration(rank.delay_p50_s),
        duration(rank.clock_ahead_s),
        duration(rank.clock_uncertainty_s),
    )


def _said(members: Sequence[RankTime]) -> list[str]:
    first = members[0]
    known = len(first.ranks)
    missing = [f"Only {known} of {first.world_size} ranks are here."] if known < (first.world_size or 0) else []
    if first.reason is not None:
        return [*missing, f"The ranks cannot be compared: {plain(first.reason)}."]
    said = [f"{count(first.matched)} collectives were recorded on all {known} ranks."]
    latest = max(members, key=lambda each: each.late_s or 0.0)
    if latest.late_s:
        said.append(
            f"Rank {latest.rank} comes last to {percent((latest.last_count or 0) / latest.matched)} of them "
            f"and holds the others up for {duration(latest.late_s)} in all.",
        )
    slowest = max(first.collectives, key=lambda each: each.transfer_p50_s * each.count)
    said.append(
        f"The transfer of {plain(slowest.name, 60)} takes {duration(slowest.transfer_p50_s)} (median) to "
        f"{duration(slowest.transfer_p99_s)} (p99).",
    )
    said.append("Clocks are aligned by the ends of the collectives; 95 % of them agree within ± of the first rank's.")
    return [*missing, *said]
