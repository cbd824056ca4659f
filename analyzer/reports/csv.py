"""One long table for a spreadsheet: a row a figure, at full precision, with its unit.

Columns: source, section, name, measure, value, unit. An empty value was not measured. Text that a spreadsheet
would run as a formula begins with an apostrophe.
"""

import csv
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO, TypeAlias

from analyzer.reports._cells import cell
from analyzer.schema import (
    Analysis,
    Cost,
    CostWindow,
    LatencyStats,
    LatencyWindow,
    Service,
    SloWindow,
    UseWindow,
    VerdictWindow,
)

SUFFIX = ".csv"

#: Section, name, measure, value, unit.
_Row: TypeAlias = tuple[str, str, str, str | float | None, str]

_WHOLE = "all"

#: What a measure's name ends in → its unit; the first that fits is taken.
_UNITS = {
    "_bytes_per_s": "bytes/s",
    "_flops_per_byte": "FLOP/byte",
    "flops_per_s_p50": "FLOP/s",
    "bytes_per_s_p50": "bytes/s",
    "flops_p50": "FLOP",
    "bytes_p50": "bytes",
    "flops_per_s": "FLOP/s",
    "bytes_per_s": "bytes/s",
    "_ratio_p10": "ratio",
    "_ratio_p50": "ratio",
    "_ratio_p90": "ratio",
    "_tokens_per_s": "tokens/s",
    "_per_s": "1/s",
    "_ratio": "ratio",
    "_bytes": "bytes",
    "_watts": "W",
    "_hz": "Hz",
    "_celsius": "°C",
    "_s": "s",
    "share": "ratio",
    "confidence": "ratio",
    "coverage": "ratio",
    "usd": "USD",
    "usd_per_1000": "USD",
    "usd_per_1000_busy": "USD",
    "usd_per_1000_slo": "USD",
    "usd_per_million_tokens": "USD",
    "usd_per_million_input_tokens": "USD",
    "usd_per_million_output_tokens": "USD",
    "usd_per_gpu_hour": "USD",
    "joules_per_request": "J",
    "joules_per_1000": "J",
    "joules_per_output_token": "J",
}


def write(analyses: Sequence[Analysis], out: TextIO, *, full: bool) -> None:
    """Write the figures of the whole and of each phase; with ``full`` those of each window and step too."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("source", "section", "name", "measure", "value", "unit"))
    for analysis in analyses:
        for row in _rows(analysis, full=full):
            writer.writerow([cell(value) for value in (analysis.source.name, *row)])


def _rows(analysis: Analysis, *, full: bool) -> Iterator[_Row]:
    yield from _fields("source", analysis.source.kind, analysis.source)
    yield from _fields("quality", _WHOLE, analysis.quality)
    for loss in analysis.quality.losses:
        yield "quality", loss.kind, "left out", loss.count, ""
    yield from _fields("verdict", _WHOLE, analysis.verdict)
    for share in analysis.verdict.shares:
        yield from _fields("share", share.bottleneck, share)
        for fact in share.evidence:
            yield "evidence", share.bottleneck, fact.measure, fact.value, fact.unit
    yield from _hardware(analysis)
    yield from _work(analysis, full=full)
    if analysis.rank is not None:
        yield from _fields("rank", f"rank {analysis.rank.rank}", analysis.rank)
    if analysis.latency is not None:
        yield from _fields("latency", _WHOLE, analysis.latency)
        yield from _window(_WHOLE, analysis.latency.overall)
    yield from _promise(analysis.slo)
    if analysis.cost is not None:
        yield from _window(_WHOLE, analysis.cost.overall)
        yield from _bill(analysis.cost)
    for part in (analysis.verdict, analysis.budget, analysis.latency, analysis.slo, analysis.cost):
        windows = (*part.phases, *(part.windows if full else ())) if part else ()
        for window in windows:
            place_s = window.start_s - analysis.source.started_s
            yield from _window(window.name or f"window at {place_s:.1f} s", window)


def _bill(cost: Cost) -> Iterator[_Row]:
    """What was billed, by what it paid for, and the price."""
    if cost.price is not None:
        yield from _fields("price", _WHOLE, cost.price)
    if cost.invoice is not None:
        yield "invoice", _WHOLE, "usd", cost.invoice.usd, "USD"
        for part in cost.invoice.parts:
            yield "invoice", part.part, "usd", part.usd, "USD"
            yield "invoice", part.part, "seconds", part.seconds, "s"
    for offer in cost.offers:
        name = f"{offer.price.provider} {offer.price.market} {offer.price.region} {offer.price.sku}"
        yield "offer", name, "usd_per_1000", offer.usd_per_1000, "USD"
    for warning in cost.warnings:
        yield "cost", _WHOLE, "warning", warning, ""


def _hardware(analysis: Analysis) -> Iterator[_Row]:
    for device in analysis.budget.devices if analysis.budget else ():
        yield from _fields("budget", f"GPU {device.device}", device)
        yield from _causes(f"GPU {device.device}", device.idle)
        for stream in device.streams:
            yield from _fields("stream", f"GPU {device.device} stream {stream.stream}", stream)
    for gpu in analysis.budget.gpus if analysis.budget else ():
        yield from _means(f"GPU {gpu.device}", gpu.means)


def _causes(name: str, idle: Mapping[str, float]) -> Iterator[_Row]:
    for cause, seconds in idle.items():
        yield "idle", name, cause, seconds, "s"


def _work(analysis: Analysis, *, full: bool) -> Iterator[_Row]:
    if analysis.steps is not None:
        yield from _fields("steps", _WHOLE, analysis.steps)
    for group in analysis.steps.groups if analysis.steps else ():
        yield from _fields("steps", group.phase, group)
        yield from _causes(group.phase, group.idle)
    for index, step in enumerate(analysis.steps.steps if full and analysis.steps else ()):
        yield from _fields("step", str(index), step)
    for kernel in analysis.kernels or ():
        yield from _fields("kernel", kernel.name, kernel)
    if analysis.roofline is not None:
        for family in analysis.roofline.families:
            yield from _fields("roofline", family.family, family)
        for phase in analysis.roofline.steps:
            yield from _fields("roofline", f"{phase.phase} steps", phase)
    for frame in analysis.stacks or ():
        yield from _fields("stack", f"{frame.thread}: {frame.name}", frame)


def _promise(service: Service | None) -> Iterator[_Row]:
    """Targets, and how the whole run kept them."""
    if service is None:
        return
    yield from _fields("slo", service.slo.name, service.slo)
    for measure, limit in service.slo.limits_s.items():
        yield "slo", service.slo.name, f"limit of {measure}", limit, "s"
    yield from _fields("slo", _WHOLE, service)
    yield from _window(_WHOLE, service.overall)


def _window(name: str, window: VerdictWindow | UseWindow | LatencyWindow | SloWindow | CostWindow) -> Iterator[_Row]:
    """What was concluded about one part of a run."""
    match window:
        case VerdictWindow():
            yield from _fields("verdict", name, window)
            for bottleneck, share in window.shares.items():
                yield "verdict", name, f"share of {bottleneck}", share, "ratio"
        case UseWindow():
            yield from _means(name, window.means)
        case SloWindow():
            yield from _fields("slo", name, window)
        case CostWindow():
            yield from _fields("cost", name, window)
        case LatencyWindow():
            yield from _fields("latency", name, window)
            for stats in window.stats:
                yield from _percentiles(name, stats)


def _percentiles(name: str, stats: LatencyStats) -> Iterator[_Row]:
    section = f"latency from {stats.origin}"
    yield from _fields(section, f"{name}: {stats.measure}", stats)
    for item in stats.percentiles:
        title = f"p{100 * item.q:g}"
        yield section, f"{name}: {stats.measure}", f"{title}_s", item.value_s, "s"
        yield section, f"{name}: {stats.measure}", f"{title}_low_s", item.low_s, "s"
        yield section, f"{name}: {stats.measure}", f"{title}_high_s", item.high_s, "s"


def _means(name: str, means: Mapping[str, float | None]) -> Iterator[_Row]:
    for quantity, mean in means.items():
        yield "utilization", name, quantity, mean, _unit(quantity)


def _fields(section: str, name: str, item: Any) -> Iterator[_Row]:  # noqa: ANN401 - any dataclass of the schema
    """The plain fields of a conclusion: its figures and its words; what is nested has rows of its own."""
    for field in dataclasses.fields(item):
        value = getattr(item, field.name)
        if field.name != "name" and isinstance(value, str | float | int | None):
            yield section, name, field.name, value, _unit(field.name)


def _unit(measure: str) -> str:
    return next((unit for suffix, unit in _UNITS.items() if measure.endswith(suffix)), "")
