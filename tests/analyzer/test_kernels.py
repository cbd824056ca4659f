from pathlib import Path

import pytest

from analyzer.kernels import FAMILIES, families, family, roofs, top_kernels
from analyzer.roofline import hardware
from analyzer.steps import find_steps
from tests.analyzer.traces import decode_step, kernel, load


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nvjet_sm90_tst_128x32_64x10_2x1_v_bz_TNT", "gemm"),
        ("void cublasLt::splitKreduce_kernel<32, 16, int>", "gemm"),
        ("void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90>>", "attention"),
        ("void vllm::reshape_and_cache_flash_kernel<__nv_bfloat16>", "elementwise"),
        ("triton_red_fused_fused_add_rms_norm_2", "normalisation"),
        ("triton_poi_fused_mul_silu_slice_1", "elementwise"),
        ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL", "communication"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<int>>", "elementwise"),
        ("sm80_xmma_fprop_implicit_gemm_bf16", "convolution"),
        ("unknown", "other"),
        ("", "other"),
    ],
)
def test_a_family_is_read_from_the_name(name: str, expected: str) -> None:
    assert expected == family(name)


def test_work_of_unknown_kind_lies_under_no_roof(tmp_path: Path) -> None:
    trace = load(tmp_path, decode_step(0, 100), kernel(0, 60, name="my_secret_kernel"), kernel(60, 40))
    family_of = families(trace)
    roof = roofs(trace, family_of, find_steps(trace), hardware("NVIDIA H200"))

    top = top_kernels(trace, family_of, roof)

    assert [("my_secret_kernel", None), ("nvjet_gemm", "memory")] == [(found.name, found.bound) for found in top]
    assert [0.6, 0.4] == [found.share for found in top]


@pytest.mark.parametrize(("tokens", "bound"), [(4, "memory"), (200, None), (2000, "compute")])
def test_on_a_gpu_nobody_knows_only_the_clear_cases_are_named(tmp_path: Path, tokens: int, bound: str | None) -> None:
    trace = load(tmp_path, decode_step(0, 100, tokens), kernel(0, 60), gpu="Some GPU of 2031")
    family_of = families(trace)

    (found,) = top_kernels(trace, family_of, roofs(trace, family_of, find_steps(trace), None))

    assert bound == found.bound


def test_a_copy_is_a_copy_whatever_it_is_called(tmp_path: Path) -> None:
    trace = load(tmp_path, kernel(0, 5, name="nvjet") | {"cat": "gpu_memcpy"})

    assert [FAMILIES.index("copy")] == families(trace).tolist()
