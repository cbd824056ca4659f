"""The one door to data: what is shown, read and concluded when it is asked for, and again when it has changed.

A run that is still being written has a new version whenever its recorder wrote something. It is read again then,
but never so often that reading takes more than a fifth of the time.
"""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from analyzer import pipeline
from analyzer.billing import Pricing
from analyzer.columns import RunData, Trace
from analyzer.panels import View
from analyzer.prices import Prices, load_prices
from analyzer.windows import extent
from collector import store

#: Sources that stay in memory; the one asked for longest ago goes first.
KEPT = 16
#: A run is cut into at most this many windows, of the pipeline's own length or longer.
_MOST_WINDOWS = 720
#: After a reading that took a second, the next one comes four seconds later at the earliest.
_REST = 4.0


@dataclass(frozen=True)
class Entry:
    """One source a person can pick."""

    #: What a link calls it: the name of its folder or file, with a number where several have the same.
    id: str
    path: Path
    kind: Literal["run", "trace"]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A source as it was when it was last read."""

    #: Changes whenever something was added.
    version: str
    view: View
    #: Whether it was still being written.
    live: bool
    #: Seconds that reading and concluding took, and when they ended on the library's clock.
    took_s: float
    read_at_s: float


class Library:
    """Every source that was named, the reference, and what is known of them so far. Threads may share it."""

    def __init__(
        self,
        paths: Iterable[Path],
        *,
        reference: Path | None = None,
        price_usd_per_gpu_hour: float | None = None,
        prices: Prices | None = None,
        clock: Callable[[], float] = time.monotonic,
        load: Callable[[Path], Trace | RunData] = pipeline.load,
    ) -> None:
        """Find the sources at the paths; none of them is read yet.

        Raises:
            UserError: A path holds nothing that can be shown.
        """
        self.entries = _entries(source.resolve() for path in paths for source in pipeline.find_sources(path))
        self._by_id = {entry.id: entry for entry in self.entries}
        self._reference = reference.resolve() if reference else None
        listed = load_prices() if prices is None else prices
        self._pricing = Pricing(usd_per_gpu_hour=price_usd_per_gpu_hour, prices=listed)
        self._clock = clock
        self._load = load
        self._shown: OrderedDict[Path, Shown] = OrderedDict()
        self._locks: dict[Path, threading.Lock] = {}
        self._guard = threading.Lock()

    def entry(self, source: str | None) -> Entry:
        """The source of that name; the first one where there is none of that name."""
        return self._by_id.get(source or "", self.entries[0])

    def version(self, source: str) -> str:
        """What tells whether there is something new to show; cheap enough to be asked every second."""
        path = self.entry(source).path
        shown = self._shown.get(path)
        return shown.version if shown and self._resting(shown) else _version(path)

    def shown(self, source: str) -> Shown:
        """A source with everything concluded from it, beside the reference.

        Raises:
            UserError: It cannot be read.
        """
        return self._read(self.entry(source).path)

    def trace(self, source: str, name: str) -> Shown:
        """A trace recorded with a run, or the source itself where that is a trace.

        Raises:
            UserError: The run has no such trace, or it cannot be read.
        """
        entry = self.entry(source)
        if entry.kind == "trace":
            return self._read(entry.path)
        with store.RunReader.open(entry.path) as reader:
            path = reader.trace_path(name)
        return self._read(path)

    def _read(self, path: Path) -> Shown:
        """The newest state of a path; of several threads that want the same one, one reads and the others wait."""
        with self._guard:
            lock = self._locks.setdefault(path, threading.Lock())
        with lock:
            version = _version(path)
            shown = self._shown.get(path)
            if shown is None or (version != shown.version and not self._resting(shown)):
                shown = self._conclude(path, version)
            with self._guard:
                self._shown[path] = shown
                self._shown.move_to_end(path)
                while len(self._shown) > KEPT:
                    self._shown.popitem(last=False)
            return shown

    def _resting(self, shown: Shown) -> bool:
        return self._clock() < shown.read_at_s + _REST * shown.took_s

    def _conclude(self, path: Path, version: str) -> Shown:
        began_s = self._clock()
        data = self._load(path)
        if isinstance(data, RunData):
            window_s = max(pipeline.WINDOW_S, _duration_s(data) / _MOST_WINDOWS)
            analysis = pipeline.conclude(data, pricing=self._pricing_of(path), window_s=window_s)
            reference = None
            if self._reference:
                reference = analysis if path == self._reference else self._read(self._reference).view.analysis
            view = View(analysis=analysis, reference=reference, samples=data.samples, events=data.events)
        else:
            view = View(analysis=pipeline.conclude(data))
        ended_s = self._clock()
        live = isinstance(data, RunData) and data.run.ended_ns is None
        return Shown(version=version, view=view, live=live, took_s=ended_s - began_s, read_at_s=ended_s)

    def _pricing_of(self, path: Path) -> Pricing | None:
        """The user's price is that of the user's GPUs: a reference that is only the reference keeps its own."""
        return self._pricing if any(entry.path == path for entry in self.entries) else None


def _entries(paths: Iterable[Path]) -> tuple[Entry, ...]:
    """Sources in the order they were named, each once, each with a name of its own."""
    seen: Counter[str] = Counter()
    entries = []
    for path in dict.fromkeys(paths):
        seen[path.name] += 1
        number = f" ({seen[path.name]})" if seen[path.name] > 1 else ""
        entries.append(Entry(f"{path.name}{number}", path, "run" if store.is_run(path) else "trace"))
    return tuple(entries)


def _version(path: Path) -> str:
    if path.is_dir():
        return "-".join(map(str, store.version(path)))
    try:
        stat = path.stat()
    except OSError:
        return "gone"
    return f"{stat.st_mtime_ns}-{stat.st_size}"


def _duration_s(data: RunData) -> float:
    first, last = extent(data)
    return (last - first) / 1e9
