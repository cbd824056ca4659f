from pathlib import Path

import pytest

from analyzer.steps import find_steps, summarise
from analyzer.timeline import union
from tests.analyzer.traces import decode_step, kernel, load, mark


@pytest.mark.parametrize(
    ("name", "phase", "batch", "tokens"),
    [
        ("execute_context_0(0)_generation_32(32)", "decode", 32, 32),
        ("execute_context_1(128)_generation_0(0)", "prefill", 1, 128),
        ("execute_context_2(8190)_generation_2(2)", "mixed", 4, 8192),
        ("execute_64_context_0(sq0sk0sqsq0sqsk0)_generation_64(sq64sk131072sqsq64sqsk131072)", "decode", 64, 64),
        ("step[DECODE bs=64]", "decode", 64, 64),
        ("step[EXTEND bs=2 toks=14721]", "prefill", 2, 14721),
    ],
)
def test_a_mark_says_its_phase_batch_and_tokens(tmp_path: Path, name: str, phase: str, batch: int, tokens: int) -> None:
    steps = find_steps(load(tmp_path, mark(0, 50, name), kernel(0, 50)))

    assert steps is not None
    assert (phase, batch, tokens) == (steps.phase(0), steps.context[0] + steps.generation[0], steps.tokens[0])


@pytest.mark.parametrize(
    "name", ["execute_context_0(0)_generation_0(0)", "## Call CompiledFxGraph fgi3 ##", "ProfilerStep#4", "execute_"]
)
def test_other_marks_are_no_steps(tmp_path: Path, name: str) -> None:
    assert find_steps(load(tmp_path, mark(0, 50, name), kernel(0, 50))) is None


def test_a_step_lasts_until_the_next_one_starts_and_the_last_until_its_work_ends(tmp_path: Path) -> None:
    # GIVEN marks of 40 µs every 100 µs, with the sampler at work after each mark
    trace = load(tmp_path, *[[*decode_step(100 * row, 40), kernel(100 * row, 90)] for row in range(3)])

    steps = find_steps(trace)

    assert steps is not None
    assert [100_000, 100_000, 90_000] == (steps.end_ns - steps.start_ns).tolist()


def test_medians_speak_of_the_steady_steps_only(tmp_path: Path) -> None:
    # GIVEN two slow first steps, then five of 10 µs
    starts = [0, 500, 900, 910, 920, 930, 940]
    trace = load(tmp_path, *[[*decode_step(at, 5, 4), kernel(at, 10)] for at in starts])
    steps = find_steps(trace)

    assert steps is not None
    summary = summarise(steps, union(trace.device.start_ns, trace.device.end_ns))

    (decode,) = summary.groups
    assert (2, 7) == (summary.warm_up, len(summary.steps))
    assert (5, 4) == (decode.count, decode.batch_p50)
    assert pytest.approx(10e-6) == decode.duration_p50_s
    assert pytest.approx(4 / 10e-6) == decode.tokens_per_s
    assert pytest.approx(10 / 500) == summary.steps[0].busy_ratio
