"""From the blocks of a document to its spans: gathered in the order of the file, sorted, held against the clock.

Blocks stay as they are until the end, so that memory holds the columns once and one of them twice.
"""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from analyzer.columns import NO_OPERATIONS, Bool, Int64, MatrixProduct, Operations, Spans
from analyzer.importers._kineto_events import (
    MAX_DURATION_NS,
    MAX_TIME_US,
    PROCESS_STRIDE,
    USED,
    Block,
    Event,
    Losses,
    Rows,
    columns,
    floats,
    nanoseconds,
)
from collector.errors import UserError

#: Refuse more rows and more text of names than this: a document that inflates to nothing but them is a bomb.
MAX_ROWS = 1 << 26
MAX_NAME_CHARACTERS = 1 << 27
#: Begun events waiting for their ends; a program's stacks are not so deep.
MAX_OPEN = 1 << 18
#: A device may show work before its launch by the error of two clocks, never by this much (PyTorch issue 192021).
MAX_EARLY_NS = 10**9

_GROUPS = ("device", "device_marks", "host", "host_marks")


class Columns:
    """The growing columns of one document."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.products: list[MatrixProduct] = []
        self._operations: list[Operations] = []
        self.windows_ns: list[tuple[int, int]] = []
        self.overhead_ns = 0
        self.losses: Losses = Counter()
        #: Where a document was merged: what the process that drove a device called it.
        self.device_ids: dict[int, int] = {}
        self._merged = False
        self._rows: dict[str, list[Rows]] = {group: [] for group in _GROUPS}
        self._open: dict[object, list[Event]] = {}
        self._held = self._characters = self._waiting = 0

    def __bool__(self) -> bool:
        """Whether anything was gathered."""
        return bool(self._held or self.windows_ns)

    def add(self, block: Block) -> None:
        """Take what the next piece of the document holds.

        Raises:
            UserError: There is more than fits the bounds.
        """
        known = len(self.names)
        place = np.array([self.names.setdefault(name, len(self.names)) for name in block.names], np.int32)
        self._characters += sum(len(name) for name in block.names if self.names[name] >= known)
        for group, parts in self._rows.items():
            rows: Rows = getattr(block, group)
            if len(rows.name):
                parts.append(replace(rows, name=place[rows.name]))
                self._held += len(rows.name)
        if self._held > MAX_ROWS or self._characters > MAX_NAME_CHARACTERS:
            raise UserError(f"a trace of more than {MAX_ROWS:,} spans, or of endless names: record a shorter window")
        self.products += block.products
        if len(block.operations):
            self._operations.append(block.operations)
        self.windows_ns += block.windows_ns
        self.overhead_ns += block.overhead_ns
        self._merged |= block.merged
        self.losses.update(block.losses)
        if block.halves:
            self.add(columns(self._paired(block.halves)))

    @property
    def operations(self) -> Operations:
        """The work that operators asked for, in the order of the file."""
        if not self._operations:
            return NO_OPERATIONS
        fields = Operations.__dataclass_fields__
        parts = {name: [getattr(part, name) for part in self._operations] for name in fields}
        return Operations(**{name: np.concatenate(columns) for name, columns in parts.items()})

    def _paired(self, halves: tuple[Event, ...]) -> list[Event]:
        """Whole events out of begins and ends, which nest on each thread in the order of the file."""
        whole = []
        for half in halves:
            stack = self._open.setdefault((half.pid, half.tid), [])
            if half.ph == "B" and self._waiting < MAX_OPEN:
                stack.append(half)
                self._waiting += 1
            elif half.ph == "E" and stack:
                begun = stack.pop()
                self._waiting -= 1
                if begun.cat in USED:
                    whole.append(_joined(begun, half))
            else:
                self.losses["unpaired", False] += 1
        return whole

    def finish(self, base_ns: int) -> dict[str, Spans]:
        """The spans of each group, sorted by time; those at a time that cannot be are dropped and counted."""
        for stack in self._open.values():
            self.losses["unpaired", False] += sum(begun.cat in USED for begun in stack)
        groups = {group: _spans(self._rows.pop(group), base_ns) for group in _GROUPS}
        window = _plausible(self.windows_ns, base_ns, [spans.start_ns for spans in groups.values()])
        for group, spans in groups.items():
            wrong = (spans.start_ns < window[0]) | (spans.end_ns > window[1])
            if group == "device":
                wrong |= _before_launch(spans, groups["host"])
            if wrong.any():
                if not group.endswith("marks"):
                    self.losses["clock_error", group == "device"] += int(wrong.sum())
                groups[group] = spans.take(~wrong)
        if self._merged:
            self._number_devices(groups)
        return groups

    def _number_devices(self, groups: dict[str, Spans]) -> None:
        """Number the devices of a merged document in order; each process knew its own by another number."""
        rows = np.unique(np.concatenate([groups["device"].row, groups["device_marks"].row]))
        self.device_ids = dict(enumerate((rows % PROCESS_STRIDE).tolist()))
        for group in ("device", "device_marks"):
            groups[group] = replace(groups[group], row=np.searchsorted(rows, groups[group].row))


def _joined(begun: Event, ended: Event) -> Event:
    """One event out of its two halves; without a duration where a time is no number."""
    times_us = floats([begun.ts, ended.ts])
    start_ns, end_ns = nanoseconds(times_us) if (np.abs(times_us) < MAX_TIME_US).all() else (np.nan, np.nan)
    return Event(
        ph="X", cat=begun.cat, name=begun.name, pid=begun.pid, tid=begun.tid, ts=begun.ts,
        dur=float(end_ns - start_ns) / 1000, args=begun.args or ended.args,
    )  # fmt: skip


def _spans(parts: list[Rows], base_ns: int) -> Spans:
    """One group's blocks as sorted columns; each column is let go as soon as it is copied."""
    held = {name: [getattr(rows, name) for rows in parts] for name in Rows.__dataclass_fields__}
    parts.clear()
    start_ns = _together(held.pop("start_ns"), np.int64) + base_ns
    order = np.argsort(start_ns, kind="stable")
    start_ns = start_ns[order]
    end_ns = start_ns + _together(held.pop("duration_ns"), np.int64)[order]
    kinds = {"name": np.int32, "category": np.int32}
    rest = {name: _together(held.pop(name), kinds.get(name, np.int64))[order] for name in list(held)}
    return Spans(start_ns=start_ns, end_ns=end_ns, **rest)


def _together(parts: list[Any], kind: type) -> Any:  # noqa: ANN401 - an array of that kind
    return np.concatenate(parts) if parts else np.empty(0, kind)


def _plausible(windows_ns: list[tuple[int, int]], base_ns: int, starts: list[Int64]) -> tuple[int, int]:
    """First and last instant that a span of this document may have.

    That is the profiler's own window and as much again around it, at least a second; where it has none, or most spans
    lie outside it, a day around the middle one.
    """
    every = np.concatenate(starts)
    if not len(every):
        return base_ns, base_ns
    if windows_ns:
        first = base_ns + min(start for start, _ in windows_ns)
        last = base_ns + max(start + duration for start, duration in windows_ns)
        around = max(last - first, 10**9)
        if np.count_nonzero((every >= first - around) & (every <= last + around)) * 2 > len(every):
            return first - around, last + around
    middle = int(np.partition(every, len(every) // 2)[len(every) // 2])
    return middle - MAX_DURATION_NS, middle + 2 * MAX_DURATION_NS


def _before_launch(work: Spans, host: Spans) -> Bool:
    """Which device work starts long before the call that launched it."""
    calls = host.take(host.correlation != 0)
    if not len(calls) or not len(work):
        return np.zeros(len(work), bool)
    order = np.argsort(calls.correlation, kind="stable")
    known = calls.correlation[order]
    place = np.minimum(np.searchsorted(known, work.correlation), len(known) - 1)
    early: Bool = (known[place] == work.correlation) & (work.start_ns < calls.start_ns[order][place] - MAX_EARLY_NS)
    return early
