"""What host threads were seen doing: the functions that most samples lie in, by thread, and what each thread is for.

A sample says where a thread was, not what it waited for nor what the device did meanwhile: shares of sampled time,
without a verdict.
"""

import re

import numpy as np

from analyzer.columns import Int64, Stacks, Trace
from analyzer.schema import StackFrame

#: Threads that are shown, the busiest first, and functions of each.
MOST_THREADS = 16
MOST_FRAMES = 12

#: Role → what its frames are called or where they lie; the first that a sample's frames match, from the leaf, is what
#: the thread was doing then. Functions and files of vLLM, SGLang, transformers, uvicorn, asyncio and the library.
_ROLES = (
    ("waiting", r"^(wait|select|poll|epoll|acquire|recv|accept|sleep|_?get_message|dequeue)\b|synchroni[sz]e"),
    ("tokenizing", r"tokeni[sz]|detokeni[sz]|encode_batch|apply_chat_template|jinja"),
    ("image and audio preprocessing", r"\bPIL\b|torchvision|librosa|image_process|multimodal|feature_extract"),
    ("scheduling", r"sched|block_manager|block_pool|kv_cache_manager|radix_cache"),
    ("sampling", r"sampl|logits_process|guided|xgrammar|outlines"),
    ("model execution", r"model_runner|model_executor|execute_model|forward|cuda_graph|torch/_ops|nn/modules"),
    ("HTTP serving", r"uvicorn|starlette|fastapi|aiohttp|h11|httptools|pydantic"),
    ("serializing", r"json|pickle|msgpack|msgspec|\bzmq\b"),
    ("event loop", r"asyncio|uvloop|selectors|_run_once|run_forever"),
)
_COMPILED = tuple((role, re.compile(pattern, re.IGNORECASE)) for role, pattern in _ROLES)
_OTHER = "other"


def busiest_frames(trace: Trace) -> tuple[StackFrame, ...]:
    """The functions with the most samples of their own, of the busiest threads, in the order of both."""
    stacks = trace.stacks
    if stacks is None or not len(stacks.thread):
        return ()
    whole = np.bincount(stacks.thread, stacks.seconds, len(stacks.threads))
    found: list[StackFrame] = []
    for thread in np.argsort(-whole, kind="stable")[:MOST_THREADS].tolist():
        if whole[thread] > 0:
            found += _thread(trace, stacks, thread, float(whole[thread]))
    return tuple(found)


def _thread(trace: Trace, stacks: Stacks, thread: int, whole_s: float) -> list[StackFrame]:
    samples = np.flatnonzero(stacks.thread == thread)
    depth = stacks.first[samples + 1] - stacks.first[samples]
    seconds = stacks.seconds[samples]
    # Every frame of these samples, and the sample it lies in; a function that calls itself counts once a sample.
    place = np.repeat(stacks.first[samples], depth) + _within(depth)
    sample = np.repeat(np.arange(len(samples)), depth)
    pairs = np.unique(np.stack([sample, stacks.frame[place]]), axis=1) if len(place) else np.empty((2, 0), np.int64)
    total = np.bincount(pairs[1], seconds[pairs[0]], len(trace.names))
    leaf = stacks.first[samples + 1][depth > 0] - 1
    own = np.bincount(stacks.frame[leaf], seconds[depth > 0], len(trace.names))
    role = _role(trace, stacks, samples)
    order = np.lexsort((np.arange(len(own)), -total, -own))[:MOST_FRAMES]
    return [
        StackFrame(
            thread=stacks.threads[thread],
            role=role,
            name=trace.names[name],
            self_s=float(own[name]),
            total_s=float(total[name]),
            self_share=float(own[name] / whole_s),
            total_share=float(total[name] / whole_s),
        )
        for name in order.tolist()
        if total[name] > 0
    ]


def _within(lengths: Int64) -> Int64:
    """0, 1, … for each length, one after the other."""
    ends = np.cumsum(lengths)
    counted: Int64 = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - lengths, lengths)
    return counted


def _role(trace: Trace, stacks: Stacks, samples: Int64) -> str:
    """What most of a thread's time went to; ``waiting`` only where it did nothing else."""
    spent: dict[str, float] = {}
    known: dict[int, str | None] = {}
    for sample in samples.tolist():
        frames = stacks.frame[stacks.first[sample] : stacks.first[sample + 1]].tolist()
        for frame in frames:
            if frame not in known:
                name = trace.names[frame]
                known[frame] = next((role for role, pattern in _COMPILED if pattern.search(name)), None)
        role = next((found for frame in reversed(frames) if (found := known[frame])), _OTHER)
        spent[role] = spent.get(role, 0.0) + float(stacks.seconds[sample])
    busy = {role: seconds for role, seconds in spent.items() if role != "waiting"}
    return max(busy or spent, key=lambda role: (busy or spent)[role])
