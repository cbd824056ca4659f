"""Many sources at once: each is analysed apart, and one that fails takes nothing with it.

What is kept of a source is what was concluded from it; its columns are let go before the next one is read. On several
cores each source has a process to itself, so that even one that is killed for its memory costs only its own answer.
"""

import os
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from analyzer import pipeline, ranks
from analyzer.billing import Pricing
from analyzer.columns import RunData, Trace
from analyzer.importers import Progress
from analyzer.model import Model
from analyzer.schema import Analysis, Quality, Slo, Source
from analyzer.sources import find_sources, joined
from analyzer.verdict import abstention
from collector.errors import UserError

__all__ = ["Outcome", "analyse", "cores", "find_sources", "outcomes"]

#: A process more is worth its start, half a second of a core, from so many packed bytes on.
_WORTH_A_PROCESS_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one source."""

    source: Path
    analysis: Analysis
    #: None, or why the source could not be used.
    failure: str | None = None
    #: The traceback where that is a fault of ours.
    fault: str = ""
    #: Seconds of each step.
    timings: tuple[tuple[str, float], ...] = ()
    #: What was loaded, for a report that asked for it.
    data: Trace | RunData | None = None
    #: What it brings to a comparison with the other ranks of its job.
    member: ranks.Member | None = None


#: Analyses one source; raises ``UserError`` where it cannot be used.
Analyse = Callable[[Path, Progress | None], Outcome]


def analyse(  # noqa: PLR0913 - what may be told of any source
    source: Path,
    progress: Progress | None,
    *,
    price_usd_per_gpu_hour: float | None,
    pricing: Pricing | None = None,
    window_s: float,
    slo: Slo | None = None,
    requests: Path | None = None,
    model: Model | None = None,
    cache: bool = False,
    keep: bool = False,
) -> Outcome:
    """One source; ``requests`` are those of a result file, ``keep`` asks for what was loaded too."""
    timings = pipeline.Timings()
    with timings.step("load"):
        data = pipeline.load(source, progress, cache=cache)
        if requests is not None:
            data = joined(data, requests)
    analysis = pipeline.conclude(
        data,
        price_usd_per_gpu_hour=price_usd_per_gpu_hour,
        pricing=pricing,
        window_s=window_s,
        slo=slo,
        model=model,
        timings=timings,
    )
    return Outcome(
        source=source,
        analysis=analysis,
        timings=tuple(timings.steps),
        data=data if keep else None,
        member=ranks.member(data) if isinstance(data, Trace) else None,
    )


def outcomes(sources: Sequence[Path], analyse: Analyse, jobs: int, progress: Progress) -> list[Outcome]:
    """What became of each source, in their order.

    Args:
        sources: What to analyse.
        analyse: How; where ``jobs`` is more than one it must be a function that can be sent to another process.
        jobs: The most processes at a time.
        progress: Called with the bytes of sources done, and of all.
    """
    sizes = {source: _size(source) for source in sources}
    whole, done = sum(sizes.values()), 0
    jobs = min(jobs, len(sources), 1 + whole // _WORTH_A_PROCESS_BYTES)
    found: dict[Path, Outcome] = {}
    if jobs > 1:
        # The largest first, so that no core is left with it at the end.
        order = sorted(sources, key=lambda source: -sizes[source])
        from analyzer import processes  # noqa: PLC0415 - 30 ms, which one source does not need

        for outcome in processes.apart(order, partial(_guarded, analyse), _killed, jobs):
            found[outcome.source] = outcome
            done += sizes[outcome.source]
            progress(done, whole)
    else:
        for source in sources:
            found[source] = _guarded(analyse, source, _part_of(progress, done, whole))
            done += sizes[source]
    return _told_apart(_beside_each_other([found[source] for source in sources]))


def _part_of(progress: Progress, before: int, whole: int) -> Progress:
    """The progress of one source as part of all."""
    return lambda done, _: progress(before + done, whole)


def _beside_each_other(outcomes: list[Outcome]) -> list[Outcome]:
    """The same, with what the traces of one folder that are ranks of one job say together."""
    by_folder: dict[Path, list[int]] = {}
    for index, outcome in enumerate(outcomes):
        if outcome.member is not None:
            by_folder.setdefault(outcome.source.absolute().parent, []).append(index)
    found, seen = list(outcomes), Counter[str]()
    for folder, indices in by_folder.items():
        members = [member for index in indices if (member := outcomes[index].member) is not None]
        for job in ranks.jobs(members):
            seen[folder.name] += 1
            title = f"{folder.name} ({seen[folder.name]})" if seen[folder.name] > 1 else folder.name
            for place, time in zip(job, ranks.compare([members[place] for place in job], title), strict=True):
                outcome = found[indices[place]]
                found[indices[place]] = replace(outcome, analysis=replace(outcome.analysis, rank=time))
    return found


def _told_apart(outcomes: list[Outcome]) -> list[Outcome]:
    """The same, those that share a file name named by their path below the folder they have in common."""
    names = Counter(outcome.source.name for outcome in outcomes)
    if len(names) == len(outcomes):
        return outcomes
    common = os.path.commonpath([outcome.source.absolute().parent for outcome in outcomes])
    return [
        _renamed(outcome, os.path.relpath(outcome.source.absolute(), common))
        if names[outcome.source.name] > 1
        else outcome
        for outcome in outcomes
    ]


def _renamed(outcome: Outcome, name: str) -> Outcome:
    return replace(outcome, analysis=replace(outcome.analysis, source=replace(outcome.analysis.source, name=name)))


def _size(source: Path) -> int:
    try:
        return source.stat().st_size
    except OSError:
        return 0


def _guarded(analyse: Analyse, source: Path, progress: Progress | None = None) -> Outcome:
    """The outcome of a source, whatever happens to it."""
    try:
        return analyse(source, progress)
    except UserError as error:
        return unusable(source, str(error))
    except Exception as error:  # noqa: BLE001 - it is told with its traceback, and costs one source
        reason = f"a fault of Inferometer stopped its analysis ({type(error).__name__})"
        return unusable(source, reason, "".join(traceback.format_exception(error)))


def _killed(source: Path) -> Outcome:
    return unusable(source, "the process that analysed it was killed, most likely for want of memory")


def unusable(source: Path, reason: str, fault: str = "") -> Outcome:
    """The outcome of a source from which nothing can be concluded."""
    nan = float("nan")
    about = Source(kind="unreadable", name=source.name, started_s=nan, duration_s=nan, gpus=(), engine=None)
    quality = Quality(coverage=0.0, losses=())
    analysis = Analysis(source=about, quality=quality, verdict=abstention(reason))
    return Outcome(source=source, analysis=analysis, failure=reason, fault=fault)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
