"""How near the roofs the work of a trace came: by shapes, by the model, and where the answer cannot be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.columns import Trace
from analyzer.efficiency import roofline
from analyzer.kernels import families
from analyzer.model import Model
from analyzer.pipeline import analyze
from analyzer.roofline import Hardware, hardware
from analyzer.schema import FamilyRoofline, Roofline
from analyzer.steps import find_steps
from tests.analyzer.traces import Json, decode_step, kernel, load, mark, operator

H200 = hardware("NVIDIA H200")
SAMPLES = Path(__file__).parents[2] / "sample_traces"

#: A model of 4.8 GB: an H200 needs 1 ms to read it.
MODEL = Model(
    name="a model",
    active_parameters=2_200_000_000,
    weight_bytes=2.0,
    dtype="bf16",
    head_parameters=200_000_000,
    head_bytes=2.0,
    kv_bytes_per_token=100_000.0,
    window_tokens=None,
    gpus=None,
)


def mm(external_id: int, m: int, k: int, n: int) -> Json:
    types = ["c10::BFloat16", "c10::BFloat16"]
    return operator(0, 1, args={"External id": external_id, "Input Dims": [[m, k], [k, n]], "Input type": types})


def linked(at: float, us: float, external_id: int, name: str = "nvjet_gemm") -> Json:
    return kernel(at, us, name, args={"External id": external_id})


def near(trace: Trace, model: Model | None = None, device: Hardware | None = H200) -> Roofline:
    return roofline(trace, families(trace), find_steps(trace), device, model)


def only(found: Roofline) -> FamilyRoofline:
    (family,) = found.families
    return family


def test_a_large_product_is_held_against_the_tensor_cores(tmp_path: Path) -> None:
    # 2·4096³ operations in 200 µs.
    family = only(near(load(tmp_path, mm(5, 4096, 4096, 4096), linked(10, 200, 5))))

    assert ("gemm", "compute") == (family.family, family.bound)
    assert 2 * 4096**3 / 200e-6 == pytest.approx(family.flops_per_s)
    assert 2 * 4096**3 / 200e-6 / 989e12 == pytest.approx(family.efficiency_ratio)
    assert 2 * 4096**3 / (3 * 2 * 4096**2) == pytest.approx(family.intensity_flops_per_byte)
    assert family.warning is None


def test_several_kernels_of_one_product_share_it_and_those_without_shapes_are_left_out(tmp_path: Path) -> None:
    whole = only(near(load(tmp_path, mm(5, 4096, 4096, 4096), linked(10, 200, 5))))

    split = only(
        near(load(tmp_path, mm(5, 4096, 4096, 4096), linked(10, 150, 5), linked(160, 50, 5), kernel(300, 200)))
    )

    assert 0.5 == split.known_ratio
    assert whole.efficiency_ratio == pytest.approx(split.efficiency_ratio)


def test_what_cannot_be_is_a_wrong_peak_and_no_feat(tmp_path: Path) -> None:
    at_roof_us = 2 * 4096**3 / 989e12 * 1e6
    product = mm(5, 4096, 4096, 4096)

    found = near(load(tmp_path, product, linked(10, at_roof_us / 1.5, 5)))
    limit = only(near(load(tmp_path, product, linked(10, at_roof_us / 1.05, 5))))

    assert "150 % of its roof cannot be: a wrong peak" in (only(found).warning or "")
    assert found.warnings[0].startswith("gemm: 150 %")
    assert "105 % of its roof is at the limit" in (limit.warning or "")


def test_kernels_of_a_replay_say_why_nothing_is_known(tmp_path: Path) -> None:
    family = only(near(load(tmp_path, kernel(0, 100))))

    assert (0.0, None, None) == (family.known_ratio, family.bound, family.efficiency_ratio)
    assert "CUDA graph" in (family.reason or "")


def test_on_a_gpu_without_roofs_the_rates_remain(tmp_path: Path) -> None:
    found = near(load(tmp_path, mm(5, 64, 64, 64), linked(10, 200, 5)), device=None)

    assert only(found).flops_per_s
    assert (None, None) == (only(found).efficiency_ratio, only(found).bound)
    assert "hardware.toml" in (found.reason or "")


def decode(tmp_path: Path, us: float = 2000, **more: Any) -> Trace:
    marks = [entry for index in range(6) for entry in decode_step(index * us, us - 10, 4)]
    return load(tmp_path, marks, *(kernel(index * us, us - 10) for index in range(6)), **more)


def test_steps_of_graphs_are_held_against_what_the_model_must_read(tmp_path: Path) -> None:
    (steps,) = near(decode(tmp_path), MODEL).steps

    assert ("decode", 4, "the model") == (steps.phase, steps.count, steps.basis)
    # Each of four requests attends to one token at the least.
    assert 4.8e9 + 4 * 100_000 == steps.moved_bytes_p50
    assert 0.5 == pytest.approx(steps.memory_roof_ratio_p50, rel=1e-2)
    assert 2 * 2.4e9 * 4 == steps.flops_p50
    assert steps.warning is None


def test_contexts_that_a_detailed_mark_names_are_read_too(tmp_path: Path) -> None:
    name = "execute_4_context_0(sq0sk0sqsq0sqsk0)_generation_4(sq4sk20000sqsq4sqsk20000)"
    marks = [entry for index in range(6) for entry in mark(index * 2000, 1990, name)]
    trace = load(tmp_path, marks, *(kernel(index * 2000, 1990) for index in range(6)))

    assert 4.8e9 + 20_000 * 100_000 == near(trace, MODEL).steps[0].moved_bytes_p50


def test_without_a_model_steps_of_graphs_say_how_to_know_more(tmp_path: Path) -> None:
    found = near(decode(tmp_path))

    assert () == found.steps
    assert "--model" in (found.steps_reason or "")


def test_a_model_that_cannot_have_run_so_fast_is_doubted(tmp_path: Path) -> None:
    (steps,) = near(decode(tmp_path, us=500), MODEL).steps

    assert "200 % of its roof cannot be" in (steps.warning or "")
    assert "a model that is not the one that ran" in (steps.warning or "")


def test_a_model_over_several_gpus_must_be_said_to_be(tmp_path: Path) -> None:
    marks = [entry for index in range(6) for entry in decode_step(index * 2000, 1990, 4)]
    reduce = [kernel(index * 2000 + 1000, 10, "ncclDevKernel_AllReduce") for index in range(6)]
    trace = load(tmp_path, marks, *(kernel(index * 2000, 900) for index in range(6)), *reduce)

    silent, said = near(trace, MODEL), near(trace, replace(MODEL, gpus=2))

    assert () == silent.steps
    assert "--model-gpus" in silent.warnings[0]
    assert MODEL.step_bytes(4, None) / 2 == said.steps[0].moved_bytes_p50


def test_a_model_is_not_held_against_steps_that_no_mark_names(tmp_path: Path) -> None:
    trace = decode(tmp_path)
    steps = find_steps(trace)
    assert steps is not None

    found = roofline(trace, families(trace), replace(steps, unnamed=("decode",) * len(steps)), H200, MODEL)

    assert () == found.steps
    assert "no mark names the steps" in found.warnings[0]


def test_the_bytes_of_a_model_agree_with_what_an_h200_counted() -> None:
    """GPM read 0.637 of the peak bandwidth while this trace's stream decoded; steps under the profiler are longer."""
    path = SAMPLES / "vllm_h200" / "traces" / "single_stream.pt.trace.json.gz"
    llama_8b = replace(
        MODEL,
        active_parameters=32 * (2 * 4096 * 128 * 40 + 3 * 4096 * 14336),
        head_parameters=4096 * 128_256,
        kv_bytes_per_token=131_072,
    )

    found = analyze(path, model=llama_8b).roofline

    assert found is not None
    ratio = next(row.memory_roof_ratio_p50 for row in found.steps if row.phase == "decode")
    assert 0.633 == pytest.approx(ratio, abs=0.005)


@pytest.mark.parametrize(("name", "family", "low", "high"), [
    ("gemm", "gemm", 0.79, 0.82),
    ("stream_add", "elementwise", 0.88, 0.90),
])  # fmt: skip
def test_what_the_hardware_table_calls_achieved_is_what_the_samples_show(
    name: str, family: str, low: float, high: float
) -> None:
    found = analyze(SAMPLES / "torch_h200" / f"{name}.pt.trace.json.gz").roofline
    assert found is not None
    assert H200 is not None
    row = next(row for row in found.families if row.family == family)

    assert low <= (row.efficiency_ratio or 0) <= high
    achieved = H200.achieved_flops["bf16"] if name == "gemm" else H200.achieved_bytes_per_s
    assert achieved == pytest.approx(row.flops_per_s if name == "gemm" else row.bytes_per_s, rel=0.01)


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 6)), min_size=1, max_size=20), st.integers(1, 6))
def test_work_is_neither_lost_nor_made_by_sharing_it(
    tmp_path_factory: pytest.TempPathFactory, kernels: list[tuple[int, int]], products: int
) -> None:
    operators = [mm(number, 64 * number, 128, 256) for number in range(1, products + 1)]
    work = [linked(500 * place, us, number) for place, (us, number) in enumerate(kernels)]
    trace = load(tmp_path_factory.getbasetemp(), *operators, *work)

    row = only(near(trace))

    ran = {number for _, number in kernels if 1 <= number <= products}
    known_us = sum(us for us, number in kernels if number in ran)
    assert known_us / sum(us for us, _ in kernels) == pytest.approx(row.known_ratio)
    expected = float(np.sum([2 * 64 * number * 128 * 256 for number in ran]))
    assert expected == pytest.approx((row.flops_per_s or 0) * known_us / 1e6)
