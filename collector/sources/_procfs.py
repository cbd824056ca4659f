"""Reading the kernel's text files: capped, whole lines only, and every fault a reason.

A figure the kernel could not have written (negative, past 64 bits, cut short) counts as not read.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from collector.schema import Absent

Values: TypeAlias = dict[str, float | Absent]

#: What reading and parsing a file may raise, whatever is in it.
FAULTS = (OSError, ValueError, LookupError)

_LARGEST_BYTES, _CHUNK_BYTES = 1 << 20, 1 << 15
#: The first number that no counter of the kernel holds.
PAST_THE_COUNTERS = 1 << 64


def read_lines(path: Path, largest_bytes: int = _LARGEST_BYTES) -> list[str]:
    """Lines that end in a newline; one that was cut short is no line.

    Raises:
        OSError: The file cannot be read, or its process ended meanwhile.
    """
    return read_bytes(path, largest_bytes).decode("utf-8", "replace").split("\n")[:-1]


def read_bytes(path: Path, largest_bytes: int) -> bytes:
    """A file, up to a size; plain system calls, because dozens are read every second."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = b""
        while len(content) < largest_bytes and (chunk := os.read(descriptor, _CHUNK_BYTES)):
            content += chunk
    finally:
        os.close(descriptor)
    return content[:largest_bytes]


def amount(text: str) -> float:
    """A figure of the kernel.

    Raises:
        ValueError: It is none.
    """
    value = int(text)
    if not 0 <= value < PAST_THE_COUNTERS:
        raise ValueError(text)
    return float(value)


def why(path: Path, error: Exception) -> str:
    """A reason a person can act on; the same each time, so that it is recorded once."""
    match error:
        case FileNotFoundError() | ProcessLookupError():
            return f"{path}: not there"
        case PermissionError():
            return f"{path}: this user may not read it"
        case OSError():
            return f"{path}: {error.strerror or 'cannot be read'}"
        case _:
            return f"{path}: not in the form the kernel writes"


def measured(
    path: Path, quantities: Sequence[str], parse: Callable[[list[str]], Mapping[str, float]], grant: str = ""
) -> Values:
    """Quantities read from one file; what it does not hold, or cannot be read, is absent with the reason.

    Args:
        path: The file.
        quantities: What it should hold.
        parse: From its lines to quantities; may leave some out, may raise ``FAULTS``.
        grant: What would make the file readable, if that is known.
    """
    try:
        found = parse(read_lines(path))
    except FAULTS as error:
        hint = f"; {grant}" if grant and isinstance(error, OSError) else ""
        return dict.fromkeys(quantities, Absent(why(path, error) + hint))
    return {name: found[name] if name in found else Absent(f"{path}: does not hold it") for name in quantities}


def named(path: Path, fields: Mapping[str, tuple[str, float]]) -> Values:
    """Quantities of a file with lines such as ``nr_periods 12`` or ``MemTotal:  64 kB``.

    Args:
        path: The file.
        fields: From the name in the file to the quantity and the factor that gives its unit.
    """
    starts = tuple(fields)

    def parse(lines: list[str]) -> dict[str, float]:
        found = {}
        for line in [line for line in lines if line.startswith(starts)]:
            name, figure, *_ = (*line.split(None, 2), "", "")
            if field := fields.get(name.rstrip(":")):
                found[field[0]] = amount(figure) * field[1]
        return found

    return measured(path, [quantity for quantity, _ in fields.values()], parse)


def pressure_names(prefix: str, waited: str) -> dict[str, str]:
    """Quantities of a file of PSI by the words its lines start with."""
    return {kind: f"{prefix}{waited}_pressure_{kind}_seconds_total" for kind in ("some", "full")}


def pressure(prefix: str, waited: str, path: Path) -> Values:
    """Time lost in waiting for ``cpu``, ``memory`` or ``io``, from a file of PSI."""
    names = pressure_names(prefix, waited)

    def parse(lines: list[str]) -> dict[str, float]:
        words = (line.split() for line in lines)
        totals = {kind: last.partition("total=")[2] for kind, *_, last in words if kind in names}
        return {names[kind]: amount(total) / 1e6 for kind, total in totals.items()}

    return measured(path, tuple(names.values()), parse, "a kernel with pressure figures (PSI, psi=1) has it")


class Seldom:
    """Tells when what is read less often than the rest is due: first at once, then every ``period_s``."""

    def __init__(self, period_s: float, interval_s: float) -> None:
        """``interval_s`` is between two readings: one that comes a little early is the one that was meant."""
        self._period_ns = round(max(0.0, period_s - interval_s / 2) * 1e9)
        self._last_ns: int | None = None

    def due(self, t_ns: int) -> bool:
        """Whether to read at this instant, on a clock that may be set."""
        if self._last_ns is not None and 0 <= t_ns - self._last_ns < self._period_ns:
            return False
        self._last_ns = t_ns
        return True
