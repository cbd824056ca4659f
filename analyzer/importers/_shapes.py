"""The work of an operator, read from the arguments it recorded: at least so many operations, at least so many bytes.

Bytes are every operand read once and the result written once; what a kernel reads again, or pads, comes on top.
Where the arguments leave something open (the length of a cached context, say), the least it can be is taken.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import NamedTuple, TypeAlias

import msgspec

from analyzer.columns import MatrixProduct

#: Position of the left operand among an operator's inputs.
OPERATORS = {
    "aten::mm": 0,
    "aten::bmm": 0,
    "aten::_scaled_mm": 0,
    "aten::addmm": 1,
    "aten::baddbmm": 1,
    "aten::_int_mm": 0,
}

#: Bytes of one element, and what arithmetic on it is done in, by the name PyTorch records.
_ELEMENTS = {
    "c10::BFloat16": (2, "bf16"), "c10::Half": (2, "fp16"), "float": (4, "fp32"), "double": (8, "other"),
    "c10::Float8_e4m3fn": (1, "fp8"), "c10::Float8_e5m2": (1, "fp8"), "c10::Float8_e4m3fnuz": (1, "fp8"),
    "c10::Float8_e5m2fnuz": (1, "fp8"), "signed char": (1, "int8"), "unsigned char": (1, "int8"),
    "long int": (8, "other"), "int": (4, "other"), "short int": (2, "other"), "bool": (1, "other"),
}  # fmt: skip


class Work(NamedTuple):
    """The least an operator asks for."""

    flops: float
    moved_bytes: float
    #: One of ``analyzer.columns.DTYPES``.
    dtype: str
    tensor: bool


class _Operand(NamedTuple):
    """One tensor among the inputs."""

    shape: tuple[int, ...]
    size: int
    dtype: str

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * self.size


#: Inputs in order; None for what is no tensor, or one of an unknown type.
_Operands: TypeAlias = Sequence[_Operand | None]
_Rule: TypeAlias = Callable[[_Operands, Sequence[str]], Work | None]


def is_known(name: object) -> bool:
    """Whether an operator of this name may have work that can be told from its shapes."""
    return isinstance(name, str) and (name in _RULES or name[:_FUSED_PREFIX] in _FUSED)


@lru_cache(maxsize=1 << 14)
def work(operator: str, dims: bytes, types: bytes, concrete: bytes) -> Work | None:
    """The least work of an operator, or None where it cannot be told from what was recorded.

    Args:
        operator: Name of the operator, such as ``aten::mm``.
        dims: JSON of its ``Input Dims``: a list of shapes.
        types: JSON of its ``Input type``: a list of names.
        concrete: JSON of its ``Concrete Inputs``: a list of scalars as text; may be empty.
    """
    rule = _RULES.get(operator) or _FUSED.get(operator[:_FUSED_PREFIX])
    if rule is None or len(dims) > _MAX_TEXT:
        return None
    try:
        shapes = msgspec.json.decode(dims, type=list[list[object]])
        names = msgspec.json.decode(types, type=list[str])
        scalars = msgspec.json.decode(concrete or b"[]", type=list[str])
        found = rule([_operand(*pair) for pair in zip(shapes, names, strict=True)], scalars)
    except (msgspec.DecodeError, ValueError, IndexError, OverflowError):
        return None
    possible = found is not None and 0 <= found.flops < _MOST and 0 < found.moved_bytes < _MOST
    return found if possible else None


#: Longer records are no list of shapes, and no operator does more than this.
_MAX_TEXT = 1 << 16
_MOST = 1e21


def _operand(shape: list[object], kind: str) -> _Operand | None:
    if kind not in _ELEMENTS or not shape:
        return None
    lengths = tuple(length for length in shape if isinstance(length, int) and length >= 0)
    return _Operand(lengths, *_ELEMENTS[kind]) if len(lengths) == len(shape) else None


def _matrix(left: int) -> _Rule:
    """A matrix product, batched or not, whose operands stand at ``left`` and behind it."""

    def rule(operands: _Operands, _: Sequence[str]) -> Work | None:
        a, b = operands[left], operands[left + 1]
        if a is None or b is None:
            return None
        (*batch, m, k), (*_rest, inner, n) = a.shape, b.shape
        if k != inner:
            return None
        # An 8-bit product is written in 16 bits at the least, unless scaled back: the smaller is taken.
        moved = prod(batch) * (a.size * m * k + b.size * k * n + min(a.size, b.size) * m * n)
        return Work(2.0 * prod(batch) * m * k * n, float(moved), a.dtype, True)

    return rule


def _convolution(stride: int, padding: int, dilation: int, groups: int, transposed: int | None = None) -> _Rule:
    """A convolution of input 0 with weight 1; the other positions are those of its scalars."""

    def rule(operands: _Operands, scalars: Sequence[str]) -> Work | None:
        data, weight = operands[0], operands[1]
        if data is None or weight is None or (transposed is not None and scalars[transposed] != "False"):
            return None
        places = len(data.shape) - 2
        steps, pads, holes = (_integers(scalars[at], places) for at in (stride, padding, dilation))
        shared = int(scalars[groups])
        (n, channels, *space), (filters, per_group, *window) = data.shape, weight.shape
        if per_group * shared != channels or len(window) != places:
            return None
        out = [
            (length + 2 * pad - hole * (taps - 1) - 1) // step + 1
            for length, pad, hole, taps, step in zip(space, pads, holes, window, steps, strict=True)
        ]
        if min(out, default=0) <= 0:
            return None
        written = n * filters * prod(out)
        moved = data.bytes + weight.bytes + written * data.size
        return Work(2.0 * written * per_group * prod(window), float(moved), data.dtype, True)

    return rule


def _integers(text: str, count: int) -> list[int]:
    """``[1, 1]`` as numbers; one number stands for every place."""
    found = [int(part) for part in re.findall(r"-?\d+", text)]
    return found * count if len(found) == 1 else found


def _attention(heads: int, causal: int | None) -> _Rule:
    """Attention over dense query, key and value at 0 to 2; ``heads`` is the axis of the heads, 1 or 2."""

    def rule(operands: _Operands, scalars: Sequence[str]) -> Work | None:
        query, key, value = operands[0], operands[1], operands[2]
        if query is None or key is None or value is None or len(query.shape) != _DENSE:
            return None
        length = 3 - heads
        batch, n, count = query.shape[0], query.shape[length], query.shape[heads]
        context = key.shape[length]
        pairs = n * context
        if causal is not None and scalars[causal] not in ("False", "0"):
            pairs -= min(n, context) * min(n, context) // 2 if n <= context else n * context - context * context // 2
        moved = query.bytes + key.bytes + value.bytes + query.bytes // query.shape[3] * value.shape[3]
        return Work(2.0 * batch * count * (query.shape[3] + value.shape[3]) * pairs, float(moved), query.dtype, True)

    return rule


_DENSE = 4


def _ragged_attention(offsets: int) -> _Rule:
    """Attention over sequences laid end to end; ``offsets`` holds where each begins, so there are one fewer.

    What is cached of each is not recorded. T new tokens of n sequences attend at least to themselves, causally:
    the sum of squares of their lengths is at least T²/n.
    """

    def rule(operands: _Operands, _: Sequence[str]) -> Work | None:
        query, key, value, starts = operands[0], operands[1], operands[2], operands[offsets]
        if query is None or key is None or value is None or starts is None:
            return None
        tokens, heads, width = query.shape
        pairs = tokens * tokens / max(1, starts.elements - 1) / 2
        own = tokens * (key.size * prod(key.shape[-2:]) + value.size * prod(value.shape[-2:]))
        moved = query.bytes + own + tokens * heads * value.shape[-1] * query.size
        return Work(2.0 * heads * (width + value.shape[-1]) * pairs, float(moved), query.dtype, True)

    return rule


def _elementwise(inputs: int, per_element: float = 1.0, *, result_bytes: int | None = None) -> _Rule:
    """Reads its first ``inputs`` arguments, broadcast, and writes as many elements; a tensor behind them is the output.

    Args:
        inputs: How many arguments the operator takes when it makes its own output.
        per_element: Operations on each element.
        result_bytes: Of one element of the result; None where it is the smallest of the inputs'.
    """

    def rule(operands: _Operands, _: Sequence[str]) -> Work | None:
        read = [operand for operand in operands[:inputs] if operand]
        if not read:
            return None
        elements = max(operand.elements for operand in read)
        size = min(operand.size for operand in read) if result_bytes is None else result_bytes
        moved = sum(operand.bytes for operand in read) + elements * size
        return Work(per_element * elements, float(moved), read[0].dtype, False)

    return rule


def _reads(operands: _Operands, _: Sequence[str]) -> Work | None:
    """Reduces its first input to less."""
    data = operands[0]
    return data and Work(float(data.elements), float(data.bytes), data.dtype, False)


def _writes(operands: _Operands, _: Sequence[str]) -> Work | None:
    """Overwrites its first input."""
    data = operands[0]
    return data and Work(0.0, float(data.bytes), data.dtype, False)


def _copies(operands: _Operands, _: Sequence[str]) -> Work | None:
    """Reads the second input and writes it to the first."""
    to, source = operands[0], operands[1]
    return None if to is None or source is None else Work(0.0, float(to.bytes + source.bytes), to.dtype, False)


def _each_once(operands: _Operands, _: Sequence[str]) -> Work | None:
    """Reads or writes each of its tensors once."""
    held = [operand for operand in operands if operand]
    if not held:
        return None
    elements = max(operand.elements for operand in held)
    return Work(float(elements), float(sum(operand.bytes for operand in held)), held[0].dtype, False)


def _gathers(table: int, index: int) -> _Rule:
    """Copies the rows of a table that an index names."""

    def rule(operands: _Operands, _: Sequence[str]) -> Work | None:
        rows, which = operands[table], operands[index]
        if rows is None or which is None or not rows.shape:
            return None
        copied = which.elements * prod(rows.shape[1:]) * rows.size
        return Work(0.0, float(2 * copied + which.bytes), rows.dtype, False)

    return rule


def _caches(operands: _Operands, _: Sequence[str]) -> Work | None:
    """Copies new keys and values to the cache."""
    key, value = operands[0], operands[1]
    return None if key is None or value is None else Work(0.0, 2.0 * (key.bytes + value.bytes), key.dtype, False)


def _fused(axes: int) -> _Rule:
    """A fused kernel that Inductor wrote: the lengths of its ``axes`` are its last scalars.

    Of each tensor it touches what there is, or as many elements as it walks, whichever is less: an embedding's table
    is large and few of its rows are read.
    """

    def rule(operands: _Operands, scalars: Sequence[str]) -> Work | None:
        held = [operand for operand in operands if operand]
        lengths = [int(text) for text in scalars if text.isdecimal() and len(text) < _DIGITS][-axes:]
        if not held or len(lengths) < axes:
            return None
        walked = prod(lengths)
        moved = sum(min(operand.elements, walked) * operand.size for operand in held)
        return Work(float(walked), float(moved), held[0].dtype, False)

    return rule


#: Inductor's names: pointwise kernels have one axis at the least, reductions one more that they reduce.
_FUSED = {"triton_poi_": _fused(1), "triton_red_": _fused(2), "triton_per_": _fused(2)}
_FUSED_PREFIX = len("triton_poi_")
_DIGITS = 19

#: Mean, variance, scaling; greatest, difference, exponential, sum, quotient.
_NORM_FLOPS = _SOFTMAX_FLOPS = 5.0

_RULES: dict[str, _Rule] = {
    **{name: _matrix(left) for name, left in OPERATORS.items()},
    "aten::convolution": _convolution(3, 4, 5, 8, transposed=6),
    "aten::_convolution": _convolution(3, 4, 5, 8, transposed=6),
    "aten::cudnn_convolution": _convolution(3, 2, 4, 5),
    "aten::cudnn_convolution_relu": _convolution(3, 4, 5, 6),
    "aten::miopen_convolution": _convolution(4, 3, 5, 6),
    "aten::_flash_attention_forward": _attention(2, 8),
    "aten::_efficient_attention_forward": _attention(2, 9),
    "aten::_scaled_dot_product_flash_attention": _attention(1, 4),
    "aten::_scaled_dot_product_efficient_attention": _attention(1, 6),
    "aten::_scaled_dot_product_cudnn_attention": _attention(1, 6),
    "_vllm_fa3_C::fwd": _ragged_attention(7),
    "_vllm_fa2_C::varlen_fwd": _ragged_attention(4),
    "flash_attn::_flash_attn_varlen_forward": _ragged_attention(3),
    **{
        f"aten::{name}{suffix}": _elementwise(inputs)
        for name, inputs in {
            "abs": 1, "add": 2, "bitwise_and": 2, "bitwise_not": 1, "bitwise_or": 2, "clamp": 1, "cos": 1, "div": 2,
            "exp": 1, "gelu": 1, "log": 1, "maximum": 2, "minimum": 2, "mul": 2, "neg": 1, "pow": 2, "reciprocal": 1,
            "relu": 1, "rsqrt": 1, "sigmoid": 1, "silu": 1, "sin": 1, "sqrt": 1, "sub": 2, "tanh": 1,
        }.items()
        for suffix in ("", "_")
    },
    **{f"aten::{name}": _elementwise(2, result_bytes=1) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{f"aten::{name}": _reads for name in ("argmax", "amax", "max", "mean", "min", "sum", "topk", "sort")},
    "aten::copy_": _copies,
    "aten::fill_": _writes,
    "aten::zero_": _writes,
    "aten::native_layer_norm": _elementwise(1, _NORM_FLOPS),
    "aten::native_group_norm": _elementwise(1, _NORM_FLOPS),
    "aten::_fused_rms_norm": _elementwise(1, _NORM_FLOPS),
    "_C::rms_norm": _each_once,
    "_C::fused_add_rms_norm": _each_once,
    "_C::silu_and_mul": _each_once,
    "_C_cache_ops::reshape_and_cache_flash": _caches,
    "aten::_softmax": _elementwise(1, _SOFTMAX_FLOPS),
    "aten::_log_softmax": _elementwise(1, _SOFTMAX_FLOPS),
    "aten::embedding": _gathers(0, 1),
    "aten::index_select": _gathers(0, 2),
}  # fmt: skip


def matrix_product(operator: str, dims: bytes, types: bytes, external_id: int) -> MatrixProduct | None:
    """The product an operator computes, or None where it computes none or recorded something else.

    Args:
        operator: Name of the operator, such as ``aten::mm``.
        dims: JSON of its ``Input Dims``: a list of shapes.
        types: JSON of its ``Input type``: a list of names.
        external_id: What joins its kernels to it.
    """
    left = OPERATORS.get(operator)
    if left is None or not external_id:
        return None
    try:
        shapes = msgspec.json.decode(dims, type=list[list[int]])
        element = msgspec.json.decode(types, type=list[str])[left]
        (*batch, m, k), (*_, inner, n) = shapes[left], shapes[left + 1]
    except (msgspec.DecodeError, ValueError, IndexError):
        return None
    if inner != k or element not in _ELEMENTS:
        return None
    return MatrixProduct(
        external_id=external_id, batch=prod(batch), m=m, k=k, n=n, bytes_per_element=_ELEMENTS[element][0],
    )  # fmt: skip
