"""Work is waiting but batches are too small, too late, or capped by the scheduler.

**What you see.** Requests wait in the queue while the GPU reads weights for a batch below its ridge: DRAM
activity is high, tensor activity low, and ``running`` stands at a cap (``max_num_seqs``) or the steps at a budget
(``max_num_batched_tokens``).

**Why.** Under the memory roof another request in the batch costs next to no time (4.86 ms a token for one stream,
5.66 ms for 32, on an H200 with an 8B model), so a waiting request is capacity given away.

**What to try.** Raise ``--max-num-seqs`` and, for long prompts, ``--max-num-batched-tokens``; shorten a dynamic
batcher's delay; give the KV cache more memory if preemptions rise when you do.

**What it is confused with.** Compute: with full steps beyond the ridge waiting is queueing, and only more GPUs
help. KV capacity: when the cache is full a higher cap changes nothing. Memory bandwidth: the same kernels without
a queue.
"""

import numpy as np

from analyzer.evidence import QUEUE_REQUESTS, Evidence, Finding

REMEDY = "Let the waiting requests in: raise --max-num-seqs (and --max-num-batched-tokens for long prompts)."


def check(evidence: Evidence) -> Finding | None:
    """Claim the time under the memory roof while at least one request waits on average.

    Raises:
        CannotTell: The queue was not observed.
    """
    waiting = np.nan_to_num(evidence.signal("requests_waiting"))
    claimed = np.where(waiting >= QUEUE_REQUESTS, evidence.parts["memory_bound"], 0)
    if not claimed.sum():
        return None
    idle_queue, ridge = f"below {QUEUE_REQUESTS:g} it would be memory bandwidth", f"below {evidence.ridge_words}"
    return Finding(
        claimed_s=claimed,
        recoverable_s=evidence.headroom_s(claimed),
        confidence=evidence.clarity(claimed),
        evidence=(
            evidence.serving_fact("requests waiting", "requests_waiting", claimed, idle_queue, "requests"),
            evidence.serving_fact("requests running", "requests_running", claimed, ridge, "requests"),
            evidence.device_fact(
                "compute roof in use", "compute_roof_ratio", claimed, "near 100 % it would be compute"
            ),
        ),
    )
