"""The card of a source: what holds it back and how surely, the GPU, the tail, the queue, the price, what to try."""

from statistics import fmean
from typing import Any

from dash import dcc, html

from analyzer.bottlenecks import bottleneck
from analyzer.formatting import MISSING, duration, number, per_thousand, percent
from analyzer.schema import Analysis, Cost, LatencyWindow, Verdict
from analyzer.tables.lines import remedy
from analyzer.tables.runs import brief, percentile
from analyzer.wording import plain
from dashboard.components import badge, bar, notice, stat
from dashboard.data import Entry, Shown
from dashboard.navigation import link


def card(entry: Entry, shown: Shown) -> html.Article:
    """One source's card; its name leads to it."""
    analysis = shown.view.analysis
    found = analysis.verdict
    return html.Article(
        [
            html.Div(
                [
                    dcc.Link(plain(entry.id, 60), href=link(entry.id)),
                    html.Span(_origin(analysis), className="faint"),
                    *([html.Span("live", className="live")] if shown.live else []),
                ],
                className="card-name",
            ),
            html.Div([_verdict(found), *_stats(analysis, shown.view.reference)], className="card-body"),
            bar(found.shares),
        ],
        className="card",
    )


def unreadable(entry: Entry, reason: str) -> html.Article:
    """The card of a source that cannot be read."""
    return html.Article(notice(f"{plain(entry.id, 60)} cannot be read", plain(reason)), className="card")


def _origin(analysis: Analysis) -> str:
    source = analysis.source
    words = (f"{source.kind} of {duration(source.duration_s)}", plain(source.engine or "", 40))
    return " · ".join(word for word in words if word)


def _verdict(found: Verdict) -> html.Div:
    """The answer to the first question, in the largest letters of the page."""
    if found.abstained is not None:
        unknown = bottleneck("unknown")
        words: list[Any] = [html.H2("cannot tell"), html.P(plain(found.abstained))]
        return html.Div([badge(unknown, size="large"), html.Div(words)], className="verdict")
    known = bottleneck(found.bottleneck)
    sure = f"confidence {found.confidence:.2f}"
    if found.runner_up:
        sure += f" · runner-up {bottleneck(found.runner_up).title}"
    words = [html.H2([known.title, html.Span(sure, className="sure")]), *(html.P(line) for line in remedy(found))]
    return html.Div([badge(known, size="large"), html.Div(words)], className="verdict")


def _stats(analysis: Analysis, reference: Analysis | None) -> list[html.Div]:
    stats = []
    if analysis.budget and analysis.budget.gpus:
        stats.append(_activity(analysis))
    elif analysis.budget and analysis.budget.span_s:
        busy = percent(analysis.budget.busy_s / analysis.budget.span_s)
        stats.append(stat("GPU busy", busy, f"of {duration(analysis.budget.span_s)}"))
    if analysis.latency:
        stats += [_tail(analysis.latency.overall), _queue(analysis.latency.overall)]
    if analysis.cost:
        stats.append(_cost(analysis.cost, analysis, reference))
    return stats


def _activity(analysis: Analysis) -> html.Div:
    """SM, tensor and DRAM, and NVML's figure behind them."""
    gpus = analysis.budget.gpus if analysis.budget else ()

    def mean(quantity: str) -> str:
        values = [value for gpu in gpus if (value := gpu.means.get(quantity)) is not None]
        return percent(fmean(values) if values else None)

    nvml = html.Span(["NVML says ", mean("gpu_utilization_ratio")], className="nvml")
    rest = f"tensor {mean('tensor_active_ratio')} · DRAM {mean('dram_active_ratio')}"
    return stat("SM active", mean("sm_active_ratio"), rest, html.Br(), nvml)


def _tail(overall: LatencyWindow) -> html.Div:
    first, whole = (brief(percentile(overall, measure, 0.99)) for measure in ("ttft_s", "e2e_latency_s"))
    stats = overall.stat("ttft_s") or overall.stat("e2e_latency_s")
    of = f"n {number(stats.n)}, from {stats.origin}" if stats else "not recorded"
    return stat("First token, p99", first, f"end to end {whole}", html.Br(), of)


def _queue(overall: LatencyWindow) -> html.Div:
    waiting, running = number(overall.requests_waiting), number(overall.requests_running)
    delay = duration(overall.queue_delay_s)
    return stat("Waiting, mean", waiting, f"{running} running", html.Br(), f"queue delay {delay}")


def _cost(cost: Cost, analysis: Analysis, reference: Analysis | None) -> html.Div:
    whole = cost.overall
    value = per_thousand(whole.usd_per_1000, missing=plain(whole.reason or MISSING, 60))
    busy = f"{per_thousand(whole.usd_per_1000_busy)} while busy"
    return stat("Cost", value, busy, html.Br(), _beside(analysis, reference))


def _beside(analysis: Analysis, reference: Analysis | None) -> str:
    if reference is None:
        return "no reference"
    if reference is analysis:
        return "this is the reference"
    usd = reference.cost.overall.usd_per_1000 if reference.cost else None
    return f"reference {per_thousand(usd)}"
