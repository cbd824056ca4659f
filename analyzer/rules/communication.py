"""Collectives between GPUs are exposed.

**What you see.** All-reduces or all-gathers run while no computation does, a fifth or more of the busy time.

**Why.** Tensor parallelism ends every layer with a collective, and the next layer needs its result. Small messages
are bound by latency, large ones by the link.

**What to try.** A lower tensor-parallel degree with more replicas, custom all-reduce kernels, communication
overlapped with computation, GPUs of one NVLink domain.

**What it is confused with.** Waiting for a slow peer: a collective lasts until the last rank arrives, so one rank's
trace gives an upper bound; compare the ranks.
"""

from analyzer.evidence import Evidence, Finding

REMEDY = "Communicate less or hide it: a lower tensor-parallel degree, custom all-reduce, overlap."

#: One rank's trace cannot tell the transfer from the wait for a slower peer.
_ONE_RANK = 0.7


def check(evidence: Evidence) -> Finding | None:
    """Claim the time of collectives that no computation hides."""
    claimed = evidence.parts["exposed_communication"]
    if not claimed.sum():
        return None
    bound = "an upper bound: waiting for a slower peer is in it"
    return Finding(
        claimed_s=claimed,
        recoverable_s=claimed,
        confidence=_ONE_RANK,
        evidence=(evidence.share_fact("time in collectives that no computation hides", claimed, bound),),
    )
