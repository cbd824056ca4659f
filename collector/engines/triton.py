"""Triton Inference Server, its core and its TensorRT-LLM backend: what ``:8002/metrics`` calls each quantity.

Latencies are counters of microseconds, so only means are known. In the repository that the TensorRT-LLM backend
proposes a request also counts for the models around the engine (``ensemble``, ``preprocessing``, …): where a model
``tensorrt_llm`` is shown, it alone counts; otherwise all models are added up.
"""

from collector.engines import Part

RECOGNISED_BY = "nv_inference_request_success"

_MODEL, _ENGINE = "model", ("tensorrt_llm",)
_SECONDS_OF_US, _SECONDS_OF_MS = 1e-6, 1e-3


def _once(quantity: str) -> tuple[Part, ...]:
    """The engine's model alone where there is one, else all models."""
    return Part(quantity, _MODEL, _ENGINE), Part(quantity)


def _mean(quantity: str) -> tuple[Part, ...]:
    """A counter of microseconds over the requests that succeeded."""
    return (
        Part(quantity, _MODEL, _ENGINE, scale=_SECONDS_OF_US, counted_by=RECOGNISED_BY),
        Part(quantity, scale=_SECONDS_OF_US, counted_by=RECOGNISED_BY),
    )


FAMILIES = {
    "nv_trt_llm_request_metrics": (
        Part("requests_running", "request_type", ("scheduled",)),
        Part("requests_waiting", "request_type", ("waiting",)),
    ),
    "nv_inference_pending_request_count": _once("requests_waiting"),
    "nv_trt_llm_kv_cache_block_metrics": (Part("kv_cache_usage_ratio", "kv_cache_block_type", ("fraction",)),),
    "nv_inference_request_success": _once("requests_ok_total"),
    "nv_inference_request_failure": _once("requests_failed_total"),
    "nv_inference_first_response_histogram_ms": (
        Part("ttft_s", _MODEL, _ENGINE, scale=_SECONDS_OF_MS),
        Part("ttft_s", scale=_SECONDS_OF_MS),
    ),
    "nv_inference_request_duration_us": _mean("e2e_latency_s"),
    "nv_inference_queue_duration_us": _mean("queue_time_s"),
}

_NO_TOKENS = "Triton does not count tokens"
_NO_PREFIXES = "Triton counts its response cache, not the engine's prefix cache"
_NO_DRAFTS = "Triton does not count drafts"

INFERENCE = "One inference is one request that Triton answered, however many samples its batch held."

LACKS = {
    "http_requests_total": "Triton does not count HTTP requests by what they ask for",
    "input_tokens_total": _NO_TOKENS,
    "output_tokens_total": _NO_TOKENS,
    "step_tokens": _NO_TOKENS,
    "preemptions_total": "Triton does not count preemptions",
    "prefix_cache_queries_total": _NO_PREFIXES,
    "prefix_cache_hits_total": _NO_PREFIXES,
    "spec_drafts_total": _NO_DRAFTS,
    "spec_draft_tokens_total": _NO_DRAFTS,
    "spec_accepted_tokens_total": _NO_DRAFTS,
    "front_end_cpu_seconds_total": "Triton does not show its own CPU time",
    "front_end_memory_bytes": "Triton does not show its own memory",
    "itl_s": "Triton does not time the gaps between tokens",
    "tpot_s": "Triton does not time tokens",
    "prefill_s": "Triton times a whole inference, not its prefill",
    "decode_s": "Triton times a whole inference, not its decode",
}

COPIES = ()

ABOUT = {"/v2": {"version": "version"}}

SETTINGS: dict[str, tuple[str, ...]] = {}
