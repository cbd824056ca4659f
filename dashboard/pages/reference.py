"""Is this server dearer or slower than the reference workload under the same load?"""

from collections.abc import Iterator

from analyzer import theme
from analyzer.formatting import money, number
from analyzer.panels import View
from analyzer.schema import Analysis
from analyzer.tables.grid import Grid, columns
from analyzer.tables.runs import brief, parts, percentile
from analyzer.wording import plain

TITLE = "Reference"
ORDER = 40
KINDS = ("run",)


def tables(view: View) -> list[Grid]:
    """The phases of both, by their load: what stands next to each other ran under the most similar load."""
    rows = list(_rows(view.analysis, "this run"))
    if view.reference and view.reference is not view.analysis:
        rows += _rows(view.reference, theme.reference_name(view.reference))
    return [
        Grid(
            title="By load",
            columns=columns(">running", "phase", "of", ">$/1,000", ">TTFT p99", ">TPOT p50", ">output tokens/s"),
            rows=tuple(row for _, row in sorted(rows, key=lambda pair: -pair[0])),
        ),
    ]


def _rows(analysis: Analysis, whose: str) -> Iterator[tuple[float, tuple[str, ...]]]:
    for part in parts(analysis, "phases"):
        if part.latency is None or not part.latency.requests_running:
            continue
        running = part.latency.requests_running
        yield (
            running,
            (
                number(running),
                plain(part.name or "", 40),
                plain(whose, 80),
                money(part.cost.usd_per_1000 if part.cost else None),
                brief(percentile(part.latency, "ttft_s", 0.99)),
                brief(percentile(part.latency, "tpot_s", 0.5)),
                number(part.latency.output_tokens_per_s),
            ),
        )
