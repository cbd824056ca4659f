"""What explains a difference adds up to it, whatever the traces hold, and turns with its sign."""

import io
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer import pipeline
from analyzer.compare import OUTSIDE, Side, compare, side
from analyzer.kernels import family
from analyzer.reports import json as json_report
from analyzer.reports import text as text_report
from analyzer.schema import Comparison, Difference
from collector.errors import UserError
from tests.analyzer.traces import decode_step, kernel, launch, load, mark

SAMPLES = Path(__file__).parents[2] / "sample_traces" / "vllm_h200" / "traces"
NAMES = ("nvjet_one", "nvjet_two", "flash_fwd", "ncclDevKernel_AllReduce", "elementwise_add", "unheard_of")

Work = list[tuple[int, int, int, int, str]]

#: Device, stream, start and length in microseconds, name.
work = st.lists(
    st.tuples(st.integers(0, 1), st.integers(7, 8), st.integers(0, 400), st.integers(0, 90), st.sampled_from(NAMES)),
    min_size=1,
    max_size=25,
)
step_starts = st.lists(st.integers(0, 400), unique=True, max_size=8).map(sorted)


def reduced(kernels: Work, starts: list[int] | None = None) -> Side:
    """One side of a comparison, with steps that begin at the given times."""
    events: list[Any] = [kernel(at, us, name, device=device, stream=stream) for device, stream, at, us, name in kernels]
    events += [decode_step(at, 5) for at in starts or ()]
    with tempfile.TemporaryDirectory() as folder:
        return side(load(Path(folder), *events))


def ns(seconds: float) -> int:
    """Whole nanoseconds, of which every figure is one."""
    assert abs(seconds * 1e9 - round(seconds * 1e9)) < 1e-3
    return round(seconds * 1e9)


def by_part(found: Comparison, *, turned: bool = False) -> dict[tuple[object, ...], list[int]]:
    sign = -1 if turned else 1
    figures = ("difference_s", "from_count_s", "from_duration_s")
    return {
        (part.kind, *((part.after, part.before) if turned else (part.before, part.after))): [
            sign * ns(getattr(part, figure) or 0.0) for figure in figures
        ]
        for part in found.parts
    }


@settings(max_examples=40)
@given(work, work, step_starts, step_starts)
def test_the_parts_add_up_to_the_difference_and_turn_with_it(a: Work, b: Work, at: list[int], bt: list[int]) -> None:
    before, after = reduced(a, at), reduced(b, bt)

    found, turned = compare(before, after), compare(after, before)

    whole = ns(found.difference_s)
    assert whole == ns(found.after.length_s) - ns(found.before.length_s)
    assert whole == sum(ns(part.difference_s) for part in found.parts)
    assert ns(found.before.length_s) == sum(ns(part.before_s) for part in found.parts)
    for part in found.parts:
        if part.kind == "kernel":
            assert ns(part.difference_s) == ns(part.from_count_s or 0) + ns(part.from_duration_s or 0)
    assert by_part(found) == by_part(turned, turned=True)
    if found.unit == "step":
        assert whole == sum(ns(step.difference_s) for step in found.steps)
        assert whole == sum(ns(step.from_share_s) + ns(step.from_length_s) for step in found.steps)
    for full in (False, True):
        text_report.write_comparison(found, io.StringIO(), full=full)


@settings(max_examples=30)
@given(work, step_starts)
def test_a_trace_does_not_differ_from_itself(kernels: Work, starts: list[int]) -> None:
    found = compare(reduced(kernels, starts), reduced(kernels, starts))
    out = io.StringIO()
    text_report.write_comparison(found, out, full=False)

    assert {0} == {ns(part.difference_s) for part in found.parts} | {ns(found.difference_s)}
    assert "no difference" in out.getvalue()


@settings(max_examples=30)
@given(work)
def test_every_microsecond_belongs_to_whom_a_slow_reading_of_the_rule_gives_it(kernels: Work) -> None:
    """Compute hides communication, and of kernels of one kind the one that began first has the time."""
    expected: Counter[str] = Counter()
    for now in range(min(at for *_, at, _, _ in kernels), max(at + us for *_, at, us, _ in kernels)):
        running = [
            (family(name) == "communication", at, order, name)
            for order, (_, _, at, us, name) in enumerate(kernels)
            if at <= now < at + us
        ]
        expected[min(running)[3] if running else "idle"] += 1000
    on_one_device = [(0, stream, at, us, name) for _, stream, at, us, name in kernels]

    found: Counter[str] = Counter()
    for (kind, name, _), length in reduced(on_one_device).whole.parts.items():
        found[name if kind == "kernel" else "idle"] += length

    assert +expected == +found


# -------------------------------------------------------------------------------------------- drawn by hand


def steps_of(tmp_path: Path, gemm_us: float, *, count: int = 1, late_us: float = 0, name: str = "nvjet_one") -> Side:
    """Eight decode steps of one attention kernel and some products; in each the second launch may come late."""
    events: list[Any] = []
    for step in range(8):
        at, correlation = step * 500.0, 100 * step + 1
        events += [decode_step(at, 400), launch(at - 20, 2, correlation=correlation)]
        events.append(kernel(at, 50, "flash_fwd", correlation=correlation))
        now = at + 50 + late_us
        for number in range(count):
            events.append(launch(now - 5, 5, correlation=correlation + 1 + number))
            events.append(kernel(now, gemm_us, name, correlation=correlation + 1 + number))
            now += gemm_us
    return side(load(tmp_path, *events))


def part(found: Comparison, *names: str) -> Difference:
    return next(each for each in found.parts if {*each.before, *each.after} == set(names))


def test_a_slower_kernel_is_blamed_and_not_its_count(tmp_path: Path) -> None:
    found = compare(steps_of(tmp_path, 100), steps_of(tmp_path, 130))

    gemm = part(found, "nvjet_one")
    assert (30_000, 0, 30_000) == tuple(
        ns(figure or 0) for figure in (gemm.difference_s, gemm.from_count_s, gemm.from_duration_s)
    )
    assert "step" == found.unit
    assert (1.0, 1.0) == (gemm.count_before, gemm.count_after)


def test_more_launches_are_blamed_and_not_their_length(tmp_path: Path) -> None:
    gemm = part(compare(steps_of(tmp_path, 100), steps_of(tmp_path, 100, count=3)), "nvjet_one")

    assert (200_000, 200_000, 0) == tuple(
        ns(figure or 0) for figure in (gemm.difference_s, gemm.from_count_s, gemm.from_duration_s)
    )


def test_another_kernel_of_the_family_is_a_replacement_and_of_another_family_is_new(tmp_path: Path) -> None:
    found = compare(steps_of(tmp_path, 100), steps_of(tmp_path, 130, name="nvjet_other"))
    assert ["nvjet_one", "nvjet_other"] == [*part(found, "nvjet_one", "nvjet_other").before, "nvjet_other"]
    assert 30_000 == ns(part(found, "nvjet_one", "nvjet_other").difference_s)

    found = compare(steps_of(tmp_path, 100), steps_of(tmp_path, 130, name="rms_norm"))
    assert -100_000 == ns(part(found, "nvjet_one").difference_s)
    assert () == part(found, "rms_norm").before
    assert 130_000 == ns(part(found, "rms_norm").difference_s)


def test_a_mean_step_does_not_pay_for_its_number(tmp_path: Path) -> None:
    few, many = (
        side(load(tmp_path, *(decode_step(at, 80) for at in range(0, last, 100)), kernel(0, last, "nvjet_one")))
        for last in (800, 1600)
    )

    assert 0 == ns(compare(few, many).difference_s)
    assert [6, 14] == [it.steps for it in (compare(few, many).before, compare(few, many).after)]


def test_steps_of_another_kind_are_blamed_for_their_share(tmp_path: Path) -> None:
    def trace(prefills: int) -> Side:
        names = ["execute_context_0(0)_generation_4(4)"] * (12 - prefills)
        names += ["execute_context_1(512)_generation_0(0)"] * prefills
        marks = [mark(at * 100, 90, name) for at, name in enumerate(names)]
        return side(load(tmp_path, *marks, kernel(0, 1200, "nvjet_one")))

    found = compare(trace(0), trace(5))

    assert {"decode": -50_000, "prefill": 50_000} == {each.phase: ns(each.from_share_s) for each in found.steps}
    assert 0 == ns(found.difference_s)
    assert ("The traces do not hold the same kinds of step.",) == found.notes


def test_whole_windows_are_compared_where_one_has_no_steps_and_it_is_said(tmp_path: Path) -> None:
    found = compare(steps_of(tmp_path, 100), reduced([(0, 7, 0, 100, "nvjet_one")]))

    assert "window" == found.unit
    assert () == found.steps
    assert "Whole windows are compared" in found.notes[0]


def test_a_device_that_begins_later_has_time_outside_its_work() -> None:
    found = reduced([(0, 7, 0, 100, "nvjet_one"), (1, 7, 60, 40, "nvjet_one")]).whole

    assert 30_000 == found.parts["idle", OUTSIDE, ""]


def test_a_trace_without_device_work_and_a_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no device work"):
        side(load(tmp_path, launch(0, correlation=1)))
    with pytest.raises(UserError, match="is a run"):
        pipeline.compare(SAMPLES.parent, SAMPLES / "decode_c32.pt.trace.json.gz")


def test_the_samples_differ_as_their_load_does() -> None:
    found = pipeline.compare(SAMPLES / "low_rate.pt.trace.json.gz", SAMPLES / "decode_c32.pt.trace.json.gz")
    assert isinstance(found, Comparison)
    out = io.StringIO()
    json_report.write_comparison(found, out, full=False)
    tree = json.loads(out.getvalue())

    assert sum(ns(each.difference_s) for each in found.parts) == ns(found.difference_s)
    assert ["schema_version", "unit", "before", "after", "difference_s", "parts", "steps", "notes"] == list(tree)
    attention = next(each for each in found.parts if each.family == "attention" and each.difference_s > 1e-4)
    assert attention.from_duration_s == attention.difference_s


def test_names_from_traces_command_no_terminal(tmp_path: Path) -> None:
    found = compare(steps_of(tmp_path, 100, name="\x1b[31mred\x1b[0m"), steps_of(tmp_path, 130, name="\u202egnp.exe"))
    out = io.StringIO()
    text_report.write_comparison(found, out, full=True)

    assert not {"\x1b", "\u202e"} & set(out.getvalue())
