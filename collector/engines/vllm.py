"""vLLM, its V1 engine: what ``/metrics`` calls each quantity.

Names as of vLLM 0.23 to 0.33, with the older ones it still showed under the same meaning. Two of them mislead:
``iteration_tokens_total`` is a histogram, and ``request_success_total`` counts aborts and errors too. The
``process_*`` families are absent where several API server processes share one page.
"""

from collector.engines import Part

_HANDLERS = ("/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages")

RECOGNISED_BY = "vllm:num_requests_running"

FAMILIES = {
    "vllm:num_requests_running": "requests_running",
    "vllm:num_requests_waiting": "requests_waiting",
    "vllm:kv_cache_usage_perc": "kv_cache_usage_ratio",  # 0 to 1 despite its name
    "vllm:gpu_cache_usage_perc": "kv_cache_usage_ratio",  # before 0.11
    "vllm:request_success_total": (
        Part("requests_ok_total", "finished_reason", ("stop", "length", "repetition")),
        Part("requests_failed_total", "finished_reason", ("abort", "error")),
    ),
    # Counted when an answer has ended, whatever became of it; the handlers that ask the engine for a sequence.
    "http_requests_total": (Part("http_requests_total", "handler", _HANDLERS),),
    "vllm:prompt_tokens_total": "input_tokens_total",
    "vllm:generation_tokens_total": "output_tokens_total",
    "vllm:num_preemptions_total": "preemptions_total",
    "vllm:prefix_cache_queries_total": "prefix_cache_queries_total",
    "vllm:gpu_prefix_cache_queries_total": "prefix_cache_queries_total",  # before 0.11
    "vllm:prefix_cache_hits_total": "prefix_cache_hits_total",
    "vllm:gpu_prefix_cache_hits_total": "prefix_cache_hits_total",  # before 0.11
    "vllm:spec_decode_num_drafts_total": "spec_drafts_total",
    "vllm:spec_decode_num_draft_tokens_total": "spec_draft_tokens_total",
    "vllm:spec_decode_num_accepted_tokens_total": "spec_accepted_tokens_total",
    "process_cpu_seconds_total": "front_end_cpu_seconds_total",
    "process_resident_memory_bytes": "front_end_memory_bytes",
    "vllm:time_to_first_token_seconds": "ttft_s",
    "vllm:inter_token_latency_seconds": "itl_s",
    "vllm:time_per_output_token_seconds": "itl_s",  # before 0.13: an ITL under TPOT's name
    "vllm:request_time_per_output_token_seconds": "tpot_s",
    "vllm:e2e_request_latency_seconds": "e2e_latency_s",
    "vllm:request_queue_time_seconds": "queue_time_s",
    "vllm:time_in_queue_requests": "queue_time_s",  # the V0 engine
    "vllm:request_prefill_time_seconds": "prefill_s",
    "vllm:request_decode_time_seconds": "decode_s",
    "vllm:iteration_tokens_total": "step_tokens",
}

INFERENCE = (
    "One inference is one sequence that vLLM finished: n > 1, or a list of prompts, counts each of them; "
    "what a client aborted is often not counted at all."
)

LACKS: dict[str, str] = {}

COPIES = ()

ABOUT = {"/version": {"version": "version"}}

SETTINGS = {
    "vllm:cache_config_info": (
        "block_size",
        "num_gpu_blocks",
        "cache_dtype",
        "enable_prefix_caching",
        "gpu_memory_utilization",
        "sliding_window",
    ),
}
