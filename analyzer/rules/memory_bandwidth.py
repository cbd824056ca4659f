"""HBM bandwidth is the limit.

**What you see.** The GPU is busy, DRAM activity is high (58–64 % of the vendor's peak for decode on an H200, of
the 88 % a pure copy reaches), tensor activity is low (3–18 %), and nobody waits in the queue. NVML's "GPU
utilization" says 99–100 % all the same. Time per token hardly changes with the number of streams.

**Why.** Generating a token reads every weight once, whether for one request or for fifty. Below the ridge (206
tokens a step on an H200 in bf16) the reading takes longer than the arithmetic.

**What to try.** More requests per step: consolidate replicas, send more traffic to this one. Then read fewer
bytes: FP8 or 4-bit weights, an FP8 KV cache. Speculative decoding, while batches are small.

**What it is confused with.** Compute: SMs are as active here as there, only tensor activity tells. Batching: the
same picture with requests waiting is the scheduler's doing, not the memory's.
"""

import numpy as np

from analyzer.evidence import QUEUE_REQUESTS, Evidence, Finding

REMEDY = "Read fewer bytes per token: larger batches (send this replica more traffic), or FP8 / 4-bit weights."

#: With nothing known of the queue the same kernels could be a scheduler's cap: the claim is worth less.
_QUEUE_UNSEEN = 0.8


def check(evidence: Evidence) -> Finding | None:
    """Claim the time under the memory roof while nothing waits; recoverable is what the compute roof would leave."""
    claimed = evidence.parts["memory_bound"].copy()
    waiting = evidence.signals.get("requests_waiting")
    if waiting is not None:
        claimed[np.nan_to_num(waiting) >= QUEUE_REQUESTS] = 0
    if not claimed.sum():
        return None
    clear = "twice the compute roof in use, or more, is clear"
    batching = f"{QUEUE_REQUESTS:g} or more would be batching"
    ridge = f"memory-bound below {evidence.ridge_words}"
    return Finding(
        claimed_s=claimed,
        recoverable_s=evidence.headroom_s(claimed),
        confidence=evidence.clarity(claimed) * (_QUEUE_UNSEEN if waiting is None else 1.0),
        evidence=(
            evidence.share_fact("time under the memory roof", claimed, "of the time observed"),
            evidence.device_fact("memory roof in use", "memory_roof_ratio", claimed, clear),
            evidence.device_fact(
                "compute roof in use", "compute_roof_ratio", claimed, "what more batch could still fill"
            ),
            evidence.serving_fact("tokens per step", "step_tokens", claimed, ridge, "tokens"),
            evidence.serving_fact("requests waiting", "requests_waiting", claimed, batching, "requests"),
        ),
    )
