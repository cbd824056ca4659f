"""The story on one page: a path is found, loaded into columns, and concluded from.

``find_sources`` → ``load`` → ``conclude`` → ``Analysis``. Loading reads files; concluding is pure.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from analyzer import compare as comparing
from analyzer import run_comparison, verdict
from analyzer.billing import Pricing, terms
from analyzer.columns import RunData, Trace
from analyzer.cost import cost
from analyzer.efficiency import roofline
from analyzer.evidence.run import run_evidence
from analyzer.evidence.trace import DeviceTime, device_times, trace_evidence
from analyzer.importers import Progress
from analyzer.kernels import families, roofs, top_kernels, totals
from analyzer.latency import latency
from analyzer.model import Model
from analyzer.quality import LEAST_COVERAGE_RATIO, run_quality, trace_quality
from analyzer.roofline import hardware
from analyzer.run_comparison import RunSide
from analyzer.schema import Analysis, Budget, Comparison, RunComparison, Slo, Source, Steps
from analyzer.slo import answers_within, service
from analyzer.sources import find_sources, load
from analyzer.stacks import busiest_frames
from analyzer.step_inference import infer_steps
from analyzer.steps import StepColumns, find_steps, summarise
from analyzer.utilization import run_budget
from analyzer.windows import cut, extent
from collector.errors import UserError

__all__ = ["Timings", "analyze", "compare", "conclude", "find_sources", "load"]

#: Windows of a run are this long unless the caller says otherwise.
WINDOW_S = 5.0
#: A long run is cut into this many windows, whatever their length would be: more than a screen has pixels helps nobody.
MAX_WINDOWS = 1500


@dataclass
class Timings:
    """Seconds of each step, in the order they ran."""

    steps: list[tuple[str, float]] = field(default_factory=list)
    clock: Callable[[], float] = time.perf_counter

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what runs inside."""
        began = self.clock()
        yield
        self.steps.append((name, self.clock() - began))


def analyze(  # noqa: PLR0913 - what may be told of any source
    path: Path | str,
    *,
    price_usd_per_gpu_hour: float | None = None,
    pricing: Pricing | None = None,
    window_s: float = WINDOW_S,
    slo: Slo | None = None,
    model: Model | None = None,
    cache: bool = False,
    progress: Progress | None = None,
    timings: Timings | None = None,
) -> Analysis:
    """Everything that can be concluded from one trace or run folder.

    Args:
        path: A trace file or a run folder.
        price_usd_per_gpu_hour: Your price; without it the first sourced price of the GPU.
        pricing: Everything else about prices: a file of your own, power, the share of a GPU.
        window_s: Length of the windows of a run's verdict, latency and cost, seconds.
        slo: Targets to hold a run's requests against.
        model: The model that ran in a trace, for what its steps must read and compute at the least.
        cache: Keep a trace's columns beside its file, and use what was kept.
        progress: Called with bytes done and bytes in all while a file is read.
        timings: Filled with the seconds of each step.

    Raises:
        UserError: The source cannot be used.
    """
    timings = timings or Timings()
    with timings.step("load"):
        data = load(Path(path), progress, cache=cache)
    return conclude(
        data,
        price_usd_per_gpu_hour=price_usd_per_gpu_hour,
        pricing=pricing,
        window_s=window_s,
        slo=slo,
        model=model,
        timings=timings,
    )


def compare(
    before: Path | str, after: Path | str, progress: Progress | None = None, pricing: Pricing | None = None
) -> Comparison | RunComparison:
    """What explains that one trace took longer than another, or what changed from one run to another.

    Only one of them is in memory at a time.

    Raises:
        UserError: One of them cannot be used, or they are a trace and a run.
    """
    a, b = (_side(Path(path), progress, pricing) for path in (before, after))
    if isinstance(a, RunSide) and isinstance(b, RunSide):
        return run_comparison.compare(a, b)
    if isinstance(a, RunSide) or isinstance(b, RunSide):
        run, trace = (before, after) if isinstance(a, RunSide) else (after, before)
        raise UserError(f"{run} is a run and {trace} is a trace: compare two of a kind")
    return comparing.compare(a, b)


def _side(path: Path, progress: Progress | None, pricing: Pricing | None) -> comparing.Side | RunSide:
    data = load(path, progress)
    if isinstance(data, Trace):
        return comparing.side(data)
    found = conclude(data, pricing=pricing, window_s=run_comparison.WINDOW_S)
    return run_comparison.side(data, found)


def conclude(
    data: Trace | RunData,
    *,
    price_usd_per_gpu_hour: float | None = None,
    pricing: Pricing | None = None,
    window_s: float = WINDOW_S,
    slo: Slo | None = None,
    model: Model | None = None,
    timings: Timings | None = None,
) -> Analysis:
    """The same from columns already loaded."""
    timings = timings or Timings()
    if isinstance(data, Trace):
        return _conclude_trace(data, model, timings)
    pricing = pricing or Pricing()
    if price_usd_per_gpu_hour is not None:
        pricing = replace(pricing, usd_per_gpu_hour=price_usd_per_gpu_hour)
    return _conclude_run(data, pricing, window_s, slo, timings)


def _conclude_trace(trace: Trace, model: Model | None, timings: Timings) -> Analysis:
    with timings.step("steps"):
        steps = find_steps(trace)
    source = Source(
        kind="trace",
        name=trace.name,
        started_s=trace.window_ns[0] / 1e9,
        duration_s=(trace.window_ns[1] - trace.window_ns[0]) / 1e9,
        gpus=tuple(device.name for device in trace.devices.values() if device.name),
        engine=None,
    )
    quality = trace_quality(trace, steps)
    held = len(trace.totals) + (len(trace.stacks.thread) if trace.stacks else 0)
    if held:
        # Sums and samples are no events: what is there of them is held against what was lost of them.
        quality = replace(quality, coverage=held / (held + sum(loss.count for loss in trace.losses)))
    quality = replace(quality, notes=(*quality.notes, *trace.notes))
    if not len(trace.device):
        return Analysis(
            source=source,
            quality=quality,
            verdict=verdict.abstention(trace.no_verdict or _no_device_work(trace)),
            kernels=totals(trace) or None,
            stacks=busiest_frames(trace) or None,
        )
    device = hardware(next(iter(trace.devices.values())).name)
    with timings.step("kernels"):
        family_of = families(trace)
        roof = roofs(trace, family_of, steps, device)
        kernels = top_kernels(trace, family_of, roof)
    with timings.step("roofline"):
        near = roofline(trace, family_of, steps, device, model)
    with timings.step("budget"):
        times = device_times(trace, family_of, roof, steps)
        budgets = tuple(time.budget() for time in times)
    with timings.step("verdict"):
        judged = verdict.judge(
            trace_evidence(trace, times, steps, device),
            coverage=quality.coverage,
            least_coverage=LEAST_COVERAGE_RATIO,
        )
    with timings.step("steps shown"):
        shown = _shown(steps or infer_steps(trace, family_of), times)
    span_s, idle_s = sum(budget.span_s for budget in budgets), sum(budget.idle_s for budget in budgets)
    return Analysis(
        source=source,
        quality=quality,
        verdict=judged,
        budget=Budget(span_s=span_s, busy_s=span_s - idle_s, idle_s=idle_s, devices=budgets),
        steps=shown,
        kernels=kernels,
        roofline=near,
    )


def _shown(steps: StepColumns | None, times: tuple[DeviceTime, ...]) -> Steps | None:
    time = next((time for time in times if steps and time.device == steps.device), None)
    return summarise(steps, time.busy_parts, time.idle) if steps and time else None


#: A window with this many host events had a host at work.
_HOST_EVENTS = 100


def _no_device_work(trace: Trace) -> str:
    if len(trace.host) < _HOST_EVENTS:
        return (
            "no device work in this window: the engine was idle, or between waves of requests; "
            "record a longer window while requests are running"
        )
    return (
        "no device work in this trace although its host was busy: a server without a GPU, "
        "or the front-end process of one; take the trace of the engine's worker"
    )


def _conclude_run(data: RunData, pricing: Pricing, window_s: float, slo: Slo | None, timings: Timings) -> Analysis:
    gpu = data.run.gpus[0].name if data.run.gpus else ""
    first, last = extent(data)
    start, end = cut(data, max(window_s, (last - first) / 1e9 / MAX_WINDOWS))
    with timings.step("evidence"):
        evidence = run_evidence(data, hardware(gpu), start, end)
        middle = (start + end) // 2
        phases = [(phase.name, (middle >= phase.t_ns) & (middle < (phase.end_ns or last))) for phase in data.phases]
    quality = run_quality(data, float(evidence.observed_s.sum()), (last - first) / 1e9)
    with timings.step("verdict"):
        judged = verdict.judge(evidence, phases, quality.coverage)
    with timings.step("utilization"):
        budget = run_budget(data, evidence, start, end)
    with timings.step("latency"):
        latencies = latency(data, start, end)
        served = service(data, slo, start, end) if slo else None
    with timings.step("cost"):
        costs = cost(data, terms(data, pricing), start, end, answers_within(served) if served else ())
    return Analysis(
        source=Source(
            kind="run",
            name=data.name,
            started_s=first / 1e9,
            duration_s=(last - first) / 1e9,
            gpus=tuple(gpu.name for gpu in data.run.gpus),
            engine=" ".join(filter(None, (data.run.engine.name, data.run.engine.version))) if data.run.engine else None,
            traces=data.traces,
        ),
        quality=quality,
        verdict=judged,
        budget=budget,
        latency=latencies,
        slo=served,
        cost=costs,
    )
