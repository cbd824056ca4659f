"""Kernel launches and framework overhead starve the GPU.

**What you see.** The GPU has gaps while requests are being served, and in a trace each gap ends with a launch
that came late. The process that answers HTTP has CPU time to spare. A trace also says what the launching thread did
meanwhile: it waited for the device, set something up, worked, or was in no recorded call.

**Why.** Between two steps the engine's own thread schedules, prepares inputs, samples and launches. What it does
not overlap with the GPU, the GPU waits for; small models and small batches feel it most. A thread that waits for the
device before it launches the next work makes the device wait in turn.

**What to try.** CUDA graphs (do not serve with ``--enforce-eager``), asynchronous scheduling, multi-step or
speculative decoding, fewer Python hooks in the loop, a faster core, no profiler left running. Against waiting: no
``.item()`` and no blocking copy in the loop. Against setting up: a warm-up that meets every shape.

**What it is confused with.** CPU preprocessing: the process in front, not the engine, is out of CPU. Low traffic:
nobody was asking. Gaps between the nodes of one CUDA graph, which the host has no part in. A trace taken with
shapes or stacks makes the host slower than it is.
"""

import numpy as np

from analyzer.evidence import FRONT_END_SATURATED_CORES, Evidence, Finding

REMEDY = "Take the host out of the loop: CUDA graphs, asynchronous scheduling, more work per step."

#: A profiler slows the host, so launch gaps in a trace are an upper bound.
_UNDER_PROFILER = 0.8

#: What the launching thread did meanwhile, by the signal that a trace gives, and what helps against it.
_MEANWHILE = {
    "starved_host_sync_ratio": ("of that, the host waited for the GPU", "asynchronous scheduling takes it away"),
    "starved_host_one_off_ratio": ("of that, the host allocated or compiled", "a warm-up takes it away"),
    "starved_host_work_ratio": ("of that, the host worked", "CUDA graphs take most of it away"),
    "starved_host_unseen_ratio": ("of that, the host was not seen", "stacks would name it: Python, or off the CPU"),
}


def check(evidence: Evidence) -> Finding | None:
    """Claim the starved idle time that no saturated front end explains.

    Raises:
        CannotTell: A run's samples do not show the front end, so host and front end cannot be told apart.
    """
    claimed = evidence.parts["idle_starved"]
    if claimed.sum() and (evidence.kind == "samples" or "front_end_cores" in evidence.signals):
        cores = np.nan_to_num(evidence.signal("front_end_cores"))
        claimed = np.where(cores < FRONT_END_SATURATED_CORES, claimed, 0)
    if not claimed.sum():
        return None
    reachable = "0 % is reachable with CUDA graphs and overlapped scheduling"
    saturated = f"{FRONT_END_SATURATED_CORES} cores or more would be CPU preprocessing"
    return Finding(
        claimed_s=claimed,
        recoverable_s=claimed,
        confidence=_UNDER_PROFILER if evidence.kind == "trace" else 1.0,
        evidence=(
            evidence.share_fact("idle while requests were served", claimed, reachable),
            *(
                evidence.device_fact(measure, signal, claimed, helps)
                for signal, (measure, helps) in _MEANWHILE.items()
                if evidence.mean(signal, claimed)
            ),
            evidence.serving_fact("front-end CPU", "front_end_cores", claimed, saturated, "cores"),
        ),
    )
