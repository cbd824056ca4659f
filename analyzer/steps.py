"""LLM steps: which ranges of a trace are one step of the engine, with their batch and tokens.

Engines mark a step on the host; the profiler mirrors the mark on the device around the work launched inside it.
A step lasts from the start of its device mark to the start of the next one: the sampler and the last matrix
product run after the mark ends, and the host may run far ahead of the device, so neither the mark's own length
nor its host range is the step's time.
"""

import re
from dataclasses import dataclass

import numpy as np

from analyzer.columns import Bool, Float64, Int64, Spans, Trace
from analyzer.schema import Step, StepGroup, Steps
from analyzer.timeline import IntervalSet, covered_within

#: The first steps of a capture run 9–15 times slower than the rest (measured: 58 and 90 ms against 6.2 ms), so
#: this many are left out of every statistic where enough others remain.
WARM_UP_STEPS = 2

_GROUP = re.compile(r"(?P<n>\d+)|sq(?P<sq>\d+)sk\d+sqsq\d+sqsk\d+")
_VLLM = re.compile(
    r"execute_(?:\d+_)?context_(?P<context>\d+)\((?P<context_tokens>[^)]*)\)"
    r"_generation_(?P<generation>\d+)\((?P<generation_tokens>[^)]*)\)",
)
_SGLANG = re.compile(r"step\[(?P<mode>extend|decode|mixed)\b(?P<fields>[^\]]*)\]", re.IGNORECASE)


@dataclass(frozen=True)
class _Mark:
    """What a step's name says."""

    context: int
    generation: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class StepColumns:
    """The steps of one device, rows in order of time, all arrays of shape (n,)."""

    device: int
    start_ns: Int64
    end_ns: Int64
    #: Requests whose prompt is being read, and requests that generate.
    context: Int64
    generation: Int64
    #: Tokens of the step; NaN where the mark does not say.
    tokens: Float64

    def __len__(self) -> int:
        """Steps."""
        return len(self.start_ns)

    @property
    def steady(self) -> Bool:
        """The steps that statistics are made of: not the first ones, if at least three others remain."""
        rows = np.arange(len(self))
        return rows >= (WARM_UP_STEPS if len(self) >= WARM_UP_STEPS + 3 else 0)

    def phase(self, row: int) -> str:
        """``prefill``, ``decode`` or ``mixed``."""
        if self.context[row] and self.generation[row]:
            return "mixed"
        return "prefill" if self.context[row] else "decode"


def find_steps(trace: Trace) -> StepColumns | None:
    """The steps that engine marks describe, or None where the trace has none.

    Empty steps (no request at all) are host bookkeeping and do not count. Where a trace holds several devices,
    the steps are those of the first: the ranks of one engine step together.
    """
    for marks in (trace.device_marks, trace.host_marks):
        parsed = {index: mark for index, name in enumerate(trace.names) if (mark := _parse(name))}
        is_step = np.isin(marks.name, list(parsed))
        if not is_step.any():
            continue
        first = marks.take(is_step & (marks.row == marks.row[is_step].min()))
        return _columns(trace, first, [parsed[int(name)] for name in first.name])
    return None


def _columns(trace: Trace, marks: Spans, parsed: list[_Mark]) -> StepColumns:
    work = trace.device.end_ns[trace.device.row == marks.row[0]]
    last = max(int(marks.end_ns[-1]), int(work.max()) if len(work) else 0)
    return StepColumns(
        device=int(marks.row[0]),
        start_ns=marks.start_ns,
        end_ns=np.r_[marks.start_ns[1:], last],
        context=np.array([mark.context for mark in parsed], np.int64),
        generation=np.array([mark.generation for mark in parsed], np.int64),
        tokens=np.array([mark.tokens or np.nan for mark in parsed], np.float64),
    )


def _parse(name: str) -> _Mark | None:
    if match := _VLLM.fullmatch(name):
        context, generation = int(match["context"]), int(match["generation"])
        tokens = _tokens(match["context_tokens"]) + _tokens(match["generation_tokens"])
        return _Mark(context, generation, tokens) if context or generation else None
    if match := _SGLANG.fullmatch(name):
        fields = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", match["fields"])}
        batch, mode = fields.get("bs", 0), match["mode"].lower()
        decode = mode == "decode"
        tokens = fields.get("toks", batch if decode else 0)
        return _Mark(0 if decode else batch, batch if decode else int(mode == "mixed"), tokens)
    return None


def _tokens(group: str) -> int:
    match = _GROUP.fullmatch(group)
    return int(match["n"] or match["sq"]) if match else 0


def summarise(steps: StepColumns, busy: IntervalSet) -> Steps:
    """The steps as they are shown: each one, and the medians of each phase over the steady ones.

    Args:
        steps: From ``find_steps``.
        busy: When the steps' device was busy.
    """
    length = steps.end_ns - steps.start_ns
    busy_ratio = covered_within(busy, steps.start_ns, steps.end_ns) / np.maximum(length, 1)
    seconds = length / 1e9
    phases = np.array([steps.phase(row) for row in range(len(steps))])
    groups = []
    for phase in ("prefill", "mixed", "decode"):
        rows = np.flatnonzero((phases == phase) & steps.steady)
        if len(rows):
            groups.append(
                StepGroup(
                    phase=phase,
                    count=len(rows),
                    duration_p50_s=float(np.median(seconds[rows])),
                    batch_p50=float(np.median(steps.context[rows] + steps.generation[rows])),
                    tokens_p50=float(np.median(steps.tokens[rows])),
                    tokens_per_s=float(steps.tokens[rows].sum() / seconds[rows].sum()),
                ),
            )
    shown = tuple(
        Step(
            phase=str(phases[row]),
            start_s=float(steps.start_ns[row] / 1e9),
            duration_s=float(seconds[row]),
            batch=int(steps.context[row] + steps.generation[row]),
            tokens=int(np.nan_to_num(steps.tokens[row])),
            busy_ratio=float(busy_ratio[row]),
        )
        for row in range(len(steps))
    )
    return Steps(groups=tuple(groups), warm_up=int((~steps.steady).sum()), steps=shown)
