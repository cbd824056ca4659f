"""Budgets, steps, streams, idle causes and kernel sums are what a slow, obvious account says, to the nanosecond."""

import random
from pathlib import Path

import numpy as np
import pytest

from analyzer.columns import Device, Spans, Trace
from analyzer.evidence.trace import device_times
from analyzer.idle import CAUSES
from analyzer.importers import kineto
from analyzer.kernels import families, roofs, top_kernels
from analyzer.steps import steps_by_device, summarise
from analyzer.timeline import total
from tests.analyzer.time_reference import account, kernel_sums

SAMPLES = Path(__file__).parents[2] / "sample_traces"
TRACES = 1000

Drawn = list[tuple[str, int, int, int, int, int, int]]


def agree(trace: Trace) -> None:
    """Hold everything that is said of a trace's time to the slow account of it."""
    family_of, every = families(trace), steps_by_device(trace)
    steps = every[min(every)] if every else None
    roof = roofs(trace, family_of, steps, None)
    assert kernel_sums(trace) == {
        kernel.name: (kernel.count, round(kernel.total_s * 1e9)) for kernel in top_kernels(trace, family_of, roof)
    }
    for time in device_times(trace, family_of, roof, steps):
        slow = account(trace, time.device, every.get(time.device))
        budget = time.budget()
        assert slow.span == time.span_ns[1] - time.span_ns[0]
        assert tuple(slow.kinds.values()) == tuple(map(total, time.busy_parts.values()))
        assert slow.idle == {cause: total(covered) for cause, covered in time.idle.items() if total(covered)}
        assert slow.span == sum(slow.kinds.values()) + sum(slow.idle.values())
        assert slow.streams == {stream.stream: round(stream.busy_s * 1e9) for stream in budget.streams}
        if steps is not None and time.device == steps.device:
            shown = summarise(steps, time.busy_parts, time.idle).steps
            assert [list(step.values()) for step in slow.steps] == [
                [round(seconds * 1e9) for seconds in
                 (step.compute_s, step.exposed_communication_s, step.exposed_copy_s, step.idle_s)]
                for step in shown
            ]  # fmt: skip


@pytest.mark.parametrize("path", sorted(SAMPLES.rglob("*.json.gz")), ids=lambda path: path.name)
def test_a_sample_is_accounted_for_as_the_slow_account_does(path: Path) -> None:
    agree(kineto.load(path))


@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_made_up_traces_are_accounted_for_as_the_slow_account_does(seed: int) -> None:
    drawn = random.Random(seed)
    for _ in range(TRACES // 10):
        agree(made_up(drawn))


def made_up(drawn: random.Random) -> Trace:
    """Devices × streams × threads with overlaps, replays, lost launches, nested calls, waits and marks."""
    devices, streams, threads = drawn.randint(1, 3), drawn.randint(1, 3), drawn.randint(1, 2)
    scale = drawn.choice((3, 300, 30_000))
    kernels: Drawn = []
    host: Drawn = []
    marks: Drawn = []
    twins: Drawn = []
    names = ("nvjet_gemm", "flash_fwd", "ncclDevKernel_AllReduce", "reshape_and_cache", "Memcpy HtoD", "strange")
    calls = ("aten::mm", "aten::item", "cudaMalloc", "cudaDeviceSynchronize", "cudaEventQuery")
    for correlation in range(1, drawn.randint(2, 14)):
        device, stream, thread = drawn.randrange(devices), drawn.randrange(streams), drawn.randrange(threads)
        at = drawn.randrange(12 * scale)
        before = max(0, at - drawn.randrange(3 * scale))
        for _ in range(drawn.choice((1, 1, 1, 4))):
            name = drawn.choice(names)
            end = at + drawn.randrange(2 * scale)
            kernels.append(
                (name, at, end, device, stream, drawn.choice((correlation,) * 5 + (0,)), name == "Memcpy HtoD")
            )
            at = max(at, end - drawn.randrange(scale)) + drawn.randrange(scale)
        if drawn.random() < 0.8:
            host.append(("cudaGraphLaunch", before, before + drawn.randrange(2 * scale), thread, 0, correlation, 3))
        if drawn.random() < 0.2:
            host.append(("cudaStreamWaitEvent", max(0, before - 1), before, thread, 0, 1000 + correlation, 3))
            twins += [("Stream Wait Event", before, before, device, stream, 1000 + correlation, 5)] * drawn.randint(
                0, 1
            )
        for _ in range(drawn.randint(0, 3)):
            start = drawn.randrange(14 * scale)
            name = drawn.choice(calls)
            host.append((name, start, start + drawn.randrange(3 * scale), thread, 0, 0, 4))
    at = 0
    for _ in range(drawn.choice((0, 0, 3, 7))):
        name = f"execute_context_{drawn.randrange(2)}(9)_generation_{drawn.randrange(3)}(2)"
        end = at + drawn.randrange(1, 4 * scale)
        marks.append((name, at, end, 0, 0, 0, 5))
        twins.append((name, at, end, 0, 0, 0, 5))
        at = end + drawn.randrange(scale)
    if drawn.random() < 0.3:
        twins = [twin for twin in twins if "Wait" in twin[0]]
    numbers: dict[str, int] = {}
    groups = [_columns(group, numbers) for group in (kernels, host, marks, twins)]
    return Trace(
        name="made up", devices={index: Device(index=index, name="") for index in range(devices)}, names=tuple(numbers),
        device=groups[0], host=groups[1], host_marks=groups[2], device_marks=groups[3],
        products=(), window_ns=(0, 20 * scale), overhead_ns=0, losses=(),
    )  # fmt: skip


def _columns(drawn: Drawn, numbers: dict[str, int]) -> Spans:
    drawn = sorted(drawn, key=lambda row: row[1])
    table = np.array(
        [(numbers.setdefault(name, len(numbers)), *rest) for name, *rest in drawn], np.int64
    ).reshape(-1, 7)  # fmt: skip
    name, start, end, row, stream, correlation, category = table.T
    return Spans(
        name=name.astype(np.int32), start_ns=start, end_ns=end, row=row, stream=stream, correlation=correlation,
        external_id=np.zeros(len(table), np.int64), category=category.astype(np.int32),
    )  # fmt: skip


def test_what_is_made_up_meets_every_cause() -> None:
    """Made-up traces that never are in doubt would prove nothing."""
    drawn, met = random.Random(0), set()
    for _ in range(100):
        trace = made_up(drawn)
        every = steps_by_device(trace)
        nothing = np.zeros(len(trace.device), np.int32)
        for time in device_times(trace, families(trace), nothing, every[min(every)] if every else None):
            met |= {cause for cause, covered in time.idle.items() if total(covered)}

    assert set(CAUSES) == met
