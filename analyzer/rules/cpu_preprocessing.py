"""Tokenising, decoding images or Python in the request path starve the GPU.

**What you see.** The GPU is idle for part of the time although many requests are running and none waits, and the
process that answers HTTP uses close to one core: 0.93 cores with 256 streams on an H200, GPU idle a third of the
time.

**Why.** One Python process tokenises, detokenises and streams for every request, under one interpreter lock. When
it is out of CPU, finished tokens and new requests wait in front of an idle GPU.

**What to try.** More API server processes (``--api-server-count``), tokenizer workers, a fast tokenizer, larger
streaming intervals; image decoding off the request path; more or faster cores.

**What it is confused with.** Host overhead: the engine's own loop is late, and the front end has time to spare.
Low traffic: GPU counters look the same, only the running requests tell.
"""

import numpy as np

from analyzer.evidence import FRONT_END_SATURATED_CORES, Evidence, Finding

REMEDY = "Give the front end more CPU: several API server processes (--api-server-count) or tokenizer workers."


def check(evidence: Evidence) -> Finding | None:
    """Claim the starved idle time in windows where the front end is out of CPU.

    Raises:
        CannotTell: The front end's CPU time was not observed.
    """
    cores = np.nan_to_num(evidence.signal("front_end_cores"))
    claimed = np.where(cores >= FRONT_END_SATURATED_CORES, evidence.parts["idle_starved"], 0)
    if not claimed.sum():
        return None
    one_core, nobody = (
        f"{FRONT_END_SATURATED_CORES} of the one core that one interpreter can use",
        "near 0: low traffic",
    )
    return Finding(
        claimed_s=claimed,
        recoverable_s=claimed,
        confidence=1.0,
        evidence=(
            evidence.serving_fact("front-end CPU", "front_end_cores", claimed, one_core, "cores"),
            evidence.serving_fact("requests running while idle", "requests_running", claimed, nobody, "requests"),
        ),
    )
