"""The roofs of GPUs: which names have which, and that no figure is one with sparsity."""

import re
import tomllib
from importlib.resources import files

import numpy as np
import pytest

from analyzer.columns import DTYPES, Operations
from analyzer.roofline import RIDGE_TOKENS_ANYWHERE, hardware

ROWS = tomllib.loads(files("analyzer").joinpath("hardware.toml").read_text("utf-8"))["gpu"]

#: What drivers call GPUs that people serve on, as nvidia-smi, NVML and PyTorch print it.
NAMES = {
    "NVIDIA A10": "A10",
    "A10": "A10",
    "NVIDIA A100-PCIE-40GB": "A100 40 GB PCIe",
    "A100-PCIE-40GB": "A100 40 GB PCIe",
    "NVIDIA A100-SXM4-40GB": "A100 40 GB SXM",
    "A100-SXM4-40GB": "A100 40 GB SXM",
    "NVIDIA A100 80GB PCIe": "A100 80 GB PCIe",
    "NVIDIA A100-SXM4-80GB": "A100 80 GB SXM",
    "NVIDIA L4": "L4",
    "NVIDIA L40S": "L40S",
    "NVIDIA H100 PCIe": "H100 PCIe",
    "NVIDIA H100 80GB HBM3": "H100 SXM",
    "NVIDIA H100 NVL": "H100 NVL",
    "NVIDIA H200": "H200",
    "NVIDIA H200 NVL": "H200 NVL",
    "NVIDIA B200": "B200",
    "NVIDIA B300 SXM6 AC": "B300",
    "AMD Instinct MI300X": "MI300X",
    "AMD Instinct MI300X OAM": "MI300X",
}

#: Their relatives, which have other roofs.
OTHERS = (
    "NVIDIA A10G", "NVIDIA A100-SXM-64GB", "NVIDIA A100X", "NVIDIA A800-SXM4-80GB", "NVIDIA L40", "NVIDIA H20",
    "NVIDIA H800", "NVIDIA GH200 480GB", "NVIDIA GB200", "NVIDIA GB300", "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
    "NVIDIA A100-SXM4-80GB MIG 3g.40gb", "AMD Instinct MI300A", "AMD Instinct MI325X", "AMD Instinct MI300X VF", "",
)  # fmt: skip


@pytest.mark.parametrize(("driver", "name"), NAMES.items())
def test_a_driver_name_has_the_roofs_of_its_gpu(driver: str, name: str) -> None:
    found = hardware(driver)

    assert found is not None
    assert name == found.name


@pytest.mark.parametrize("driver", OTHERS)
def test_a_relative_of_a_known_gpu_has_no_roofs(driver: str) -> None:
    assert hardware(driver) is None


def test_every_gpu_is_named_by_some_driver() -> None:
    assert {row["name"] for row in ROWS} == set(NAMES.values())


@pytest.mark.parametrize("driver", NAMES)
def test_no_two_gpus_match_one_name(driver: str) -> None:
    assert 1 == sum(re.fullmatch(row["match"], driver) is not None for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["name"]))
def test_the_figures_of_a_gpu_fit_each_other(row: dict[str, object]) -> None:
    known = hardware(next(driver for driver, name in NAMES.items() if name == row["name"]))
    assert known is not None
    peaks = known.tensor_flops

    assert peaks["bf16"] == peaks["fp16"]
    # Each halving of the element doubles a dense peak; a figure with sparsity among dense ones would be twice off.
    assert peaks["bf16"] == pytest.approx(2 * peaks["fp32"], rel=0.03)
    assert peaks.get("fp8", 2 * peaks["bf16"]) == pytest.approx(2 * peaks["bf16"], rel=0.02)
    assert known.vector_flops < peaks["fp32"]
    assert RIDGE_TOKENS_ANYWHERE[0] <= known.ridge_tokens <= RIDGE_TOKENS_ANYWHERE[1] + 1
    assert all(achieved < peaks[dtype] for dtype, achieved in known.achieved_flops.items())
    assert (known.achieved_bytes_per_s or 0) < known.dram_bytes_per_s
    assert known.source
    assert bool(known.achieved_source) == bool(known.achieved_flops or known.achieved_bytes_per_s)


def asked(flops: float, moved_bytes: float, dtype: str, *, tensor: bool = True) -> Operations:
    return Operations(
        external_id=np.array([1]),
        flops=np.array([flops]),
        moved_bytes=np.array([moved_bytes]),
        dtype=np.array([DTYPES.index(dtype)], np.int32),
        tensor=np.array([tensor]),
    )


@pytest.mark.parametrize(
    ("gpu", "dtype", "tensor", "seconds"),
    [
        ("NVIDIA H200", "bf16", True, 1.0),
        ("NVIDIA H200", "fp8", True, 989 / 1979),
        ("NVIDIA A100-SXM4-80GB", "fp8", True, 989 / 312),
        ("NVIDIA H200", "bf16", False, 989 / 67),
        ("NVIDIA H200", "other", True, 0.0),
    ],
)
def test_the_least_time_is_that_of_the_units_which_do_the_work(
    gpu: str,
    dtype: str,
    tensor: bool,  # noqa: FBT001 - a parameter of the test
    seconds: float,
) -> None:
    known = hardware(gpu)
    assert known is not None

    compute, memory = known.least_seconds(asked(989e12, 4.8e12, dtype, tensor=tensor))

    assert seconds == pytest.approx(compute[0])
    assert 4.8e12 / known.dram_bytes_per_s == pytest.approx(memory[0])
