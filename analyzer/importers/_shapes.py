"""Shapes of matrix products, read from the arguments an operator recorded."""

from math import prod

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

#: Bytes of one element by the name PyTorch records.
_BYTES = {
    "c10::BFloat16": 2, "c10::Half": 2, "float": 4, "double": 8, "c10::Float8_e4m3fn": 1, "c10::Float8_e5m2": 1,
    "signed char": 1, "unsigned char": 1,
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
    if inner != k or element not in _BYTES:
        return None
    return MatrixProduct(
        external_id=external_id, batch=prod(batch), m=m, k=k, n=n, bytes_per_element=_BYTES[element],
    )  # fmt: skip
