"""How long did people wait, and how well is that known?"""

from analyzer.formatting import count, duration, interval, number
from analyzer.panels import View
from analyzer.schema import LatencyWindow
from analyzer.tables.grid import Grid, columns
from analyzer.tables.runs import brief, latency, percentile
from analyzer.wording import plain

TITLE = "Tail latency"
ORDER = 20
KINDS = ("run",)

_HEAD = (
    *("phase", ">n", ">TTFT p50", ">TTFT p99", ">lies in"),
    *(">TPOT p50", ">TPOT p99", ">end to end p50", ">end to end p99"),
    *(">running", ">waiting", ">queue delay"),
)


def tables(view: View) -> list[Grid]:
    """A row a phase, with what waited meanwhile; then every measure of the whole run and where it comes from."""
    found = view.analysis.latency
    if found is None:
        return []
    rows = tuple(_row(window) for window in (found.overall, *found.phases))
    return [Grid(title="By phase", columns=columns(*_HEAD), rows=rows), latency([found.overall])]


def _row(window: LatencyWindow) -> tuple[str, ...]:
    first = window.stat("ttft_s")
    tail = percentile(window, "ttft_s", 0.99)
    return (
        plain(window.name or "all", 40),
        count(first.n if first else None),
        brief(percentile(window, "ttft_s", 0.5)),
        brief(tail),
        interval(tail.low_s, tail.high_s) if tail else interval(None, None),
        *(brief(percentile(window, measure, q)) for measure in ("tpot_s", "e2e_latency_s") for q in (0.5, 0.99)),
        number(window.requests_running),
        number(window.requests_waiting),
        duration(window.queue_delay_s),
    )
