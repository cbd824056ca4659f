"""How much of what should be there is there, and what a reader must know before trusting the figures."""

import re

import numpy as np

from analyzer.columns import Bool, RunData, Spans, Trace
from analyzer.schema import Quality
from analyzer.steps import StepColumns
from analyzer.timeline import clip, total, union
from analyzer.windows import captures, extent, increase, scrapes, timed

#: Above this share of the window the profiler's own work is worth a warning.
DISTURBANCE_RATIO = 0.02
#: With less than this share of the device time launched within the trace, idle causes are worth a warning.
LAUNCHED_RATIO = 0.9
#: With less than this share of a trace's events no bottleneck is named: the holes look like idle time.
LEAST_COVERAGE_RATIO = 0.9
#: Above this share of the device time, spans that overlap on their own stream are worth a warning. Programmatic
#: dependent launch overlaps neighbours by microseconds, 0.05 % of the time in the traces of an H200.
OVERLAP_RATIO = 0.01

#: HTTP answers beyond what the engine finished that are worth a warning: those in flight at both ends are not.
UNCOUNTED = 2
UNCOUNTED_RATIO = 0.01

#: Calls that put work on a device. Which work is theirs is known by correlation, never by their name.
_LAUNCH = re.compile(r"(?:cuda|cu|hip)\w*(?:launch|memcpy|memset)", re.IGNORECASE)


def trace_quality(trace: Trace, steps: StepColumns | None) -> Quality:
    """Coverage is the smallest share of what should be there: of all events, of device work, of launches' work.

    What was dropped leaves holes that look like idle time, and so does what the profiler never recorded.
    """
    work = trace.device
    length = work.end_ns - work.start_ns
    launched = np.isin(work.correlation, trace.host.correlation[trace.host.correlation != 0])
    notes = []
    if length[launched].sum() < LAUNCHED_RATIO * length.sum():
        notes.append(
            f"Only {100 * length[launched].sum() / length.sum():.0f} % of the device time has its launch in this "
            "trace: causes of idle time are incomplete.",
        )
    if steps is None and len(work):
        notes.append("No LLM steps are marked in this trace, so the verdict speaks of the whole window.")
    elif steps is not None and not steps.steady.all():
        left_out = int((steps.end_ns - steps.start_ns)[~steps.steady].sum()) / 1e6
        notes.append(
            f"The first {int((~steps.steady).sum())} steps ({left_out:.0f} ms) are left out of the verdict: "
            "a capture slows them down.",
        )
    disturbance = trace.overhead_ns / max(1, trace.window_ns[1] - trace.window_ns[0])
    if disturbance > DISTURBANCE_RATIO:
        notes.append(f"The profiler itself took {100 * disturbance:.1f} % of the window.")
    launches = _launches(trace)
    unanswered = int(np.count_nonzero(~np.isin(launches.correlation, work.correlation)))
    # Work without a correlation may be that of any of them.
    missing = max(0, unanswered - int(np.count_nonzero(work.correlation == 0))) if len(work) else 0
    if missing:
        notes.append(
            f"{missing} of {len(launches)} launches have no device work in this trace: "
            "the profiler lost it, or stopped before it ran.",
        )
    early = _before_launch(work, launches)
    if early.any():
        notes.append(
            f"{int(early.sum())} pieces of device work start before their own launch: the clocks of host and device "
            "disagree, and causes of idle time by as much.",
        )
    overlap = _overlap_ns(work) / max(1, int(length.sum()))
    if overlap > OVERLAP_RATIO:
        notes.append(f"{100 * overlap:.1f} % of the device time overlaps on its own stream; it is counted once.")
    kept, lost = len(work) + len(trace.host), [loss for loss in trace.losses if not loss.repaired]
    shares = [kept / max(1, kept + sum(loss.count for loss in lost))]
    if len(work):
        shares.append(len(work) / (len(work) + sum(loss.device_count for loss in lost)))
    if len(launches):
        shares.append(1 - missing / len(launches))
    return Quality(coverage=min(shares), losses=trace.losses, notes=tuple(notes))


def _launches(trace: Trace) -> Spans:
    """The calls that put work on a device, by correlation."""
    launching = np.array([bool(_LAUNCH.match(name)) for name in trace.names], bool)
    calls = trace.host.take(trace.host.correlation != 0)
    calls = calls.take(launching[calls.name]) if len(calls) else calls
    return calls.take(np.argsort(calls.correlation, kind="stable"))


def _before_launch(work: Spans, launches: Spans) -> Bool:
    """Which device work starts before its own launch does."""
    if not len(launches):
        return np.zeros(len(work), bool)
    place = np.minimum(np.searchsorted(launches.correlation, work.correlation), len(launches) - 1)
    early: Bool = (launches.correlation[place] == work.correlation) & (work.start_ns < launches.start_ns[place])
    return early


def _overlap_ns(work: Spans) -> int:
    """Time that spans share with the one before them on the same stream of the same device."""
    order = np.lexsort((work.start_ns, work.stream, work.row))
    start, end, stream, row = (column[order] for column in (work.start_ns, work.end_ns, work.stream, work.row))
    beside = (stream[1:] == stream[:-1]) & (row[1:] == row[:-1])
    return int(np.maximum(np.minimum(end[:-1], end[1:]) - start[1:], 0)[beside].sum())


def run_quality(data: RunData, observed_s: float, whole_s: float) -> Quality:
    """Coverage is the share of the run with GPU readings; captures are left out on purpose, and said so."""
    captured = total(clip(union(*captures(data)), extent(data))) / 1e9
    # How the collector's own sources fared is not about the server.
    notes = [f"{name}: {why}" for name, why in sorted(data.absences.items()) if not name.startswith("collector/")]
    notes = [
        *data.notes,
        *_uncounted(data),
        *(fault for each in timed(data) for fault in scrapes(data, each)[2]),
        *notes,
    ]
    if captured:
        left_out = f"{captured:.1f} s of profiler captures and their wake are left out of verdict and utilization"
        notes.insert(0, f"{left_out}: a capture stalls the GPU.")
    expected = whole_s - captured
    coverage = min(1.0, observed_s / expected) if expected > 0 else 0.0
    return Quality(coverage=coverage, losses=data.losses, notes=tuple(notes))


def _uncounted(data: RunData) -> list[str]:
    """What the server answered over HTTP against what its engine says has finished."""
    first, last = (np.array([instant], np.int64) for instant in extent(data))
    counters = ("http_requests_total", "requests_ok_total", "requests_failed_total")
    answered, ok, failed = (increase(data, "serving", counter, first, last) for counter in counters)
    if answered is None or ok is None:
        return []
    finished = float(ok[0]) + (float(failed[0]) if failed is not None else 0.0)
    missing = float(answered[0]) - finished
    if not abs(missing) > max(UNCOUNTED, UNCOUNTED_RATIO * float(answered[0])):
        return []
    said = f"The server answered {answered[0]:,.0f} HTTP requests and its engine finished {finished:,.0f} sequences"
    if missing > 0:
        return [f"{said}: {missing:,.0f} were refused or aborted, and are in no figure of latency or cost."]
    return [f"{said}: requests asked for several (n > 1, or lists of prompts), and each counts as one inference."]
