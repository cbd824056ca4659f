"""Turn one page of an inference server's ``/metrics`` into Samples and Histograms. Pure: no network, no clock.

A family's type comes from its ``# TYPE`` line, never from its name: a name that ends in ``_total`` may be a
histogram. Only the families that the engine's plugin maps are parsed, a tenth of a page or so.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from collector import dialects
from collector._page import Family, Labels, MalformedError, Page
from collector.catalogue import CATALOGUE
from collector.engines import Part, Plugin
from collector.errors import UserError
from collector.schema import Absent, Histogram, Sample

SOURCE = "serving"
SUBJECT = "engine:0"

#: A page of a server with hundreds of LoRA adapters stays far below this many characters.
LARGEST_PAGE = 16_000_000

_STARTED = "process_start_time_seconds"


@dataclass(frozen=True, kw_only=True)
class Scrape:
    """What one page says."""

    engine: str
    values: Mapping[str, float | Absent]
    histograms: tuple[Histogram, ...]
    #: When the server's process started, seconds since the epoch; None where it does not say, or there are several.
    started_s: float | None
    #: Processes of the server that each show series of their own, told apart by a label ``pid``; 0 without it.
    processes: int


def decode(page: str, t_ns: int) -> tuple[str, list[Sample], list[Histogram]]:
    """The engine's name, one Sample of the source ``serving``, and the Histograms on a page; see ``read``."""
    scrape = read(page, t_ns)
    sample = Sample(t_ns=t_ns, source=SOURCE, subject=SUBJECT, values=scrape.values)
    return scrape.engine, [sample], list(scrape.histograms)


def read(text: str, t_ns: int, chosen: tuple[str, Plugin] | None = None) -> Scrape:
    """What a page of metrics says, in the catalogue's words.

    The series of a family (one an engine rank or server process) are added up; ratios are averaged, because
    two caches each half full are half full. Where an engine has two names for a quantity and a page shows
    both, the one its plugin lists first counts. A sampled quantity that the page lacks is Absent. A histogram
    that is not whole is left out.

    Args:
        text: In Prometheus' text format.
        t_ns: When it was read.
        chosen: An engine's name and plugin; None recognises it.

    Raises:
        UserError: The page is larger than ``LARGEST_PAGE``, malformed, or not from that engine or from none known.
    """
    if len(text) > LARGEST_PAGE:
        raise UserError(
            f"a page of metrics of more than {LARGEST_PAGE:,} bytes is too large; check the server's labels"
        )
    page = Page(text)
    name, plugin = chosen or dialects.recognised(page)
    parts = dialects.parts(plugin)
    wanted = {_STARTED, *(family for family, _ in parts), *(part.counted_by for _, part in parts if part.counted_by)}
    try:
        families = page.families(wanted)
    except MalformedError as error:
        raise UserError(f"these metrics are malformed ({error}); check the address of the server") from error
    # Every Python server shows the families of its process.
    if all(family.startswith("process_") for family in families):
        raise UserError(f"the page shows none of the metrics of {name}; check the address of the server")
    started = families.get(_STARTED, Family("")).values[""]
    return Scrape(
        engine=name,
        values=_values(name, plugin, families),
        histograms=tuple(_histograms(plugin, families, t_ns)),
        started_s=next(iter(started.values())) if len(started) == 1 else None,
        processes=_processes(families),
    )


def _values(name: str, plugin: Plugin, families: Mapping[str, Family]) -> dict[str, float | Absent]:
    """Sampled quantities and their values."""
    values: dict[str, float | Absent] = {}
    lacking: dict[str, Absent] = {}
    for family, part in dialects.parts(plugin):
        if CATALOGUE[part.quantity].kind == "histogram" or part.quantity in values:
            continue
        series = families[family].values[f"_{part.of}" if part.of else ""] if family in families else {}
        if kept := _kept(series, part, plugin.COPIES):
            value = _total(part.quantity, {labels: series[labels] for labels in kept}) * part.scale
            values[part.quantity] = value if math.isfinite(value) else Absent(f"{family} is {value}")
        else:
            lacking.setdefault(part.quantity, Absent(f"{name}'s /metrics shows no {family}"))
    said = {each: Absent(why) for each, why in plugin.LACKS.items() if CATALOGUE[each].kind != "histogram"}
    return said | lacking | values


def _kept(series: Collection[Labels], part: Part, copies: Collection[str]) -> Collection[Labels]:
    """The series that a part asks for, each of them once."""
    if part.label:
        series = [labels for labels in series if dict(labels).get(part.label) in part.values]
    if not copies or len(series) <= 1:
        return series
    lowest: dict[Labels, tuple[list[str], Labels]] = {}
    for labels in series:
        whole = tuple(pair for pair in labels if pair[0] not in copies)
        # Filled up, so that rank 10 comes after rank 9.
        ranked = [value.rjust(6, "0") for label, value in labels if label in copies], labels
        lowest[whole] = min(lowest.get(whole, ranked), ranked)
    return [labels for _, labels in lowest.values()]


def _total(quantity: str, series: Mapping[Labels, float]) -> float:
    """Series as one number; one that is no number is the answer."""
    values = list(series.values())
    if unread := [value for value in values if not math.isfinite(value)]:
        return unread[0]
    if len(values) > 1 and CATALOGUE[quantity].kind != "counter":
        # Processes that share an engine each show its gauges, all but one of them as zero.
        engines_: dict[Labels, float] = {}
        for labels, value in series.items():
            engine = tuple(pair for pair in labels if pair[0] != "pid")
            engines_[engine] = max(engines_.get(engine, value), value)
        values = list(engines_.values())
    return sum(values) / len(values) if CATALOGUE[quantity].unit == "ratio" else sum(values)


def _processes(families: Mapping[str, Family]) -> int:
    series = (labels for family in families.values() for labels in family.values[""])
    return len({value for labels in series for label, value in labels if label == "pid"})


def _histograms(plugin: Plugin, families: Mapping[str, Family], t_ns: int) -> Iterator[Histogram]:
    seen = set()
    for name, part in dialects.parts(plugin):
        family = families.get(name)
        if family is None or CATALOGUE[part.quantity].kind != "histogram" or part.quantity in seen:
            continue
        counts, total = _counted(family, part, plugin.COPIES, families)
        edges = sorted(counts)
        cumulative = tuple(counts[edge] for edge in edges)
        whole = edges and edges[-1] == math.inf and list(cumulative) == sorted(cumulative)
        if whole and all(map(math.isfinite, (*cumulative, total))):
            seen.add(part.quantity)
            yield Histogram(
                t_ns=t_ns,
                subject=SUBJECT,
                quantity=part.quantity,
                edges=tuple(edge * part.scale for edge in edges[:-1]),
                cumulative=cumulative,
                sum=total * part.scale,
            )


def _counted(
    family: Family, part: Part, copies: Collection[str], families: Mapping[str, Family]
) -> tuple[dict[float, float], float]:
    """Observations at or below each edge that all series share, and their sum; NaN where it is not whole."""
    if family.kind == "histogram":
        buckets, sums = family.buckets, family.values["_sum"]
    else:
        timed = families.get(part.counted_by)
        if family.kind == "summary":
            counts, sums = family.values["_count"], family.values["_sum"]
        elif part.counted_by and timed is not None:
            counts, sums = timed.values[""], family.values[""]
        else:
            return {}, math.nan
        buckets = {labels: {math.inf: count} for labels, count in counts.items()}
    kept = _kept(buckets, part, copies)
    edges = set.intersection(*(set(buckets[labels]) for labels in kept)) if kept else set()
    total = sum(sums.get(labels, math.nan) for labels in kept)
    return {edge: sum(buckets[labels][edge] for labels in kept) for edge in edges}, total
