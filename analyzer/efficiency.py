"""How near its roof each kind of work came: operations and bytes over the time that kernels took.

Both are lower bounds: what the operators' recorded shapes ask for at the least, and where kernels carry none, as in
replays of CUDA graphs, what the model must read and compute in each step. So rates and efficiencies are *at least*
what is said here. One above 100 % cannot be: then the roof, or the work, is not what it was taken for.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analyzer.columns import CATEGORIES, Bool, Float64, Int32, Int64, Trace
from analyzer.kernels import FAMILIES, operation_of
from analyzer.model import Model
from analyzer.roofline import Hardware
from analyzer.schema import FamilyRoofline, Roofline, StepRoofline
from analyzer.steps import StepColumns
from analyzer.windows import window_of

#: Above the roof by less than this may be the clock's error or a cache; by more the peak is wrong (AMD TraceLens
#: draws the line at the same place).
ANOMALY_RATIO = 1.1

_NO_SHAPES = "no shapes: CUDA graph, or without record_shapes"
_ELSEWHERE = {
    "communication": "its limit is the link between GPUs",
    "copy": "not an operator’s work",
}
_FEW_SHAPES = "most of their kernels carry no shapes; what they must read follows from the model, given with --model"
#: Steps of which shapes cover less of the kernels' time are not judged by shapes.
_MOST_KNOWN = 0.5
_SPLIT = "there are collectives, so the model is split over several GPUs; say over how many with --model-gpus"
_UNNAMED = "no mark names the steps, so they may be parts of the model's, and it is not held against them"
_CACHED = re.compile(r"sq\d+sk(?P<cached>\d{1,15})sqsq\d+sqsk\d+")


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """The least work behind each row of device work, all arrays of shape (n,); 0 where none is known."""

    seconds: Float64
    known: Bool
    flops: Float64
    moved_bytes: Float64
    #: What the arithmetic, and the bytes, need at the peak; NaN on a GPU without a roof.
    compute_s: Float64
    memory_s: Float64


def roofline(
    trace: Trace,
    family_of: Int32,
    steps: StepColumns | None,
    device: Hardware | None,
    model: Model | None = None,
) -> Roofline:
    """How near to the roofs the families of kernels, and the steady steps, came.

    Args:
        trace: With device work.
        family_of: The family of each row of device work.
        steps: Its LLM steps, if it has any.
        device: The roofs; without them rates are given and nothing is said of efficiency.
        model: The model that ran.
    """
    rows = _rows(trace, device)
    unfit: tuple[str, ...] = ()
    if model is not None and model.gpus is None and (family_of == FAMILIES.index("communication")).any():
        model, unfit = None, (_SPLIT,)
    elif model is not None and steps is not None and steps.unnamed is not None:
        model, unfit = None, (_UNNAMED,)
    families = tuple(_families(rows, family_of, device))
    groups = tuple(_steps(trace, rows, steps, device, model)) if steps is not None else ()
    phases = {steps.phase(int(row)) for row in np.flatnonzero(steps.steady)} if steps is not None else set()
    missing = tuple(sorted(phases - {row.phase for row in groups}))
    warnings = [f"{row.family}: {row.warning}" for row in families if row.warning]
    warnings += [f"{row.phase} steps: {row.warning}" for row in groups if row.warning]
    return Roofline(
        gpu=device.name if device else None,
        tensor_flops_per_s=dict(device.tensor_flops) if device else {},
        achieved_flops_per_s=dict(device.achieved_flops) if device else {},
        vector_flops_per_s=device.vector_flops if device else None,
        dram_bytes_per_s=device.dram_bytes_per_s if device else None,
        achieved_bytes_per_s=device.achieved_bytes_per_s if device else None,
        source=device.source if device else None,
        reason=None if device else "this GPU is not in hardware.toml, so its roofs are not known",
        model=model.name if model else None,
        families=families,
        steps=groups,
        steps_reason=f"{', '.join(missing)} steps: {_FEW_SHAPES}" if missing else None,
        warnings=(*unfit, *warnings),
    )


def _rows(trace: Trace, device: Hardware | None) -> _Rows:
    """Several kernels of one operator share its work by their length."""
    work, asked = trace.device, trace.operations
    seconds = (work.end_ns - work.start_ns) / 1e9
    nothing = np.zeros(len(work))
    if not len(asked):
        return _Rows(
            seconds=seconds, known=nothing > 0, flops=nothing, moved_bytes=nothing, compute_s=nothing, memory_s=nothing
        )
    row, known = operation_of(trace)
    known &= seconds > 0
    whole = np.bincount(row[known], seconds[known], len(asked))
    part = np.divide(seconds, whole[row], out=nothing, where=known)
    unknown = np.full(len(asked), np.nan)
    compute_s, memory_s = device.least_seconds(asked) if device else (unknown, unknown)
    return _Rows(
        seconds=seconds,
        known=known,
        flops=np.where(known, asked.flops[row], 0.0) * part,
        moved_bytes=np.where(known, asked.moved_bytes[row], 0.0) * part,
        compute_s=np.where(known, compute_s[row], 0.0) * part,
        memory_s=np.where(known, memory_s[row], 0.0) * part,
    )


def _families(rows: _Rows, family_of: Int32, device: Hardware | None) -> Iterator[FamilyRoofline]:
    """One row a family that took time, the longest first."""
    taken = np.bincount(family_of, rows.seconds, len(FAMILIES))
    for index in np.argsort(-taken, kind="stable"):
        if not taken[index]:
            return
        mine = (family_of == index) & rows.known
        known_s, flops, moved = (float(values[mine].sum()) for values in (rows.seconds, rows.flops, rows.moved_bytes))
        at_roof = np.maximum(rows.compute_s[mine], rows.memory_s[mine])
        under_compute = float(at_roof[rows.compute_s[mine] > rows.memory_s[mine]].sum())
        roof_s = float(at_roof.sum())
        efficiency = roof_s / known_s if known_s and device else None
        name = FAMILIES[index]
        yield FamilyRoofline(
            family=name,
            time_share=float(taken[index] / taken.sum()),
            known_ratio=known_s / float(taken[index]),
            bound=None if efficiency is None else "compute" if 2 * under_compute > roof_s else "memory",
            flops_per_s=flops / known_s if known_s else None,
            bytes_per_s=moved / known_s if known_s else None,
            intensity_flops_per_byte=flops / moved if moved else None,
            efficiency_ratio=efficiency,
            warning=_warning(efficiency, "operands that stay in the cache, or a name that two GPUs share"),
            reason=None if known_s else _ELSEWHERE.get(name, _NO_SHAPES),
        )


def _steps(
    trace: Trace,
    rows: _Rows,
    steps: StepColumns,
    device: Hardware | None,
    model: Model | None,
) -> Iterator[StepRoofline]:
    """One row a phase of the steady steps; of shapes and model each step takes the one that says more."""
    mine = (trace.device.row == steps.device) & rows.known
    step = window_of(trace.device.start_ns, steps.start_ns, steps.end_ns)
    inside = mine & (step >= 0)
    there = (trace.device.row == steps.device) & (step >= 0) & (trace.device.category == CATEGORIES.index("kernel"))
    busy_s, known_s = (_sums(step[chosen], rows.seconds[chosen], len(steps)) for chosen in (there, inside))
    flops, moved, compute_s = (
        _sums(step[inside], values[inside], len(steps)) for values in (rows.flops, rows.moved_bytes, rows.compute_s)
    )
    by_shape = moved.copy()
    if model is not None:
        cached = _cached_tokens(trace, steps)
        read = [
            model.step_bytes(requests, None if np.isnan(tokens) else tokens)
            for requests, tokens in zip(steps.generation.tolist(), cached.tolist(), strict=True)
        ]
        # A step whose mark names no tokens still reads the weights, for one token at the least.
        tokens = np.maximum(np.nan_to_num(steps.tokens, nan=1.0), 1.0)
        done = np.array([model.step_flops(*pair) for pair in zip(tokens, steps.generation.tolist(), strict=True)])
        moved, flops = np.maximum(moved, read), np.maximum(flops, done)
        if device:
            compute_s = np.maximum(compute_s, done / device.tensor_peak(model.dtype))
    work = _StepWork((steps.end_ns - steps.start_ns) / 1e9, flops, moved, compute_s, by_shape)
    phases = np.array([steps.phase(row) for row in range(len(steps))])
    for phase in ("prefill", "mixed", "decode", "step"):
        chosen = (phases == phase) & steps.steady & (work.length_s > 0) & (moved > 0)
        enough = model is not None or known_s[chosen].sum() > _MOST_KNOWN * busy_s[chosen].sum()
        if enough and chosen.any():
            yield _step_group(phase, _StepWork(*(column[chosen] for column in work)), device)


def _sums(place: Int64, values: Float64, count: int) -> Float64:
    """The sum of the values at each place, shape (count,)."""
    found: Float64 = np.bincount(place, values, count).astype(np.float64)
    return found


class _StepWork(NamedTuple):
    """The least work of some steps, all arrays of shape (n,)."""

    length_s: Float64
    flops: Float64
    moved_bytes: Float64
    #: What the arithmetic needs at the peak.
    compute_s: Float64
    #: Of the bytes, what recorded shapes tell.
    bytes_by_shape: Float64


def _step_group(phase: str, work: _StepWork, device: Hardware | None) -> StepRoofline:
    memory = work.moved_bytes / device.dram_bytes_per_s / work.length_s if device else None
    compute = work.compute_s / work.length_s if device else None
    efficiency = None if memory is None or compute is None else float(np.median(np.maximum(memory, compute)))
    told = {
        "the model": (work.moved_bytes > work.bytes_by_shape).any(),
        "recorded shapes": (work.bytes_by_shape > 0).any(),
    }
    return StepRoofline(
        phase=phase,
        count=len(work.length_s),
        basis=" and ".join(name for name, used in told.items() if used),
        moved_bytes_p50=float(np.median(work.moved_bytes)),
        flops_p50=float(np.median(work.flops)),
        bytes_per_s_p50=float(np.median(work.moved_bytes / work.length_s)),
        flops_per_s_p50=float(np.median(work.flops / work.length_s)),
        memory_roof_ratio_p50=None if memory is None else float(np.median(memory)),
        memory_roof_ratio_p10=None if memory is None else float(np.quantile(memory, 0.1)),
        memory_roof_ratio_p90=None if memory is None else float(np.quantile(memory, 0.9)),
        compute_roof_ratio_p50=None if compute is None else float(np.median(compute)),
        warning=_warning(
            efficiency,
            "a model that is not the one that ran, is split over several GPUs, or has narrower weights than it says",
        ),
    )


def _warning(efficiency: float | None, other: str) -> str | None:
    """What an efficiency that cannot be means; None for one that can."""
    if efficiency is None or efficiency <= 1:
        return None
    if efficiency <= ANOMALY_RATIO:
        return f"{100 * efficiency:.0f} % of its roof is at the limit of what the peak can be: read it as 100 %"
    return f"{100 * efficiency:.0f} % of its roof cannot be: a wrong peak for this GPU, {other}"


def _cached_tokens(trace: Trace, steps: StepColumns) -> Float64:
    """Tokens of context that each step attends to, NaN where its mark does not say, shape (n,).

    vLLM's detailed marks hold the sums over requests: ``sk`` is that of their contexts.
    """
    found = np.full(len(steps), np.nan)
    detailed = {index: _CACHED.findall(name) for index, name in enumerate(trace.names) if "sqsk" in name}
    said = {index: sum(int(tokens) for tokens in sums) for index, sums in detailed.items() if sums}
    for marks in (trace.device_marks, trace.host_marks):
        named = marks.take(np.isin(marks.name, list(said)) & (marks.category == CATEGORIES.index("mark")))
        place = window_of(named.start_ns, steps.start_ns, steps.end_ns)
        for row, name in zip(place.tolist(), named.name.tolist(), strict=True):
            if row >= 0 and np.isnan(found[row]):
                found[row] = said[name]
    return found
