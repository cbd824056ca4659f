"""The tensor or CUDA cores are the limit.

**What you see.** The GPU is busy nearly all the time, tensor activity is at or near what a pure matrix product
reaches, DRAM activity is far below its own reach. Clocks often fall and power stands at its limit: that is how a
GPU at full load works, not a fault. Steps carry more tokens than the ridge of the GPU (206 on an H200 in bf16).

**Why.** A matrix product of T tokens does 2·T operations for every element of weight it reads. Past the ridge
(peak FLOP/s over peak bytes/s) arithmetic takes longer than reading, and more batch buys no more throughput.

**What to try.** A smaller number format on the tensor cores (FP8 doubles their peak), prefix caching so that less
is computed, a smaller or sparser model, chunked prefill so that decode does not wait; then more or faster GPUs.

**What it is confused with.** NVML's "GPU utilization" of 100 %, which a plain copy reaches too. Throttling: a
power cap under full load is normal. Memory bandwidth, which keeps SMs just as active with tensor activity low.
"""

from analyzer.evidence import Evidence, Finding

REMEDY = "Do less arithmetic: FP8 weights and activations, prefix caching, or a smaller model; then add GPUs."


def check(evidence: Evidence) -> Finding | None:
    """Claim the time under the compute roof; what is recoverable is its distance from that roof."""
    claimed = evidence.parts["compute_bound"]
    if not claimed.sum():
        return None
    left, ridge = "100 % leaves nothing to win at this precision", f"compute-bound beyond {evidence.ridge_words}"
    return Finding(
        claimed_s=claimed,
        recoverable_s=evidence.headroom_s(claimed),
        confidence=evidence.clarity(claimed),
        evidence=(
            evidence.share_fact("time under the compute roof", claimed, "of the time observed"),
            evidence.device_fact("compute roof in use", "compute_roof_ratio", claimed, left),
            evidence.serving_fact("tokens per step", "step_tokens", claimed, ridge, "tokens"),
        ),
    )
