"""Fewer points, same picture: which rows of a long line to keep so that no peak is lost.

Mean or stride sampling would hide the one slow second a person is looking for; the least and the greatest
value of each bucket are kept instead, in their own place.
"""

import numpy as np
import numpy.typing as npt

#: The most points of one line that reach a browser.
LIMIT = 2000


def extremes(values: npt.NDArray[np.float64], limit: int = LIMIT) -> npt.NDArray[np.intp]:
    """Rows that hold the least and the greatest value of each of ``limit / 2`` equal buckets, rising.

    A bucket without a finite value keeps its first row, so that a hole stays a hole.

    >>> extremes(np.array([0.0, 9.0, 1.0, 1.0, 2.0, -5.0]), limit=4).tolist()
    [0, 1, 4, 5]
    """
    count = len(values)
    if count <= limit:
        return np.arange(count)
    width = -(-count // (limit // 2))
    buckets = -(-count // width)
    padded = np.full(buckets * width, np.nan)
    padded[:count] = values
    rows = padded.reshape(buckets, width)
    first = np.arange(buckets) * width
    least = np.where(np.isfinite(rows), rows, np.inf).argmin(axis=1)
    greatest = np.where(np.isfinite(rows), rows, -np.inf).argmax(axis=1)
    kept: npt.NDArray[np.intp] = np.unique(np.concatenate([first + least, first + greatest]))
    return kept


def break_gaps(
    t_ns: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The same line with a NaN inside every gap in time, so that nothing is drawn where nothing was read.

    A gap is more than five times the usual distance of two points, and at least half a second.
    """
    if len(t_ns) < 3:  # noqa: PLR2004 - two points have one distance: no usual one
        return t_ns, values
    distance = np.diff(t_ns)
    gaps = np.flatnonzero(distance > max(5 * float(np.median(distance)), 5e8)) + 1
    middle = (t_ns[gaps - 1] + t_ns[gaps]) // 2
    return np.insert(t_ns, gaps, middle), np.insert(values, gaps, np.nan)
