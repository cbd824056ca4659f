"""One file a source: what it reads, at which rate, and why it cannot where it cannot.

The file's name is the source's name in the store. A plugin's docstring says what it reads and what that costs. It
defines the names in ``CONTRACT``:

- ``open_source(options)``: a ``Source`` ready to be read. Raises ``Unavailable`` where there is nothing to read; the
  runner says so once, and asks again now and then.

A source reads only: it changes nothing, needs no root and starts no program. It may raise, hang or vanish at any
time; the runner gives each source a thread of its own and times it. Whatever a reading could not get is ``Absent``
with a reason a person can act on, never zero.
"""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

from collector.schema import Event, Histogram, Sample

CONTRACT = {"open_source": Callable}

#: What a reading brings.
Reading: TypeAlias = Iterable[Sample | Histogram | Event]


class Unavailable(Exception):  # noqa: N818 - a state, not an error
    """There is nothing to read here; the message says why, and what would grant it."""


class Source(Protocol):
    """A source that is open; used by one thread only."""

    @property
    def interval_s(self) -> float:
        """Seconds between two readings."""

    def read(self, t_ns: int) -> Reading:
        """Read everything once.

        Args:
            t_ns: The instant of this tick, for the samples: one clock for every source.
        """

    def close(self) -> None:
        """Let go of everything."""
