"""The sentences and tables of a comparison of two runs."""

from collections.abc import Iterable
from itertools import groupby

from analyzer.formatting import MISSING, count, duration, money, number, percent, scaled
from analyzer.schema import ComparedRun, RunComparison, RunDifference
from analyzer.tables.grid import Grid, class_name, columns
from analyzer.wording import label, plain

_FIGURES = (">A", ">B", ">change", ">change lies in", "is it noise?")
_RATES = {"requests_per_s": "requests/s", "output_tokens_per_s": "output tokens/s"}
_PER_1000 = {"usd_per_1000": "$ per 1,000", "joules_per_1000": "energy per 1,000"}


def side(it: ComparedRun) -> str:
    """One side: ``monday · 1 min 35 s · NVIDIA H200 · vllm 0.23.0``."""
    gpus = (plain(name, 40) for name in dict.fromkeys(it.gpus))
    return " · ".join(filter(None, (plain(it.name, 60), duration(it.duration_s), *gpus, plain(it.engine or "", 40))))


def headline(found: RunComparison) -> str:
    """How many of the figures changed by more than noise; or that none did."""
    if found.identical:
        return "no difference: every figure of the two runs is the same"
    outcomes = [row.outcome for row in found.rows]
    if not outcomes:
        return "cannot tell: the runs have no figure in common"
    more, within = outcomes.count("more than noise"), outcomes.count("within noise")
    unknown = len(outcomes) - more - within
    said = f"{count(more) if more else 'none'} of {count(len(outcomes))} figures changed by more than noise"
    return f"{said}; {count(within)} within noise" + (f", {count(unknown)} cannot be told" if unknown else "")


def overall(found: RunComparison, *, full: bool) -> Grid:
    """The whole runs, one figure a row; with ``full`` also why a change cannot be told."""
    rows = [(_name(row), row) for row in found.rows if row.phase is None]
    return _grid("The whole run", "figure", rows, full=full)


def phases(found: RunComparison, *, full: bool) -> list[Grid]:
    """Phases of one name: with ``full`` a table each, else one of what is more than noise in any of them."""
    rows = [row for row in found.rows if row.phase is not None]
    if full:
        return [
            _grid(f"Phase {plain(name or '', 40)}", "figure", [(_name(row), row) for row in mine], full=True)
            for name, mine in groupby(rows, key=lambda row: row.phase)
        ]
    more = [(f"{plain(row.phase or '', 20)} {_name(row)}", row) for row in rows if row.outcome == "more than noise"]
    return [_grid("In the phases, more than noise", "phase, figure", more, full=False)] if more else []


def _grid(title: str, first: str, rows: Iterable[tuple[str, RunDifference]], *, full: bool) -> Grid:
    return Grid(
        title=title,
        columns=columns(first, *_FIGURES),
        rows=tuple(
            (
                name,
                _value(row, row.before),
                _value(row, row.after),
                _change(row),
                _interval(row),
                f"cannot tell: {plain(row.reason)}" if full and row.outcome == "cannot tell" else row.outcome,
            )
            for name, row in rows
        ),
    )


def _name(row: RunDifference) -> str:
    if row.bottleneck is not None:
        return class_name(row.bottleneck)
    if row.measure in _RATES | _PER_1000:
        return (_RATES | _PER_1000)[row.measure]
    return f"{label(row.measure)} {'mean' if row.quantile is None else f'p{100 * row.quantile:g}'}"


def _value(row: RunDifference, value: float | None) -> str:
    if row.bottleneck is not None:
        return percent(value)
    if row.measure == "usd_per_1000":
        return money(value)
    if row.measure == "joules_per_1000":
        return scaled(value, "J")
    return number(value) if row.measure in _RATES else duration(value)


def _change(row: RunDifference) -> str:
    """In per cent of A; of shares in percentage points."""
    if row.difference is None:
        return MISSING
    if row.bottleneck is not None:
        return f"{100 * row.difference:+.1f} pt"
    return f"{100 * row.difference / row.before:+.1f} %" if row.before else MISSING


def _interval(row: RunDifference) -> str:
    low, high = (_signed(row, bound) for bound in (row.difference_low, row.difference_high))
    if low is None or high is None:
        return f"> {low}" if low else f"< {high}" if high else MISSING
    return f"{low} … {high}"


def _signed(row: RunDifference, value: float | None) -> str | None:
    if value is None:
        return None
    text = f"{100 * abs(value):.1f} pt" if row.bottleneck is not None else _value(row, abs(value))
    return f"{'-' if value < 0 else '+'}{text}"
