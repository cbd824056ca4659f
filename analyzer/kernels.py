"""What each piece of device work is, and which roof it lies under.

The family comes from the name. The roof comes, in this order, from the shape its operator recorded, from the
tokens of the LLM step it belongs to, or from the family alone; where none of them tells, it is None.
"""

import re

import numpy as np
import numpy.typing as npt

from analyzer.columns import CATEGORIES, Bool, Float64, Int32, Trace
from analyzer.roofline import Hardware, ridge_tokens
from analyzer.schema import Kernel
from analyzer.steps import StepColumns
from analyzer.windows import window_of

FAMILIES = (
    "copy", "communication", "attention", "normalisation", "sampling", "gemm", "convolution", "elementwise", "other",
)  # fmt: skip

#: First match wins. Names of kernels that write the KV cache hold "flash" and are plain copies.
_PATTERNS = (
    ("communication", r"nccl|rccl|all_?reduce|all_?gather|reduce_?scatter|all_?to_?all"),
    ("elementwise", r"reshape_and_cache|copy_blocks"),
    ("attention", r"flash|fmha|attention|attn|paged_|_mla_|mha_"),
    ("normalisation", r"rms_?norm|layer_?norm|group_?norm|batch_?norm|_norm_"),
    ("sampling", r"top_?[kp]|argmax|softmax|sort|multinomial|sampl|exponential"),
    ("convolution", r"conv|winograd|dgrad|wgrad|implicit_gemm"),
    (
        "gemm",
        r"nvjet|gemm|gemv|cublas|split_?k|wgmma|matmul|marlin|machete|cijk_|s\d+(16|8)cudnn|_mm_|cutlass",
    ),
    (
        "elementwise",
        r"elementwise|triton_(poi|red|per)|fill|catarray|index_|reduce|scan|silu|gelu|rotary|embedding|copy_",
    ),
)
_COMPILED = tuple((family, re.compile(pattern, re.IGNORECASE)) for family, pattern in _PATTERNS)

#: How a roof is written in columns.
COMPUTE, MEMORY, NEITHER = 1, 0, -1
_ROOF_WORDS = {COMPUTE: "compute", MEMORY: "memory"}

#: Families whose work per byte is a handful of operations whatever the batch: far left of every ridge.
_ALWAYS_MEMORY = ("copy", "normalisation", "sampling", "elementwise")


def family(name: str) -> str:
    """The family of a kernel by its name."""
    return next((family for family, pattern in _COMPILED if pattern.search(name)), "other")


def families(trace: Trace) -> Int32:
    """Index into ``FAMILIES`` of each row of device work, shape (n,)."""
    by_name = np.array([FAMILIES.index(family(name)) for name in trace.names], np.int32)
    found = by_name[trace.device.name] if len(by_name) else np.empty(0, np.int32)
    copies = trace.device.category != CATEGORIES.index("kernel")
    return np.where(copies, FAMILIES.index("copy"), found).astype(np.int32)


def roofs(trace: Trace, family_of: Int32, steps: StepColumns | None, device: Hardware | None) -> Int32:
    """The roof each row of device work lies under: ``COMPUTE``, ``MEMORY`` or ``NEITHER``, shape (n,)."""
    found = np.full(len(trace.device), NEITHER, np.int32)
    found[np.isin(family_of, [FAMILIES.index(name) for name in _ALWAYS_MEMORY])] = MEMORY
    matrix = np.isin(family_of, [FAMILIES.index(name) for name in ("gemm", "attention")])
    tokens = step_tokens(trace, steps)
    low, high = ridge_tokens(device)
    found[matrix & (tokens < low)] = MEMORY
    found[matrix & (tokens >= high)] = COMPUTE
    if device is not None:
        shaped = np.isin(family_of, [FAMILIES.index(name) for name in ("gemm", "convolution")])
        _apply_shapes(trace, found, shaped, device)
    return found


def _apply_shapes(trace: Trace, found: Int32, matrix: Bool, device: Hardware) -> None:
    """Let a recorded shape decide for the matrix kernels of its operator."""
    operations = trace.operations
    if not len(operations):
        return
    compute, memory = device.least_seconds(operations)
    of_shape = np.where(compute > memory, COMPUTE, MEMORY).astype(np.int32)
    row, linked = operation_of(trace)
    linked &= matrix & operations.tensor[row]
    found[linked] = of_shape[row][linked]


def operation_of(trace: Trace) -> tuple[npt.NDArray[np.intp], Bool]:
    """The row of ``Trace.operations`` that asked for each row of device work, and whether there is one, shape (n,).

    There must be operations. Copies and fills are none of an operator's arithmetic.
    """
    ids = trace.operations.external_id
    order = np.argsort(ids, kind="stable")
    place = np.minimum(np.searchsorted(ids[order], trace.device.external_id), len(ids) - 1)
    kernels = trace.device.category == CATEGORIES.index("kernel")
    return order[place], kernels & (ids[order][place] == trace.device.external_id)


def step_tokens(trace: Trace, steps: StepColumns | None) -> Float64:
    """Tokens of the step each row of device work started in, NaN outside every step, shape (n,)."""
    if steps is None:
        return np.full(len(trace.device), np.nan)
    step = window_of(trace.device.start_ns, steps.start_ns, steps.end_ns)
    return np.where(step >= 0, steps.tokens[step], np.nan)


def top_kernels(trace: Trace, family_of: Int32, roof: Int32) -> tuple[Kernel, ...]:
    """Totals by name, longest first."""
    device = trace.device
    order = np.argsort(device.name, kind="stable")
    length = (device.end_ns - device.start_ns)[order]
    names, first, counts = np.unique(device.name[order], return_index=True, return_counts=True)
    if not len(names):
        return ()
    held = np.add.reduceat(length, first)
    lowest, highest = np.minimum.reduceat(roof[order], first), np.maximum.reduceat(roof[order], first)
    whole = int(held.sum())
    found = [
        Kernel(
            name=trace.names[names[row]],
            family=FAMILIES[int(family_of[order[first[row]]])],
            count=int(counts[row]),
            total_s=int(held[row]) / 1e9,
            mean_s=int(held[row]) / int(counts[row]) / 1e9,
            share=int(held[row]) / whole if whole else 0.0,
            bound=_ROOF_WORDS.get(int(lowest[row])) if lowest[row] == highest[row] else None,
        )
        for row in range(len(names))
    ]
    return tuple(sorted(found, key=lambda kernel: (-kernel.total_s, kernel.name)))


def totals(trace: Trace) -> tuple[Kernel, ...]:
    """The same of a file that gives sums without times."""
    whole = sum(total.total_ns for total in trace.totals)
    found = [
        Kernel(
            name=total.name,
            family=family(total.name),
            count=total.count,
            total_s=total.total_ns / 1e9,
            mean_s=total.total_ns / total.count / 1e9,
            share=total.total_ns / whole if whole else 0.0,
            bound=None,
        )
        for total in trace.totals
    ]
    return tuple(sorted(found, key=lambda kernel: (-kernel.total_s, kernel.name)))
