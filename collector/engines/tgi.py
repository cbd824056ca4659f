"""Text Generation Inference (TGI) 3: what ``/metrics`` calls each quantity.

Its counters lack ``_total``; tokens are counted only as the sums of histograms over requests that ended.
"""

from collector.engines import Part

RECOGNISED_BY = "tgi_batch_current_size"

FAMILIES = {
    "tgi_batch_current_size": "requests_running",
    "tgi_queue_size": "requests_waiting",
    "tgi_request_success": "requests_ok_total",
    "tgi_request_failure": "requests_failed_total",
    "tgi_request_input_length": (Part("input_tokens_total", of="sum"),),
    "tgi_request_generated_tokens": (Part("output_tokens_total", of="sum"),),
    # Tokens that a step brought beyond its first: those of a draft that were accepted.
    "tgi_request_skipped_tokens": (Part("spec_accepted_tokens_total", of="sum"),),
    "tgi_request_mean_time_per_token_duration": "tpot_s",  # over all tokens, the first included
    "tgi_request_duration": "e2e_latency_s",
    "tgi_request_queue_duration": "queue_time_s",
}

INFERENCE = "One inference is one HTTP request that TGI answered, however many sequences were tried for it."

LACKS = {
    "http_requests_total": "TGI does not count HTTP requests by what they ask for",
    "kv_cache_usage_ratio": "TGI shows the tokens of its batch, not the share of the KV cache in use",
    "preemptions_total": "TGI does not preempt requests",
    "prefix_cache_queries_total": "TGI does not count look-ups in its prefix cache",
    "prefix_cache_hits_total": "TGI does not count hits of its prefix cache",
    "spec_drafts_total": "TGI does not count drafts",
    "spec_draft_tokens_total": "TGI does not count the tokens of drafts",
    "front_end_cpu_seconds_total": "TGI does not show its own CPU time",
    "front_end_memory_bytes": "TGI does not show its own memory",
    "ttft_s": "TGI does not time the first token",
    "itl_s": "TGI shows a request's mean time per token only",
    "prefill_s": "TGI times the prefill of a batch, not of a request",
    "decode_s": "TGI times the decode steps of a batch, not of a request",
    "step_tokens": "TGI shows the requests of a batch, not its tokens",
}

COPIES = ()

ABOUT = {
    "/info": {
        "version": "version",
        "model_id": "model",
        "max_concurrent_requests": "max_concurrent_requests",
        "max_input_tokens": "max_input_tokens",
        "max_total_tokens": "max_total_tokens",
        "max_batch_total_tokens": "max_batch_total_tokens",
    },
}

SETTINGS: dict[str, tuple[str, ...]] = {}
