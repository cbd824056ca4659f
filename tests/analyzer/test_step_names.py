import pytest

from analyzer.step_names import StepName, is_loop, parse


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("execute_context_0(0)_generation_32(32)", StepName(0, 32, 32)),
        ("execute_context_1(128)_generation_0(0)", StepName(1, 0, 128)),
        ("execute_context_2(8190)_generation_2(2)", StepName(2, 2, 8192)),
        ("execute_context_1(soon)_generation_2(2)", StepName(1, 2, None)),
        ("execute_64_context_0(sq0sk0sqsq0sqsk0)_generation_64(sq64sk131072sqsq64sqsk131072)", StepName(0, 64, 64)),
        ("step[DECODE bs=64]", StepName(0, 64, 64)),
        ("step[decode bs=2 g_sqsq=2 g_sqsk=30 g_sk=30]", StepName(0, 2, 2)),
        ("step[EXTEND bs=2 toks=14721]", StepName(2, 0, 14721)),
        ("step[EXTEND bs=2 toks=12 c_sqsq=80 c_sqsk=120 c_sk=20]", StepName(2, 0, 12)),
        ("step[MIXED bs=5]", StepName(4, 1, None)),
        (
            "step[MIXED bs=2 c=1 g=1 c_sq=5 c_sk=8 c_sqsq=25 c_sqsk=40 g_sq=1 g_sk=12 g_sqsq=1 g_sqsk=12]",
            StepName(1, 1, 6),
        ),
        ("step[TARGET_VERIFY bs=32]", StepName(0, 32, None)),
        ("step[SPLIT_PREFILL bs=3]", StepName(3, 0, None)),
        ("[Executor] _forward_step 12: 1 ctx reqs, 31 gen reqs", StepName(1, 31, None)),
        ("[Executor] _forward_step: 0 ctx reqs, 31 gen reqs", StepName(0, 31, 31)),
        ("[Executor] _forward_step 60000: 2 ctx reqs, 96 ctx tokens, 32 gen reqs", StepName(2, 32, 128)),
        ("prefill[bs=2 tok=14721 ctx=[7803, 6918]]", StepName(2, 0, 14721)),
        ("decode[bs=117/128 tok=117 d=117]", StepName(0, 117, 117)),
    ],
)
def test_a_name_says_its_requests_and_tokens(name: str, said: StepName) -> None:
    assert said == parse(name)


@pytest.mark.parametrize(
    "name",
    [
        "execute_context_0(0)_generation_0(0)",
        "step[IDLE bs=0]",
        "step[DRAFT_EXTEND_V2 bs=4]",
        "step[PREBUILT bs=4]",
        "step[]",
        "scheduler.run_batch",
        "[Executor] _forward_step 7: 0 ctx reqs, 0 gen reqs",
        "## Call CompiledFxGraph fgi3 ##",
        "ProfilerStep#4",
        "execute_",
        f"execute_context_{'9' * 40}(1)_generation_1(1)",
        f"step[DECODE bs={'9' * 400}]",
    ],
)
def test_other_names_are_no_steps(name: str) -> None:
    assert parse(name) is None


def test_a_turn_of_a_profiled_loop_is_known_by_its_name() -> None:
    assert [True, False] == [is_loop("ProfilerStep#12"), is_loop("ProfilerStep#")]
