"""Serving: what the inference server says of itself on its ``/metrics``, in one vocabulary for every engine.

Costs one HTTP request a reading, about 2 ms of CPU time with vLLM. It costs the server more: vLLM's tokens wait while
it writes a page, 17 ms on a busy H200 host. So the whole page with its histograms is asked for every five seconds,
and in between what is one number a series, where a server can write that alone. A server that is away, hangs or
answers nonsense is a normal state: each of its quantities is then Absent with the reason, and going away, coming back
and restarting are events.
"""

import time
from collections.abc import Callable, Iterator, Mapping

from collector import dialects, scrape
from collector._endpoint import Endpoint, UnansweredError
from collector._pages import Pages
from collector.catalogue import CATALOGUE
from collector.engines import Plugin
from collector.errors import UserError
from collector.options import Options
from collector.schema import Absent, Event, Histogram, Sample
from collector.scrape import Scrape
from collector.sources import Reading, Unavailable

#: Clocks are corrected; a server does not start again so soon.
_SAME_START_S = 1.0
#: Seconds between two whole pages where the server writes its single numbers alone.
WHOLE_S = 5.0
#: The share of a server's time that writing whole pages may take, and how rare they may become for it: Prometheus
#: itself asks every 15 s or so.
SERVER_RATIO, RAREST_S = 0.01, 15.0


def open_source(options: Options) -> "Serving":
    """Prepare to read the server; connects to nothing yet.

    Raises:
        Unavailable: No endpoint was given, or it cannot be one.
    """
    if options.endpoint is None:
        raise Unavailable("no --endpoint was given: name the server's address, such as http://127.0.0.1:8000")
    try:
        chosen = dialects.chosen(options.engine, options.generic)
        return Serving(Endpoint(options.endpoint), options.interval_s, chosen)
    except UserError as error:
        raise Unavailable(str(error)) from error


class Serving:
    """The source: pages, and what changed between them."""

    def __init__(
        self,
        endpoint: Endpoint,
        interval_s: float,
        chosen: tuple[str, Plugin] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.interval_s, self._clock = interval_s, clock
        self._pages = Pages(endpoint, chosen)
        self._engine = ""
        self._quantities = dialects.quantities(chosen[1] if chosen else None)
        self._down_since_ns: int | None = None
        self._started_s: float | None = None
        self._counters: dict[str, float] = {}
        self._told_processes = False
        self._chosen = chosen
        #: When the next whole page is due, in seconds of the monotonic clock.
        self._whole_due = 0.0

    def read(self, t_ns: int) -> Reading:
        """One Sample of ``engine:0``, its Histograms, and an Event for each change of the server's state."""
        began = self._clock()
        try:
            page = self._page(t_ns)
        except (UnansweredError, UserError) as error:
            records: list[Event | Histogram] = list(self._down(t_ns, str(error)))
            values: Mapping[str, float | Absent] = dict.fromkeys(self._quantities, Absent(str(error)))
        else:
            if page is None:
                return []
            records = [*self._up(t_ns, page), *page.histograms]
            values = page.values
        values = {**values, "scrape_s": self._clock() - began}
        return [Sample(t_ns=t_ns, source=scrape.SOURCE, subject=scrape.SUBJECT, values=values), *records]

    def close(self) -> None:
        """Close the connection."""
        self._pages.endpoint.close()

    def _page(self, t_ns: int) -> Scrape | None:
        """The page that is due, whole or not; None where only a whole one could be had, and that too soon."""
        began = self._clock()
        if self._down_since_ns is None and began < self._whole_due:
            could_glance = self._pages.glances
            page = self._pages.glance(t_ns, self._chosen or (self._engine, dialects.plugins()[self._engine]))
            if page is not None or not could_glance:
                return page
        _, page = self._pages.read(t_ns)
        took_s = self._clock() - began
        pause_s = max(WHOLE_S if self._pages.glances else 0.0, min(took_s / SERVER_RATIO, RAREST_S))
        # A tick that comes a little early is the one that was meant.
        self._whole_due = began + pause_s - self.interval_s / 2
        return page

    def _down(self, t_ns: int, reason: str) -> Iterator[Event]:
        if self._down_since_ns is None:
            self._down_since_ns = t_ns
            yield Event(t_ns=t_ns, kind="endpoint_down", name=self._engine or "server", detail={"reason": reason})

    def _up(self, t_ns: int, page: Scrape) -> Iterator[Event]:
        if self._down_since_ns is not None:
            detail = {"down_s": (t_ns - self._down_since_ns) / 1e9}
            yield Event(t_ns=t_ns, kind="endpoint_up", name=page.engine, detail=detail)
        counters = _counters(page)
        if reason := self._restarted(page, counters):
            yield Event(t_ns=t_ns, kind="restart", name=page.engine, detail={"reason": reason})
            self._counters, self._told_processes = {}, False
        if page.processes > 1 and not self._told_processes:
            self._told_processes = True
            yield Event(t_ns=t_ns, kind="multiprocess", name=page.engine, detail={"processes": page.processes})
        if page.engine != self._engine and page.engine in dialects.plugins():
            self._quantities = dialects.quantities(dialects.plugins()[page.engine])
        self._engine, self._down_since_ns = page.engine, None
        self._started_s = page.started_s or self._started_s
        self._counters |= counters

    def _restarted(self, page: Scrape, counters: Mapping[str, float]) -> str:
        """How it shows that this is another process than the last one that answered; "" where it does not."""
        if self._engine and self._engine != page.engine:
            return f"{self._engine} was there before"
        if self._started_s and page.started_s and abs(self._started_s - page.started_s) > _SAME_START_S:
            return "its process started anew"
        fell = [name for name, value in counters.items() if value < self._counters.get(name, 0)]
        return f"{fell[0]} fell" if fell else ""


def _counters(page: Scrape) -> dict[str, float]:
    """What only grows while a server runs: counters, and how often each histogram was observed."""
    counted = {
        name: value
        for name, value in page.values.items()
        if not isinstance(value, Absent) and CATALOGUE[name].kind == "counter"
    }
    return counted | {histogram.quantity: histogram.cumulative[-1] for histogram in page.histograms}
