"""The energy GPUs drew, from their energy counters and their power.

The counter is exact and dear to read, so the collector reads it seldom; the power is cheap, a mean over the last
second, and read at every tick. Between two readings of the counter the energy grew as the power says, scaled so that
it meets both; before the first and after the last, as the power says.
"""

import numpy as np

from analyzer.columns import Float64, Int64, RunData
from analyzer.windows import climbed, series

#: A power reading stands for the time since the one before, but never for more than this many usual intervals.
_GAP_INTERVALS = 3
#: So that the energy grows evenly where no power was read.
_TRICKLE_WATTS = 1e-6


def joules(data: RunData, start: Int64, end: Int64) -> Float64 | None:
    """Joules drawn in each window, over all GPUs; None where no energy counter was read.

    Args:
        data: The run.
        start: Start of each window in ns, shape (n,).
        end: Their ends.

    Returns:
        Shape (n,); NaN for a window wholly before the first reading or after the last.
    """
    counters, powers = (series(data, "nvml", name) for name in ("energy_joules_total", "power_watts"))
    if not counters:
        return None
    grown, known = np.zeros(len(start)), np.zeros(len(start), bool)
    for subject, counter in counters.items():
        t_ns, drawn = _curve(counter, powers.get(subject))
        # From the first reading on, so that float64 holds every nanosecond.
        low, high, read = start - t_ns[0], end - t_ns[0], t_ns - t_ns[0]
        grown += np.interp(high, read, drawn) - np.interp(low, read, drawn)
        known |= (low < read[-1]) & (high > 0) & (read[-1] > 0)
    return np.where(known, grown, np.nan)


def _curve(counter: tuple[Int64, Float64], power: tuple[Int64, Float64] | None) -> tuple[Int64, Float64]:
    """Instants, and the energy drawn up to each of them."""
    t_ns, total = counter[0], climbed(counter[1])
    if power is None:
        return t_ns, total
    knots = np.union1d(t_ns, power[0])
    seconds = np.diff(power[0], prepend=power[0][:1]) / 1e9
    usual = np.median(seconds[1:]) if len(seconds) > 1 else 0.0
    integral = np.cumsum(power[1] * np.minimum(seconds, _GAP_INTERVALS * usual))
    since = (knots - knots[0]) / 1e9
    shape = np.interp(knots, power[0], integral) + _TRICKLE_WATTS * since
    anchors = shape[np.searchsorted(knots, t_ns)]
    drawn = np.interp(shape, anchors, total)
    drawn += np.minimum(shape - anchors[0], 0) + np.maximum(shape - anchors[-1], 0)
    return knots, drawn
