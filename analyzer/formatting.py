"""How a figure is written for a person: three significant digits, its unit, never a bare zero for "unknown"."""

import math

_MISSING = "–"


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits, thousands separated: ``12,300``, ``4.86``, ``0.0123``.

    >>> number(1234.5, "requests")
    '1,230 requests'
    """
    if value is None or not math.isfinite(value):
        return _MISSING
    if value == 0:
        text = "0"
    else:
        rounded = float(f"{value:.3g}")
        decimals = max(0, 2 - math.floor(math.log10(abs(rounded))))
        text = f"{rounded:,.{decimals}f}"
    return f"{text} {unit}" if unit else text


def duration(seconds: float | None) -> str:
    """A duration in the unit that suits its size: ``950 ns``, ``59.1 µs``, ``4.86 ms``, ``1.62 s``, ``2 min 5 s``.

    >>> duration(0.00486)
    '4.86 ms'
    """
    if seconds is None or not math.isfinite(seconds):
        return _MISSING
    for limit, scale, unit in ((1e-6, 1e9, "ns"), (1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (120.0, 1.0, "s")):
        if abs(seconds) < limit:
            return number(seconds * scale, unit)
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def percent(ratio: float | None) -> str:
    """A ratio 0–1 as a percentage: ``64 %``, ``0.4 %``.

    >>> percent(0.637)
    '64 %'
    """
    if ratio is None or not math.isfinite(ratio):
        return _MISSING
    digits = 0 if ratio == 0 or abs(ratio) >= 0.0995 else 1
    return f"{100 * ratio:.{digits}f} %"


def money(usd: float | None) -> str:
    """Dollars: ``$0.147``, ``$94.90``, ``$1,230``.

    >>> money(0.1468)
    '$0.147'
    """
    if usd is None or not math.isfinite(usd):
        return _MISSING
    if abs(usd) >= 1000 or usd == 0:
        return f"${usd:,.0f}"
    return f"${usd:,.2f}" if abs(usd) >= 1 else f"${number(usd)}"


def interval(low: float | None, high: float | None) -> str:
    """An interval of durations: ``1.62–1.71 s``; an open end is written as ``> 7.68 ks`` never could be: ``> 20 s``."""
    if low is None and high is None:
        return _MISSING
    if high is None:
        return f"> {duration(low)}"
    if low is None:
        return f"< {duration(high)}"
    left, right = duration(low), duration(high)
    same_unit = left.rpartition(" ")[2] == right.rpartition(" ")[2] and "min" not in right
    return f"{left.rpartition(' ')[0]}–{right}" if same_unit else f"{left} – {right}"
