"""The tables of a run: its phases and windows side by side, its latency, its cost."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from analyzer.formatting import MISSING, count, duration, interval, money, number, percent
from analyzer.schema import Analysis, CostWindow, LatencyWindow, Percentile, UseWindow, VerdictWindow
from analyzer.tables.grid import Grid, class_name, columns
from analyzer.wording import label, plain

#: What the GPU really did, then the figure of NVML that hides it.
ACTIVITY = ("sm_active_ratio", "tensor_active_ratio", "dram_active_ratio", "gpu_utilization_ratio")


@dataclass
class Part:
    """What was concluded about one part of a run."""

    name: str | None
    start_s: float
    end_s: float
    verdict: VerdictWindow | None = None
    use: UseWindow | None = None
    latency: LatencyWindow | None = None
    cost: CostWindow | None = None


def parts(analysis: Analysis, kind: str) -> list[Part]:
    """The ``phases`` or ``windows`` of a run in order of time: each one's verdict, use, latency and cost.

    A phase goes by its name and how often the name came before, a window by its start.
    """
    found: dict[tuple[object, ...], Part] = {}
    for field in ("verdict", "budget", "latency", "cost"):
        conclusion = getattr(analysis, field)
        seen: Counter[str] = Counter()
        for window in getattr(conclusion, kind) if conclusion else ():
            key = (window.start_s,) if window.name is None else (window.name, seen[window.name])
            seen[window.name] += 1
            part = found.setdefault(key, Part(window.name, window.start_s, window.end_s))
            setattr(part, "use" if field == "budget" else field, window)
    return sorted(found.values(), key=lambda part: part.start_s)


def overview(analysis: Analysis, kind: str) -> Grid:
    """One row a phase (or window): what held it back, what the GPU did, the tail, the rate, the cost."""
    return Grid(
        title=kind.capitalize(),
        columns=columns(
            "phase" if kind == "phases" else ">from",
            "@bottleneck",
            *(">SM", ">ten-\nsor", ">DRAM", ">NVML"),
            *(">TTFT\np99", ">TPOT\np50", ">req\n/s", ">$ per\n1,000"),
        ),
        rows=tuple(_row(part, analysis.source.started_s) for part in parts(analysis, kind)),
    )


def _row(part: Part, started_s: float) -> tuple[str, ...]:
    means = part.use.means if part.use else {}
    return (
        duration(part.start_s - started_s) if part.name is None else plain(part.name, 40),
        _bottleneck(part.verdict),
        *(percent(means.get(name)) for name in ACTIVITY),
        brief(percentile(part.latency, "ttft_s", 0.99)),
        brief(percentile(part.latency, "tpot_s", 0.5)),
        number(part.latency.requests_per_s if part.latency else None),
        money(part.cost.usd_per_1000 if part.cost else None),
    )


def _bottleneck(verdict: VerdictWindow | None) -> str:
    if verdict is None:
        return MISSING
    return "? cannot tell" if verdict.abstained else class_name(verdict.bottleneck)


def percentile(window: LatencyWindow | None, measure: str, q: float) -> Percentile | None:
    """One percentile of the best statistics there are."""
    stats = window.stat(measure) if window else None
    return next((item for item in stats.percentiles if item.q == q), None) if stats else None


def brief(item: Percentile | None) -> str:
    """A percentile in few characters: ``≈`` where it is known coarsely, ``>`` where it is beyond the buckets."""
    if item is None:
        return MISSING
    if item.value_s is None:
        return interval(item.low_s, item.high_s)
    return f"{'≈' if item.note else ''}{duration(item.value_s)}"


def latency(windows: Iterable[LatencyWindow]) -> Grid:
    """Every latency measure of each window, percentiles with the interval that holds them.

    Means stand beside them where sums are all that is known of a measure.
    """
    windows = list(windows)
    coarse = any(stats.origin == "sums" for window in windows for stats in window.stats)
    mean = [">mean"] if coarse else []
    return Grid(
        title="Latency",
        columns=columns("phase", "measure", ">n", *mean, ">p50", ">p95", ">p99", ">p99 lies in", "from"),
        rows=tuple(
            (
                plain(window.name or "all", 40),
                label(stats.measure),
                count(stats.n),
                *([duration(stats.mean_s)] if coarse else []),
                *(brief(percentile(window, stats.measure, q)) for q in (0.5, 0.95, 0.99)),
                _bounds(percentile(window, stats.measure, 0.99)),
                {"histogram": "buckets"}.get(stats.origin, stats.origin),
            )
            for window in windows
            for stats in window.stats
            if stats is window.stat(stats.measure)
        ),
    )


def _bounds(item: Percentile | None) -> str:
    return MISSING if item is None else interval(item.low_s, item.high_s)


def costs(windows: Iterable[CostWindow]) -> Grid:
    """What each window cost, and what that is for a thousand inferences."""
    return Grid(
        title="Cost",
        columns=columns(
            "phase",
            ">spent",
            *(">ans-\nwered", ">failed", ">$ per\n1,000", ">when\nbusy", ">idle", ">$ / M\ntokens", ">J\neach"),
            "why not",
        ),
        rows=tuple(
            (
                plain(window.name or "all", 40),
                money(window.usd),
                count(window.requests_ok),
                count(window.requests_failed),
                money(window.usd_per_1000),
                money(window.usd_per_1000_busy),
                percent(window.idle_ratio),
                money(window.usd_per_million_tokens),
                number(window.joules_per_request),
                plain(window.reason or ""),
            )
            for window in windows
        ),
    )
