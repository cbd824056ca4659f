"""NVIDIA NIM for LLMs, release 1: what ``/v1/metrics`` calls each quantity.

The names are vLLM's of the time without their prefix. A NIM that shows ``vllm:`` names is read as vLLM.
"""

RECOGNISED_BY = "num_request_max"

FAMILIES = {
    "num_requests_running": "requests_running",
    "num_requests_waiting": "requests_waiting",
    "gpu_cache_usage_perc": "kv_cache_usage_ratio",  # 0 to 1 despite its name
    "request_success_total": "requests_ok_total",  # stop and length
    "request_failure_total": "requests_failed_total",  # every other reason
    "prompt_tokens_total": "input_tokens_total",
    "generation_tokens_total": "output_tokens_total",
    "process_cpu_seconds_total": "front_end_cpu_seconds_total",
    "process_resident_memory_bytes": "front_end_memory_bytes",
    "time_to_first_token_seconds": "ttft_s",
    "time_per_output_token_seconds": "itl_s",  # as in vLLM before 0.13: an ITL under TPOT's name
    "e2e_request_latency_seconds": "e2e_latency_s",
}

_NO_PREFIXES = "NIM does not count look-ups in its prefix cache"
_NO_DRAFTS = "NIM does not count drafts"

INFERENCE = "One inference is one request that NIM finished with an answer."

LACKS = {
    "http_requests_total": "NIM does not count HTTP requests by what they ask for",
    "preemptions_total": "NIM does not count preemptions",
    "prefix_cache_queries_total": _NO_PREFIXES,
    "prefix_cache_hits_total": _NO_PREFIXES,
    "spec_drafts_total": _NO_DRAFTS,
    "spec_draft_tokens_total": _NO_DRAFTS,
    "spec_accepted_tokens_total": _NO_DRAFTS,
    "tpot_s": "NIM times the gaps between tokens, not a request's mean",
    "queue_time_s": "NIM does not time its queue",
    "prefill_s": "NIM does not time prefill",
    "decode_s": "NIM does not time decode",
    "step_tokens": "NIM does not count the tokens of a step",
}

COPIES = ()

ABOUT = {"/v1/version": {"release": "version"}}

SETTINGS: dict[str, tuple[str, ...]] = {}
