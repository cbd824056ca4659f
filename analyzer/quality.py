"""How much of what should be there is there, and what a reader must know before trusting the figures."""

import numpy as np

from analyzer.columns import RunData, Trace
from analyzer.schema import Quality
from analyzer.steps import StepColumns
from analyzer.timeline import clip, total, union
from analyzer.windows import captures, extent

#: Above this share of the window the profiler's own work is worth a warning.
DISTURBANCE_RATIO = 0.02
#: With less than this share of the device time launched within the trace, idle causes are worth a warning.
LAUNCHED_RATIO = 0.9


def trace_quality(trace: Trace, steps: StepColumns | None) -> Quality:
    """Coverage is the share of events that could be used: dropped ones leave holes that look like idle time."""
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
    kept = len(work) + len(trace.host)
    dropped = sum(loss.count for loss in trace.losses)
    return Quality(coverage=kept / max(1, kept + dropped), losses=trace.losses, notes=tuple(notes))


def run_quality(data: RunData, observed_s: float, whole_s: float) -> Quality:
    """Coverage is the share of the run with GPU readings; captures are left out on purpose, and said so."""
    captured = total(clip(union(*captures(data)), extent(data))) / 1e9
    # How the collector's own sources fared is not about the server.
    notes = [f"{name}: {why}" for name, why in sorted(data.absences.items()) if not name.startswith("collector/")]
    if captured:
        left_out = f"{captured:.1f} s of profiler captures and their wake are left out of verdict and utilization"
        notes.insert(0, f"{left_out}: a capture stalls the GPU.")
    expected = whole_s - captured
    coverage = min(1.0, observed_s / expected) if expected > 0 else 0.0
    return Quality(coverage=coverage, losses=(), notes=tuple(notes))
