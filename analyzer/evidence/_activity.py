"""The graphics activity of each reading, where one figure of it spans several readings."""

import numpy as np

from analyzer.columns import Float64, Int64

#: A figure reaches back to readings that ended within its usual interval: the one before that ended as it began.
_REACH = 0.95
_HALVINGS = 60


def spread(t_ns: Int64, seconds: Float64, graphics: Float64, sm: Float64) -> Float64:
    """The graphics activity in each reading: what its own window had on average, in the shape of the SMs' activity.

    The collector asks for the graphics activity once a second, for it is dear, and for the rest more often. In a
    window, readings in which more SMs were active were also busy for longer, and none was busy for more than all of
    its time: each is busy for ``min(1, k · sm)``, with the one ``k`` that gives the window its mean.

    Args:
        t_ns: When each reading ended, ascending, shape (n,).
        seconds: The time it covers, shape (n,).
        graphics: Mean since the figure before it, as a ratio, NaN between two figures, shape (n,).
        sm: Activity of the SMs in each reading, as a ratio, shape (n,).

    Returns:
        Ratios, shape (n,); NaN where no figure's window reaches.
    """
    figures = np.flatnonzero(np.isfinite(graphics))
    if not len(figures):
        return np.full(len(t_ns), np.nan)
    usual_ns = float(np.median(np.diff(t_ns[figures]))) if len(figures) > 1 else 0.0
    place = np.searchsorted(figures, np.arange(len(t_ns)))
    window = np.minimum(place, len(figures) - 1)
    covered = (place < len(figures)) & (t_ns[figures[window]] - t_ns <= _REACH * usual_ns)
    window, weights, shape = window[covered], seconds[covered], np.nan_to_num(sm[covered])
    mean = np.clip(graphics[figures], 0, 1)
    wanted = mean * np.bincount(window, weights, len(figures))
    low, high = np.full(len(figures), -60.0), np.full(len(figures), 60.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        got = np.bincount(window, weights * np.minimum(1, np.exp2(middle)[window] * shape), len(figures))
        low, high = np.where(got < wanted, middle, low), np.where(got < wanted, high, middle)
    busy = np.minimum(1, np.exp2(low)[window] * shape)
    # What no active SM accounts for was busy with something else, at any time the SMs left.
    quiet = weights * (1 - busy)
    left = wanted - np.bincount(window, weights * busy, len(figures))
    room = np.bincount(window, quiet, len(figures))
    busy += (1 - busy) * np.divide(left, room, out=np.zeros(len(figures)), where=room > 0)[window]
    ratio = np.full(len(t_ns), np.nan)
    ratio[covered] = np.clip(busy, 0, 1)
    return ratio
