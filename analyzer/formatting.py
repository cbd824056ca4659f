"""How a figure is written for a person: three significant digits, its unit, never a bare zero for "unknown".

Every function takes seconds, ratios 0–1 or dollars and returns text. None, NaN and infinity are written as a
dash, or as the reason for the gap where the caller knows it.
"""
# ruff: noqa: PLR2004 - the limits are where three digits would round over to the next form

import math

MISSING = "–"

#: Below one second, the units of a duration, each with the limit below which it is used.
_SUBSECOND = ((0.9995e-6, 1e9, "ns"), (0.9995e-3, 1e6, "µs"), (0.9995, 1e3, "ms"))
_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def number(value: float | None, unit: str = "", missing: str = MISSING) -> str:
    """Three significant digits, thousands separated: ``12,300``, ``4.86``, ``0.0123``.

    Whole numbers below 1,000 are written without a fraction.

    >>> number(1234.5, "requests")
    '1,230 requests'
    >>> number(32), number(31.2), number(0.00002)
    ('32', '31.2', '2.00e-05')
    >>> number(None, missing="no GPM: pre-Hopper")
    'no GPM: pre-Hopper'
    """
    if value is None or not math.isfinite(value):
        return missing
    text = _digits(float(value))
    return f"{text} {unit}" if unit else text


def _digits(value: float) -> str:
    if value.is_integer() and abs(value) < 1000:
        return f"{value:.0f}".replace("-0", "0")
    if not 1e-4 <= abs(value) < 1e15:
        return f"{value:.2e}"
    rounded = float(f"{value:.3g}")
    decimals = max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{decimals}f}"


def count(value: float | None, unit: str = "", missing: str = MISSING) -> str:
    """A count in full, thousands separated: what was counted is not rounded.

    >>> count(31430, "kernels")
    '31,430 kernels'
    """
    if value is None or not math.isfinite(value):
        return missing
    return f"{value:,.0f} {unit}" if unit else f"{value:,.0f}"


def scaled(value: float | None, unit: str, missing: str = MISSING) -> str:
    """A quantity with a decimal prefix where it is large: ``141 GB``, ``1.98 GHz``.

    >>> scaled(141e9, "B"), scaled(412, "W")
    ('141 GB', '412 W')
    """
    if value is None or not math.isfinite(value):
        return missing
    for size, prefix in _PREFIXES:
        if abs(value) >= 0.9995 * size:
            return number(value / size, prefix + unit)
    return number(value, unit)


def duration(seconds: float | None, missing: str = MISSING) -> str:
    """A duration in the unit that suits its size, from nanoseconds to hours.

    >>> duration(950e-9), duration(0.00486), duration(1.62), duration(125), duration(7300)
    ('950 ns', '4.86 ms', '1.62 s', '2 min 5 s', '2 h 1 min')
    """
    if seconds is None or not math.isfinite(seconds):
        return missing
    if seconds == 0:
        return "0 s"
    for limit, scale, unit in _SUBSECOND:
        if abs(seconds) < limit:
            return number(seconds * scale, unit)
    if abs(seconds) < 119.5:
        return number(seconds, "s")
    sign = "-" if seconds < 0 else ""
    minutes, rest = divmod(round(abs(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours:,} h {minutes} min" if hours else f"{sign}{minutes} min {rest} s"


def percent(ratio: float | None, missing: str = MISSING) -> str:
    """A ratio 0–1 as a percentage; what is not quite nothing or not quite all is not rounded to it.

    >>> percent(0.637), percent(0.004), percent(0.0001), percent(0.9971), percent(1)
    ('64 %', '0.4 %', '< 0.1 %', '99.7 %', '100 %')
    """
    if ratio is None or not math.isfinite(ratio):
        return missing
    if 0 < abs(ratio) < 0.0005:
        return "< 0.1 %" if ratio > 0 else "> -0.1 %"
    if 0.9995 <= ratio < 1:
        return "> 99.9 %"
    coarse = ratio == 0 or 0.0995 <= abs(ratio) < 0.995 or abs(ratio) >= 1
    return f"{100 * ratio:,.{0 if coarse else 1}f} %"


def money(usd: float | None, missing: str = MISSING) -> str:
    """Dollars: ``$0.147``, ``$94.90``, ``$1,230``.

    >>> money(0.1468), money(94.9), money(1234), money(-0.5)
    ('$0.147', '$94.90', '$1,234', '-$0.500')
    """
    if usd is None or not math.isfinite(usd):
        return missing
    size = abs(usd)
    if size >= 999.995 or size == 0:
        text = f"{size:,.0f}"
    elif size >= 0.9995:
        text = f"{size:.2f}"
    else:
        text = _digits(size)
    return f"-${text}" if usd < 0 else f"${text}"


def per_thousand(usd: float | None, missing: str = MISSING) -> str:
    """What a thousand inferences cost.

    >>> per_thousand(0.1468)
    '$0.147 / 1,000'
    """
    return missing if usd is None or not math.isfinite(usd) else f"{money(usd)} / 1,000"


def interval(low: float | None, high: float | None, missing: str = MISSING) -> str:
    """An interval of durations, in one unit where both ends have the same; an open end, or zero, is left out.

    >>> interval(1.62, 1.71), interval(0.9, 1.1), interval(20, None), interval(None, 0.001)
    ('1.62–1.71 s', '900 ms – 1.10 s', '> 20 s', '< 1 ms')
    """
    if low is None and high is None:
        return missing
    if high is None or not math.isfinite(high):
        return f"> {duration(low)}"
    left, right = duration(low), duration(high)
    if left == right:
        return right
    if not low or not math.isfinite(low):
        return f"< {right}"
    same_unit = left.rpartition(" ")[2] == right.rpartition(" ")[2] and "min" not in left + right
    return f"{left.rpartition(' ')[0]}–{right}" if same_unit else f"{left} – {right}"


def gain(ratio: float | None, missing: str = "no bound") -> str:
    """How many times the throughput could grow.

    >>> gain(1.77), gain(None)
    ('×1.77', 'no bound')
    """
    return missing if ratio is None or not math.isfinite(ratio) else f"×{number(ratio)}"
