"""TensorRT-LLM's own server, ``trtllm-serve``: what ``/prometheus/metrics`` calls each quantity.

Its ``/metrics`` is JSON, and empty; the page exists where the server was started with ``return_perf_metrics``. Early
releases show only latencies, the KV cache and requests that succeeded.
"""

from collector.engines import Part

RECOGNISED_BY = "trtllm_request_success_total"

FAMILIES = {
    "trtllm_num_requests_running": "requests_running",
    "trtllm_num_requests_waiting": "requests_waiting",
    "trtllm_kv_cache_utilization": "kv_cache_usage_ratio",
    "trtllm_request_success_total": (
        Part("requests_ok_total", "finished_reason", ("stop", "length")),
        Part("requests_failed_total", "finished_reason", ("cancelled", "timeout")),
    ),
    "trtllm_prompt_tokens_total": "input_tokens_total",
    "trtllm_generation_tokens_total": "output_tokens_total",
    "process_cpu_seconds_total": "front_end_cpu_seconds_total",
    "process_resident_memory_bytes": "front_end_memory_bytes",
    "trtllm_time_to_first_token_seconds": "ttft_s",
    "trtllm_time_per_output_token_seconds": "tpot_s",
    "trtllm_e2e_request_latency_seconds": "e2e_latency_s",
    "trtllm_request_queue_time_seconds": "queue_time_s",
    "trtllm_request_prefill_time_seconds": "prefill_s",
    "trtllm_request_decode_time_seconds": "decode_s",
}

_HIT_RATE = "trtllm-serve shows a hit rate over all time, not the tokens behind it"
_NO_DRAFTS = "trtllm-serve does not count drafts"

INFERENCE = "One inference is one request that TensorRT-LLM finished with an answer; cancelled ones are not."

LACKS = {
    "http_requests_total": "trtllm-serve does not count HTTP requests by what they ask for",
    "preemptions_total": "trtllm-serve does not count preemptions",
    "prefix_cache_queries_total": _HIT_RATE,
    "prefix_cache_hits_total": _HIT_RATE,
    "spec_drafts_total": _NO_DRAFTS,
    "spec_draft_tokens_total": _NO_DRAFTS,
    "spec_accepted_tokens_total": _NO_DRAFTS,
    "itl_s": "trtllm-serve shows a request's mean time per token only",
    "step_tokens": "trtllm-serve does not count the tokens of a step",
}

COPIES = ()

ABOUT = {"/version": {"version": "version"}}

SETTINGS: dict[str, tuple[str, ...]] = {}
