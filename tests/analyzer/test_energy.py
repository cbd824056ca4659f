"""The energy of windows, from a counter that is read seldom and a power that is read often."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.energy import joules
from tests.analyzer.runs import gpu, run, serving, spans

NAN = float("nan")


def read(power: Any, counter: Any, **rest: Any) -> Any:
    return gpu(10, hz=1, power_watts=power, energy_joules_total=counter, **rest)


def drawn(*frames: Any, edges: tuple[float, ...] = (0, 2, 10)) -> list[float]:
    found = joules(run(*frames, serving()), *spans(*edges))
    assert found is not None
    return list(found)


def at(readings: dict[int, float]) -> list[float]:
    return [readings.get(second, NAN) for second in range(11)]


BUSY = np.where(np.arange(11) <= 2, 600.0, 100.0)


def test_between_two_readings_the_energy_grows_as_the_power_says() -> None:
    assert [1200, 800] == pytest.approx(drawn(read(BUSY, at({0: 5000, 10: 7000}))))


def test_the_counter_has_the_last_word_on_how_much() -> None:
    assert [1320, 880] == pytest.approx(drawn(read(BUSY, at({0: 5000, 10: 7200}))))


def test_before_the_first_and_after_the_last_reading_the_power_stands_alone() -> None:
    assert [1200, 800] == pytest.approx(drawn(read(BUSY, at({4: 9000, 6: 9200}))))


def test_a_counter_that_is_read_once_is_enough_beside_the_power() -> None:
    assert [1200, 800] == pytest.approx(drawn(read(BUSY, at({5: 9000}))))


def test_without_power_the_counter_grows_evenly() -> None:
    assert [400, 1600] == pytest.approx(drawn(read(NAN, at({0: 5000, 10: 7000}))))


def test_a_counter_that_was_set_back_loses_nothing_it_showed_afterwards() -> None:
    assert [1200, 800] == pytest.approx(drawn(read(BUSY, at({0: 5000, 2: 6200, 3: 100, 10: 800}))))


def test_gpus_add_up() -> None:
    two = [read(BUSY, at({0: 5000, 10: 7000}), subject=f"gpu:{index}") for index in range(2)]

    assert [2400, 1600] == pytest.approx(drawn(*two))


def test_power_alone_is_no_energy_counter() -> None:
    assert joules(run(read(BUSY, NAN), serving()), *spans(0, 10)) is None


def test_a_window_without_readings_is_unknown() -> None:
    assert [True, False] == np.isnan(drawn(read(BUSY, at({0: 0, 10: 1})), edges=(-5, 0, 10))).tolist()


@given(
    st.lists(st.floats(0, 1000), min_size=11, max_size=11),
    st.lists(st.floats(0, 1e4), min_size=2, max_size=11),
    st.lists(st.integers(0, 10), min_size=2, max_size=11, unique=True),
    st.lists(st.floats(0.1, 9.9), max_size=5, unique=True),
)
def test_windows_add_up_to_what_the_counter_says(
    power: list[float], grown: list[float], seconds: list[int], cuts: list[float]
) -> None:
    anchors = sorted(seconds)
    steps = np.cumsum(np.resize(grown, len(anchors)))
    frame = read(power, at(dict(zip(anchors, steps, strict=True))))
    inside = (cut for cut in sorted(cuts) if anchors[0] < cut < anchors[-1])

    parts = drawn(frame, edges=(anchors[0], *inside, anchors[-1]))

    assert steps[-1] - steps[0] == pytest.approx(sum(parts), rel=1e-6, abs=1e-3)
    assert min(parts) >= -1e-6
