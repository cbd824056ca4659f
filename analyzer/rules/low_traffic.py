"""Nobody is asking: consolidate, do not optimise.

**What you see.** The GPU is idle, and so is the server: no request running, none waiting. The GPU may still draw
120 W with its clocks up.

**Why.** A replica that waits for traffic costs as much per hour as one that works.

**What to try.** Fewer replicas or a smaller GPU; share the GPU between models (MIG, MPS, time-slicing); scale to
zero in quiet hours; move batch jobs into them.

**What it is confused with.** Starvation: a GPU that is idle while requests are being served looks the same to
every GPU counter. Only the server's own load tells, so without it this rule does not speak.
"""

from analyzer.evidence import Evidence, Finding

REMEDY = "Consolidate: fewer replicas, a shared or smaller GPU, or scale to zero while nobody asks."


def check(evidence: Evidence) -> Finding | None:
    """Claim the idle time in which the server was empty.

    Raises:
        CannotTell: The server's load was not observed.
    """
    evidence.signal("requests_running")
    claimed = evidence.parts["idle_no_demand"]
    if not claimed.sum():
        return None
    beyond, below = "idle time beyond it is starvation", "below 1 the server is often empty"
    return Finding(
        claimed_s=claimed,
        recoverable_s=claimed,
        confidence=1.0,
        evidence=(
            evidence.serving_fact("time without any request", "empty_ratio", claimed, beyond, "ratio"),
            evidence.serving_fact("requests running", "requests_running", claimed, below, "requests"),
        ),
    )
