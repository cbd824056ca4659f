"""What a server is charged of a GPU that it shares."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.columns import RunData
from analyzer.gpu_share import gpu_share, mig_shares
from analyzer.schema import GpuShare
from collector.errors import UserError
from collector.schema import Gpu, Run
from tests.analyzer.runs import START_NS, gpu, run, serving

#: As the driver gives the memory of a GPU of 80 GB.
GIB_80 = 79.6
PROFILES = ("1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb")


def h100() -> RunData:
    gpus = (Gpu(index=0, name="NVIDIA H100 80GB HBM3", memory_bytes=int(GIB_80 * 2**30)),)
    return run(gpu(), serving(), run=Run(run_id="run", started_ns=START_NS, gpus=gpus))


@pytest.mark.parametrize(
    ("layout", "shares", "left"),
    [
        (["1g.10gb"] * 7, [1 / 7] * 7, 0.0),
        (["3g.40gb", "3g.40gb"], [0.5, 0.5], 0.0),
        (["3g.40gb", "2g.20gb", "1g.10gb"], [0.5, 2 / 7, 1 / 7], 1 - 0.5 - 3 / 7),
        # 4/7 and 4/8 are more than the GPU: scaled down to it.
        (["4g.40gb", "3g.40gb"], [8 / 15, 7 / 15], 0.0),
        (["1g.20gb"] * 4, [0.25] * 4, 0.0),
        (["7g.80gb"], [1.0], 0.0),
        (["1g.10gb+me"], [1 / 7], 6 / 7),
    ],
)
def test_an_instance_is_charged_for_what_it_blocks(layout: list[str], shares: list[float], left: float) -> None:
    found, rest = mig_shares(layout, GIB_80)

    assert shares == pytest.approx(list(found))
    assert left == pytest.approx(rest, abs=1e-12)


@pytest.mark.parametrize(
    ("profile", "memory_gib", "share"), [("1g.5gb", 39.5, 1 / 7), ("1g.18gb", 140.4, 1 / 7), ("3g.71gb", 140.4, 0.5)]
)
def test_memory_slices_are_those_of_the_gpu(profile: str, memory_gib: float, share: float) -> None:
    assert share == pytest.approx(mig_shares([profile], memory_gib)[0][0])


def test_an_a30_has_four_slices() -> None:
    assert (0.5, 0.25) == mig_shares(["2g.12gb", "1g.6gb"], 23.6, (4, 4))[0]


@given(st.lists(st.sampled_from(PROFILES), min_size=1, max_size=7))
def test_the_shares_and_the_rest_are_the_gpu(layout: list[str]) -> None:
    shares, rest = mig_shares(layout, GIB_80)

    assert 1.0 == pytest.approx(sum(shares) + rest)
    assert min(*shares, rest + 1) > 0


def test_a_share_is_a_number_a_profile_or_processes() -> None:
    assert (0.25, "given", False) == _told(gpu_share("0.25", h100()))
    assert (0.5, "mig", False) == _told(gpu_share("3g.40gb", h100()))
    ratio, origin, _ = _told(gpu_share("4g.40gb/4g.40gb,3g.40gb", h100()))
    assert 8 / 15 == pytest.approx(ratio)
    assert "mig" == origin


def test_processes_are_charged_for_their_sm_time_which_is_an_estimate() -> None:
    mine = gpu(10, hz=1, subject="gpu:0/pid:12", process_sm_utilization_ratio=0.6)
    theirs = gpu(10, hz=1, subject="gpu:0/pid:13", process_sm_utilization_ratio=[0.4] * 5 + [float("nan")] * 6)

    share = gpu_share("pids:12,99", run(gpu(), mine, theirs, serving()))

    assert 6.6 / 8.6 == pytest.approx(share.ratio)
    assert ("sm_time", True) == (share.origin, share.estimated)


def _told(share: GpuShare) -> tuple[float, str, bool]:
    return share.ratio, share.origin, share.estimated


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("0", "is no share"),
        ("1.5", "is no share"),
        ("nan", "is no share"),
        ("half", "is no share"),
        ("9g.10gb", "does not fit"),
        ("1g.990gb", "does not fit"),
        ("0g.0gb", "does not fit"),
        ("3g.40gb/1g.10gb", "is not among the profiles"),
        ("3g.40gb/3g.40gb,what", "is no MIG profile"),
        ("pids:4", "no SM time of the processes 4"),
    ],
)
def test_what_is_no_share_is_a_sentence(asked: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        gpu_share(asked, h100())


def test_a_profile_needs_the_memory_of_the_gpu() -> None:
    with pytest.raises(UserError, match="how much memory"):
        gpu_share("3g.40gb", run(gpu(), serving()))
