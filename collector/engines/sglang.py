"""SGLang, started with ``--enable-metrics``: what ``/metrics`` calls each quantity.

Names as of SGLang 0.5. “Retracted” is its word for preempted. With ``--enable-metrics-for-all-schedulers`` every
rank reports the whole, so ranks are copies; ranks of data parallelism (``dp_rank``) are not, and are added up.
"""

from collector.engines import Part

RECOGNISED_BY = "sglang:num_running_reqs"

_CACHED = ("device_hit", "host_hit", "storage_hit")

FAMILIES = {
    "sglang:num_running_reqs": "requests_running",
    "sglang:num_queue_reqs": "requests_waiting",
    "sglang:token_usage": "kv_cache_usage_ratio",
    # Counts requests that ended, and its documentation does not say whether aborted ones are among them.
    "sglang:num_requests_total": "requests_ok_total",
    "sglang:num_aborted_requests_total": "requests_failed_total",
    "sglang:prompt_tokens_total": "input_tokens_total",
    "sglang:generation_tokens_total": "output_tokens_total",
    "sglang:num_retracted_requests_total": "preemptions_total",
    "sglang:prefill_effective_tokens_total": (
        Part("prefix_cache_queries_total", "mode", (*_CACHED, "input")),
        Part("prefix_cache_hits_total", "mode", _CACHED),
    ),
    "sglang:spec_verify_calls_total": "spec_drafts_total",
    "process_cpu_seconds_total": "front_end_cpu_seconds_total",
    "process_resident_memory_bytes": "front_end_memory_bytes",
    "sglang:time_to_first_token_seconds": "ttft_s",
    "sglang:inter_token_latency_seconds": "itl_s",
    "sglang:request_time_per_output_token_seconds": "tpot_s",
    "sglang:e2e_request_latency_seconds": "e2e_latency_s",
    "sglang:queue_time_seconds": "queue_time_s",
}

INFERENCE = "One inference is one request that SGLang finished; whether aborted ones count, it does not say."

LACKS = {
    "http_requests_total": "SGLang does not count HTTP requests by what they ask for",
    "spec_draft_tokens_total": "SGLang shows the acceptance of drafts as gauges only",
    "spec_accepted_tokens_total": "SGLang shows the acceptance of drafts as gauges only",
    "prefill_s": "SGLang times each chunk of a prefill, not the whole",
    "decode_s": "SGLang does not time a request's decode",
    "step_tokens": "SGLang counts the tokens of its steps, not the steps",
}

COPIES = ("tp_rank", "pp_rank", "moe_ep_rank")

_SERVER_INFO = {
    "version": "version",
    "served_model_name": "model",
    "tp_size": "tp_size",
    "dp_size": "dp_size",
    "max_running_requests": "max_running_requests",
    "max_total_num_tokens": "max_total_num_tokens",
    "chunked_prefill_size": "chunked_prefill_size",
    "mem_fraction_static": "mem_fraction_static",
    "schedule_policy": "schedule_policy",
    "disable_radix_cache": "disable_radix_cache",
    "disable_cuda_graph": "disable_cuda_graph",
    "speculative_algorithm": "speculative_algorithm",
}

ABOUT = {"/get_server_info": _SERVER_INFO}

SETTINGS = {"sglang:cache_config_info": ("page_size", "num_pages")}
