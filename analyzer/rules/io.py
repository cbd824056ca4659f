"""Host↔device copies, disk or network are waited for.

**What you see.** Copies that no computation hides take a good part of the window; NVML's "GPU utilization" says
100 % while no SM works. Names say ``Pageable``, or the rate is far below what PCIe carries.

**Why.** A copy from pageable memory goes through a staging buffer and blocks the thread that asked for it; weights,
KV cache or images that cross PCIe in the request path keep the kernels behind them waiting.

**What to try.** Pinned buffers and ``non_blocking=True`` on a stream of their own, fewer and larger copies,
decoding or resizing on the GPU, KV offloading switched off or moved to faster memory.

**What it is confused with.** Copies under a running kernel: they cost nothing. Idle time before a launch, which is
the host's. Loading of the model, which happens once. This version sees copies in a trace; waiting for disk or
network needs host samples.
"""

from analyzer.evidence import Evidence, Finding

REMEDY = "Hide the copies: pinned memory, non-blocking copies on their own stream, less data across PCIe."


def check(evidence: Evidence) -> Finding | None:
    """Claim the time of copies that no computation hides."""
    claimed = evidence.parts["exposed_copy"]
    if not claimed.sum():
        return None
    reachable = "0 % is reachable with pinned memory and a stream of their own"
    return Finding(
        claimed_s=claimed,
        recoverable_s=claimed,
        confidence=1.0,
        evidence=(evidence.share_fact("time in copies that no computation hides", claimed, reachable),),
    )
