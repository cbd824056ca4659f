"""The sentences and tables of a comparison. Times are written in full, to the nanosecond, so that they add up."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

from analyzer.formatting import MISSING, count, duration, number, percent
from analyzer.idle import CAUSES
from analyzer.schema import Compared, Comparison, Difference
from analyzer.tables.grid import Grid, columns
from analyzer.wording import kernel_name, plain

#: Cells of a bar.
_BAR = 12
_OUTSIDE = "before a device's first work or after its last"


def side(it: Compared) -> str:
    """One side: ``decode.json.gz · 516 ms · NVIDIA H200``."""
    return " · ".join(
        (plain(it.name, 60), duration(it.duration_s), *(plain(name, 40) for name in dict.fromkeys(it.gpus)))
    )


def headline(found: Comparison) -> str:
    """How much longer or shorter the second trace takes, and what that is measured in."""
    a, b = found.before, found.after
    what = (
        "the whole window" if found.unit == "window" else f"the mean step ({count(a.steps)} and {count(b.steps)} steps)"
    )
    if not any(part.difference_s for part in found.parts):
        return f"no difference: {what} takes {duration(a.length_s)} in both, and every part of it the same"
    share = f" ({percent(abs(found.difference_s) / a.length_s)})" if a.length_s else ""
    change = "as long" if not found.difference_s else f"{microseconds(abs(found.difference_s))}{share} "
    change += {True: "longer", False: "shorter"}[found.difference_s > 0] if found.difference_s else ""
    return f"{what} of B takes {change}: {microseconds(b.length_s)} against {microseconds(a.length_s)}"


def microseconds(seconds: float, *, sign: bool = False) -> str:
    """Microseconds to the nanosecond, thousands separated: ``+1,234.567 µs``."""
    return f"{round(seconds * 1e9) / 1e3:{'+' if sign else ''},.3f} µs"


def waterfall(found: Comparison, rows: int | None = None) -> Grid:
    """From the length of A to that of B, part by part; the column of differences adds up exactly.

    Args:
        found: The comparison.
        rows: Parts shown apart, the largest; all that differ unless told.
    """
    parts = [part for part in found.parts if part.difference_s]
    shown, rest = parts[:rows], parts[len(parts[:rows]) :]
    lines = [(_counts(part), _what(part), _by(part.from_count_s), _by(part.from_duration_s)) for part in shown]
    steps_ns = [_ns(part.difference_s) for part in shown]
    if rest:
        lines.append(("", f"{len(rest)} smaller differences", "", ""))
        steps_ns.append(sum(_ns(part.difference_s) for part in rest))
    levels = list(accumulate(steps_ns, initial=_ns(found.before.length_s)))
    return Grid(
        title=f"What explains the difference, for one {found.unit}",
        columns=columns(">µs", "", ">count", "what", ">by count", ">by length"),
        rows=(
            (_full(levels[0]), "", "", "A", "", ""),
            *((_full(step, "+"), bar, *line) for step, bar, line in zip(steps_ns, _bars(levels), lines, strict=True)),
            (_full(levels[-1]), "", "", "B", "", ""),
        ),
    )


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _full(ns: int, sign: str = "") -> str:
    return f"{ns / 1e3:{sign},.3f}"


def _by(seconds: float | None) -> str:
    return "" if seconds is None else _full(_ns(seconds), "+")


def _bars(levels: Sequence[int]) -> Iterable[str]:
    """Each step as a block from one level to the next, on the scale that holds them all."""
    low, high = min(levels), max(levels)
    cells = [round((level - low) / max(1, high - low) * _BAR) for level in levels]
    for before, after in pairwise(cells):
        first, last = sorted((before, after))
        yield (" " * first + "█" * (last - first) or " " * first + "▏").ljust(_BAR + 1)


def _what(part: Difference) -> str:
    if part.kind == "idle":
        return f"idle: {CAUSES[part.before[0]][0] if part.before[0] in CAUSES else _OUTSIDE}"
    if part.before == part.after:
        return kernel_name(part.before[0], 80)
    if part.before and part.after:
        more = [f" and {len(names) - 1} more" if len(names) > 1 else "" for names in (part.before, part.after)]
        first, second = kernel_name(part.before[0], 40), kernel_name(part.after[0], 40)
        return f"{part.family}: {first}{more[0]} became {second}{more[1]}"
    return f"{'new' if part.after else 'gone'}: {kernel_name((*part.before, *part.after)[0], 80)}"


def _counts(part: Difference) -> str:
    if part.count_before is None:
        return ""
    before, after = number(part.count_before), number(part.count_after)
    return before if before == after else f"{before} → {after}"


def steps(found: Comparison) -> Grid:
    """The same difference by phase of steps."""
    return Grid(
        title="By step",
        columns=columns("phase", ">of A", ">of B", ">mean in A", ">mean in B", ">µs", ">by share", ">by length"),
        rows=tuple(
            (
                plain(step.phase, 20),
                percent(step.share_before),
                percent(step.share_after),
                duration(step.mean_before_s, MISSING),
                duration(step.mean_after_s, MISSING),
                *(_by(seconds) for seconds in (step.difference_s, step.from_share_s, step.from_length_s)),
            )
            for step in found.steps
        ),
    )
