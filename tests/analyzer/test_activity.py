"""Busy time in readings that come more often than the figure it is known by."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.evidence._activity import spread

NAN = float("nan")


def busy(graphics: list[float], sm: list[float]) -> list[float]:
    t_ns = np.arange(1, len(sm) + 1, dtype=np.int64) * 100_000_000
    return list(spread(t_ns, np.full(len(sm), 0.1), np.array(graphics), np.array(sm)))


def test_a_busy_window_is_busy_throughout_whatever_its_sms_did() -> None:
    assert [1, 1, 1, 1] == pytest.approx(busy([NAN, 1, NAN, 1], [0.1, 0.9, 0.0, 0.7]))


def test_a_burst_is_where_the_sms_were_active() -> None:
    assert [0, 1, 0, 0] == pytest.approx(busy([NAN, 0.5, NAN, 0], [0, 0.8, 0, 0]))


def test_steady_work_is_spread_evenly() -> None:
    assert [0.9, 0.9, 0.6, 0.6] == pytest.approx(busy([NAN, 0.9, NAN, 0.6], [0.5, 0.5, 0.2, 0.2]))


def test_where_every_reading_has_its_own_figure_that_is_it() -> None:
    assert [0.2, 0.9, 0.0] == pytest.approx(busy([0.2, 0.9, 0.0], [0.1, 0.1, 0.1]))


def test_a_figure_reaches_no_further_back_than_its_interval() -> None:
    found = busy([NAN, NAN, NAN, 0.5, NAN, 0.5, NAN], [0.1] * 7)

    assert [True, True, False, False, False, False, True] == np.isnan(found).tolist()


def test_without_sm_activity_a_window_is_flat() -> None:
    assert [0.4, 0.4, 0.4, 0.4] == pytest.approx(busy([NAN, 0.4, NAN, 0.4], [NAN] * 4))


@given(st.lists(st.tuples(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=5, max_size=5)), min_size=2, max_size=5))
def test_each_window_keeps_its_mean_and_no_reading_leaves_its_bounds(windows: list[tuple[float, list[float]]]) -> None:
    graphics = [figure for mean, _ in windows for figure in [NAN] * 4 + [mean]]
    sm = [ratio for _, ratios in windows for ratio in ratios]

    found = np.array(busy(graphics, sm)).reshape(-1, 5)

    assert [mean for mean, _ in windows] == pytest.approx(found.mean(axis=1).tolist(), abs=1e-6)
    assert ((found >= 0) & (found <= 1)).all()
    for row, (_, ratios) in zip(found, windows, strict=True):
        assert (np.diff(row[np.argsort(ratios)]) >= -1e-6).all()
