"""What the name of an engine's mark says of its step: how many requests read their prompt, how many generate, tokens.

Each form is the one its engine writes:

- vLLM, ``annotate_profile`` of ``vllm/v1/worker/gpu_worker.py``: ``execute_context_2(8190)_generation_2(2)``; with
  ``detailed_trace_annotation`` the scheduled tokens come first and each bracket holds sums over its requests, of which
  ``sq`` is their tokens.
- SGLang, ``build_step_span_name`` of ``sglang/srt/utils/profile_utils.py``: ``step[EXTEND bs=2 toks=14721]``,
  ``step[DECODE bs=64]``, ``step[MIXED bs=2 c=1 g=1 c_sq=5 … g_sq=1 …]``, the mode being one of ``ForwardMode``.
- TensorRT-LLM, ``_forward_step`` of ``tensorrt_llm/_torch/pyexecutor/py_executor.py``:
  ``[Executor] _forward_step 12: 1 ctx reqs, 96 ctx tokens, 31 gen reqs``; older releases leave out the number or the
  context tokens.
- ATOM (ROCm): ``prefill[bs=2 tok=14721 …]``, ``decode[bs=117/128 tok=117 …]``, the second number being the padding.

``ProfilerStep#4`` is ``torch.profiler.profile.step()``: a loop of anything, which says nothing of requests.
"""

import re
from dataclasses import dataclass

_GROUP = re.compile(r"(?P<n>\d{1,12})|sq(?P<sq>\d{1,12})sk\d+sqsq\d+sqsk\d+")
_COUNT = r"\d{1,9}"
_VLLM = re.compile(
    rf"execute_(?:\d+_)?context_(?P<context>{_COUNT})\((?P<context_tokens>[^)]*)\)"
    rf"_generation_(?P<generation>{_COUNT})\((?P<generation_tokens>[^)]*)\)",
)
_SGLANG = re.compile(r"step\[(?P<mode>[a-z_0-9]+)\b(?P<fields>[^\]]*)\]", re.IGNORECASE)
_TENSORRT_LLM = re.compile(
    rf"\[Executor\] _forward_step(?: \d+)?: (?P<context>{_COUNT}) ctx reqs, "
    rf"(?:(?P<context_tokens>\d{{1,12}}) ctx tokens, )?(?P<generation>{_COUNT}) gen reqs",
)
_ATOM = re.compile(rf"(?P<phase>prefill|decode)\[bs=(?P<batch>{_COUNT})(?:/\d+)?(?P<fields>[^\]]*).*")
_FIELD = re.compile(r"\b(\w+)=(\d{1,12})\b")
_TORCH = re.compile(r"ProfilerStep#\d+")

#: Modes of SGLang's ``ForwardMode`` that read prompts, and those that generate. The others are parts of a step (a
#: draft model's pass), or hold no request (``IDLE``).
_READS = ("extend", "split_prefill")
_GENERATES = ("decode", "target_verify", "dllm_extend")


@dataclass(frozen=True)
class StepName:
    """What a step's name says."""

    context: int
    generation: int
    #: None where the name does not say.
    tokens: int | None


def parse(name: str) -> StepName | None:
    """The step a mark names; None for any other mark, and for a step without a request."""
    found = _vllm(name) or _sglang(name) or _tensorrt_llm(name) or _atom(name)
    return found if found and (found.context or found.generation) else None


def is_loop(name: str) -> bool:
    """Whether a mark is a turn of some profiled loop."""
    return _TORCH.fullmatch(name) is not None


def _vllm(name: str) -> StepName | None:
    match = _VLLM.fullmatch(name)
    if match is None:
        return None
    tokens = [_tokens(match["context_tokens"]), _tokens(match["generation_tokens"])]
    known = [n for n in tokens if n is not None]
    return StepName(int(match["context"]), int(match["generation"]), sum(known) if len(known) == len(tokens) else None)


def _tokens(group: str) -> int | None:
    match = _GROUP.fullmatch(group)
    return int(match["n"] or match["sq"]) if match else None


def _sglang(name: str) -> StepName | None:
    match = _SGLANG.fullmatch(name)
    if match is None:
        return None
    mode, fields = match["mode"].lower(), _fields(match["fields"])
    batch = fields.get("bs", 0)
    if mode in _READS:
        return StepName(batch, 0, fields.get("toks"))
    if mode in _GENERATES:
        return StepName(0, batch, batch if mode == "decode" else fields.get("g_sq"))
    if mode == "mixed":
        # The short form counts both kinds as one: at least one of them generates.
        generation = fields.get("g", min(1, batch))
        tokens = fields["c_sq"] + fields["g_sq"] if {"c_sq", "g_sq"} <= fields.keys() else None
        return StepName(fields.get("c", batch - generation), generation, tokens)
    return None


def _tensorrt_llm(name: str) -> StepName | None:
    match = _TENSORRT_LLM.fullmatch(name)
    if match is None:
        return None
    context, generation = int(match["context"]), int(match["generation"])
    read = 0 if not context else None if match["context_tokens"] is None else int(match["context_tokens"])
    return StepName(context, generation, None if read is None else read + generation)


def _atom(name: str) -> StepName | None:
    match = _ATOM.fullmatch(name)
    if match is None:
        return None
    batch, tokens = int(match["batch"]), _fields(match["fields"]).get("tok")
    return StepName(batch, 0, tokens) if match["phase"] == "prefill" else StepName(0, batch, tokens)


def _fields(text: str) -> dict[str, int]:
    return {key: int(value) for key, value in _FIELD.findall(text)}
