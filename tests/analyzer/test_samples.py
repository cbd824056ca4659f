"""Every sample that is shipped has an expected answer, and gets it."""

import tomllib
from pathlib import Path

import pytest

from analyzer.pipeline import analyze, find_sources
from analyzer.schema import Analysis

SAMPLES = Path(__file__).parents[2] / "sample_traces"
EXPECTED = tomllib.loads((SAMPLES / "expected.toml").read_text("utf-8"))


@pytest.fixture(scope="module", params=sorted(EXPECTED))
def sample(request: pytest.FixtureRequest) -> tuple[dict[str, object], Analysis]:
    name: str = request.param
    return EXPECTED[name], analyze(SAMPLES / name)


def test_every_sample_is_expected() -> None:
    sources = find_sources(SAMPLES)
    shipped = [*sources, *(trace for run in sources if run.is_dir() for trace in (run / "traces").iterdir())]

    assert sorted(EXPECTED) == sorted(str(path.relative_to(SAMPLES)) for path in shipped)


def test_the_bottleneck_is_the_expected_one(sample: tuple[dict[str, object], Analysis]) -> None:
    expected, analysis = sample

    assert expected["bottleneck"] == ("" if analysis.verdict.abstained else analysis.verdict.bottleneck)


def test_shares_sum_to_one_wherever_anything_was_observed(sample: tuple[dict[str, object], Analysis]) -> None:
    shares = sample[1].verdict.shares

    assert sum(share.share for share in shares) == pytest.approx(1 if sample[1].budget else 0)


def test_the_budget_sums_to_the_span(sample: tuple[dict[str, object], Analysis]) -> None:
    expected, analysis = sample

    if analysis.budget is None:
        assert analysis.verdict.abstained
        return
    assert analysis.budget.busy_s + analysis.budget.idle_s == pytest.approx(analysis.budget.span_s)
    for device in analysis.budget.devices:
        parts = (device.compute_s, device.exposed_communication_s, device.exposed_copy_s, device.idle_s)
        assert sum(parts) == pytest.approx(device.span_s, abs=1e-9)
        assert device.idle_launch_s + device.idle_device_s == pytest.approx(device.idle_s, abs=1e-9)
        assert device.busy_ratio == pytest.approx(expected["busy_ratio"], abs=0.005)


def test_steps_agree_with_what_was_measured_on_the_gpu() -> None:
    """Start-to-start times that were read off the traces by hand, profiler on."""
    measured = {"single_stream": (4.9e-3, 5.0e-3), "decode_c32": (6.1e-3, 6.3e-3), "prefill": (0.203, 0.2096)}
    for name, (low, high) in measured.items():
        steps = analyze(SAMPLES / "vllm_h200" / "traces" / f"{name}.pt.trace.json.gz").steps

        assert steps is not None
        assert low <= steps.groups[-1].duration_p50_s <= high
