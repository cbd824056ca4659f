"""Documents of several processes merged into one, as SGLang merges those of its ranks: no two processes may mix."""

from pathlib import Path
from typing import Any

import numpy as np

from analyzer.evidence.trace import device_times
from analyzer.kernels import NEITHER, families
from analyzer.steps import steps_by_device
from analyzer.timeline import total
from tests.analyzer.traces import Json, decode_step, kernel, launch, load


def of_rank(rank: int, *events: Json | list[Json]) -> list[Json]:
    """A rank's events as the merger leaves them: the rank stands before the pid, every other id is the rank's own."""
    flat: list[Any] = [event for entry in events for event in (entry if isinstance(entry, list) else [entry])]
    return [event | {"pid": f"[TP{rank:02}] {event['pid']}"} for event in flat]


def test_ranks_with_one_device_index_one_stream_and_the_same_correlations_are_kept_apart(tmp_path: Path) -> None:
    # GIVEN two ranks that both call their GPU 0, its stream 7 and their launches 1 and 2; the second launches late
    early = of_rank(
        0, decode_step(0, 150), launch(-20, correlation=1), launch(-10, correlation=2),
        kernel(0, 50, correlation=1), kernel(100, 50, correlation=2),
    )  # fmt: skip
    late = of_rank(
        1, decode_step(0, 150), launch(-20, correlation=1), launch(85, correlation=2),
        kernel(0, 50, correlation=1), kernel(100, 50, correlation=2),
    )  # fmt: skip

    trace = load(tmp_path, early, late)

    assert {0: "NVIDIA H200", 1: "NVIDIA H200"} == {index: device.name for index, device in trace.devices.items()}
    assert {0: 1, 1: 1} == {device: len(steps) for device, steps in steps_by_device(trace).items()}
    times = device_times(trace, families(trace), np.full(len(trace.device), NEITHER, np.int32), None)
    assert [100_000, 100_000] == [total(time.busy) for time in times]
    assert {(50_000, 0), (10_000, 40_000)} == {
        (total(time.idle_device), total(time.idle_starved)) for time in times
    }  # fmt: skip


def test_a_rank_with_two_devices_keeps_both(tmp_path: Path) -> None:
    trace = load(
        tmp_path,
        of_rank(0, kernel(0, 50, device=0), kernel(0, 50, device=1)),
        of_rank(1, kernel(0, 50, device=1), kernel(0, 50, device=2)),
    )

    assert [0, 1, 2, 3] == sorted(trace.devices)


def test_a_waits_record_is_a_mark_on_the_device_and_no_work(tmp_path: Path) -> None:
    wait = kernel(10, 20, "Stream Wait Event", stream=13, correlation=7) | {"cat": "cuda_sync"}

    trace = load(tmp_path, kernel(0, 5), wait)

    assert (1, [13], [7]) == (
        len(trace.device),
        trace.device_marks.stream.tolist(),
        trace.device_marks.correlation.tolist(),
    )
