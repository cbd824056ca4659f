"""The least work of an operator by what it recorded: by hand, by a naive count, and never from garbage."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.importers._shapes import Work, is_known, work

BF16, FP8, F32, INT = "c10::BFloat16", "c10::Float8_e4m3fn", "float", "long int"


def asked(name: str, *inputs: tuple[Any, str] | str) -> Work | None:
    """The work of an operator: tensors as (shape, type), scalars as their text."""
    dims = [entry[0] if isinstance(entry, tuple) else [] for entry in inputs]
    types = [entry[1] if isinstance(entry, tuple) else "Scalar" for entry in inputs]
    scalars = ["" if isinstance(entry, tuple) else entry for entry in inputs]
    return work(name, json.dumps(dims).encode(), json.dumps(types).encode(), json.dumps(scalars).encode())


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (asked("aten::mm", ([8, 4], BF16), ([4, 2], BF16)), (128, 2 * (32 + 8 + 16), "bf16", True)),
        (asked("aten::bmm", ([3, 8, 4], BF16), ([3, 4, 2], BF16)), (384, 6 * (32 + 8 + 16), "bf16", True)),
        (asked("aten::addmm", ([2], F32), ([8, 4], F32), ([4, 2], F32), "1", "1"), (128, 4 * 56, "fp32", True)),
        (asked("aten::_scaled_mm", ([8, 4], FP8), ([4, 2], FP8), ([], F32)), (128, 56, "fp8", True)),
        (asked("aten::add", ([9], BF16), ([9], BF16), "1"), (9, 54, "bf16", False)),
        (asked("aten::add", ([9], BF16), "1.0", "1", ([9], BF16)), (9, 36, "bf16", False)),
        (asked("aten::add_", ([4, 9], BF16), ([9], BF16), "1"), (36, 162, "bf16", False)),
        (asked("aten::eq", ([9], F32), "0"), (9, 45, "fp32", False)),
        (asked("aten::copy_", ([9], F32), ([9], BF16), "False"), (0, 54, "fp32", False)),
        (asked("aten::fill_", ([9], F32), "0"), (0, 36, "fp32", False)),
        (asked("aten::sum", ([9, 3], F32), "[1]"), (27, 108, "fp32", False)),
        (asked("aten::_softmax", ([4, 8], F32), "-1", "False"), (160, 256, "fp32", False)),
        (asked("aten::native_layer_norm", ([4, 8], BF16), "[8]", ([8], BF16)), (160, 128, "bf16", False)),
        (asked("aten::index_select", ([100, 8], BF16), "0", ([3], INT)), (0, 2 * 48 + 24, "bf16", False)),
        (asked("triton_poi_fused_silu_1", ([4, 16], BF16), ([4, 8], BF16), "32"), (32, 128, "bf16", False)),
        (
            asked("triton_red_fused_embedding_0", ([4], "int"), ([1000, 8], BF16), ([4, 8], BF16), "4", "8"),
            (32, 16 + 64 + 64, "other", False),
        ),
    ],
)  # fmt: skip
def test_the_work_of_an_operator_is_what_a_hand_counts(found: Work | None, expected: tuple[Any, ...]) -> None:
    assert Work(*expected) == found


def test_a_convolution_is_counted_from_its_scalars() -> None:
    data, weight = ([2, 8, 16, 16], BF16), ([4, 4, 3, 3], BF16)

    found = asked("aten::cudnn_convolution", data, weight, "[1, 1]", "[2, 2]", "[1, 1]", "2", "False", "False", "True")

    written = 2 * 4 * 8 * 8
    assert Work(2.0 * written * 4 * 9, 2.0 * (2 * 8 * 256 + 4 * 4 * 9 + written), "bf16", True) == found
    assert asked("aten::cudnn_convolution", data, weight, "[1, 1]", "[2, 2]", "[1, 1]", "3", "", "", "") is None
    assert asked("aten::convolution", data, weight, "", "[1]", "[1]", "[1]", "True", "[0]", "2") is None


@pytest.mark.parametrize(("causal", "pairs"), [("False", 64 * 64), ("True", 64 * 64 / 2)])
def test_causal_attention_does_half(causal: str, pairs: float) -> None:
    tensor = ([2, 8, 64, 128], BF16)

    found = asked("aten::_scaled_dot_product_flash_attention", tensor, tensor, tensor, "0.0", causal, "False")

    assert Work(2.0 * 2 * 8 * 256 * pairs, 4.0 * 2 * 2 * 8 * 64 * 128, "bf16", True) == found


def test_attention_with_a_cache_does_at_least_what_its_new_tokens_do_among_themselves() -> None:
    cache = ([999, 16, 8, 128], BF16)
    inputs: list[tuple[Any, str] | str] = [
        ([64, 32, 128], BF16),
        cache,
        cache,
        "",
        "",
        "",
        ([64, 32, 128], BF16),
        ([5], "int"),
    ]

    found = asked("_vllm_fa3_C::fwd", *inputs)

    assert found is not None
    assert 4 * (16 * 16 / 2) * 2 * 32 * 256 == found.flops
    assert 2 * (2 * 64 * 32 * 128 + 2 * 64 * 8 * 128) == found.moved_bytes


@given(
    st.sampled_from(["aten::mm", "aten::add", "aten::convolution", "_vllm_fa3_C::fwd", "triton_poi_x", "aten::gather"]),
    st.recursive(st.integers() | st.text() | st.none(), lambda inner: st.lists(inner, max_size=5), max_leaves=20),
    st.lists(st.sampled_from([BF16, F32, "", "Scalar", "bad"]), max_size=9),
    st.lists(st.text(max_size=5), max_size=9),
)
def test_garbage_is_no_work(name: str, dims: object, types: list[str], scalars: list[str]) -> None:
    found = work(name, json.dumps(dims).encode(), json.dumps(types).encode(), json.dumps(scalars).encode())

    assert found is None or (found.flops >= 0 and 0 < found.moved_bytes < 1e22)


def test_only_names_with_a_rule_are_looked_at() -> None:
    assert is_known("aten::mm")
    assert is_known("triton_per_fused_sum_3")
    assert not is_known("aten::view")
    assert not is_known(7)
