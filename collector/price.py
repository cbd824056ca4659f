"""What the server costs now, as metrics: dollars an hour, and for a thousand answers of the last five minutes.

The bill runs on whether anything is answered or not, and also while the server does not answer at all; without an
answer in the window there is no figure for a thousand. Answers are counted by the engine's own counter, and a counter
that falls began anew. A finished recording is priced in full by ``inferometer analyze``.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client import Metric

from collector.schema import Absent, Sample

WINDOW_S = 300.0
#: Readings nearer to each other than this count as one, so that the window stays short.
_LEAST_NS = 1_000_000_000
_ANSWERS = "requests_ok_total"


@dataclass
class Price:
    """A price, and the answers that came since it was first looked at. Whoever holds it keeps threads apart."""

    usd_per_hour: float
    #: Per subject the last reading of its counter.
    _last: dict[str, float] = field(default_factory=dict)
    _answers: float = 0.0
    #: When, and how many answers had come by then; the first at or before the start of the window.
    _window: deque[tuple[int, float]] = field(default_factory=deque)

    def observe(self, records: Iterable[object]) -> None:
        """Count the answers of what was read."""
        for record in records:
            if isinstance(record, Sample) and record.source == "serving":
                count = record.values.get(_ANSWERS)
                if count is not None and not isinstance(count, Absent):
                    self._count(record.t_ns, record.subject, count)

    def families(self, now_ns: int) -> Iterator[Metric]:
        """The cost an hour, and that of a thousand answers where there were any."""
        yield _gauge("cost_usd_per_hour", "Dollars an hour for the GPUs of the server, idle or not.", self.usd_per_hour)
        if not self._window:
            return
        since_ns, before = self._window[0]
        for t_ns, answers in self._window:
            if t_ns <= now_ns - WINDOW_S * 1e9:
                since_ns, before = t_ns, answers
        elapsed_s, answered = (now_ns - since_ns) / 1e9, self._answers - before
        if elapsed_s > 0 and answered > 0:
            meaning = f"Dollars for 1,000 answered requests over the last {WINDOW_S:.0f} s, or since the first reading."
            usd = self.usd_per_hour * elapsed_s / 3600
            yield _gauge("cost_usd_per_1000_inferences", meaning, 1000 * usd / answered)
            yield _gauge("cost_window_seconds", "The time that the cost of 1,000 is over.", elapsed_s)

    def _count(self, t_ns: int, subject: str, count: float) -> None:
        last = self._last.get(subject, count)
        self._answers += count - last if count >= last else count
        self._last[subject] = count
        if self._window and t_ns < self._window[-1][0]:
            # The clock was set back: what came before cannot be told in time.
            self._window.clear()
        if len(self._window) > 1 and self._window[-1][0] - self._window[-2][0] < _LEAST_NS:
            self._window.pop()
        self._window.append((t_ns, self._answers))
        while len(self._window) > 1 and self._window[1][0] <= t_ns - WINDOW_S * 1e9:
            self._window.popleft()


def _gauge(name: str, meaning: str, value: float) -> Metric:
    family = Metric(f"inferometer_{name}", meaning, "gauge")
    family.add_sample(family.name, {}, value)
    return family
