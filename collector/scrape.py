"""Turn one page of an inference server's ``/metrics`` into Samples and Histograms. Pure: no network, no clock.

A family's type comes from its ``# TYPE`` line, never from its name: a name that ends in ``_total`` may be a
histogram. Only the families that the engine's plugin maps are parsed, a tenth of a page or so.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from statistics import fmean
from types import ModuleType

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from collector import engines
from collector.catalogue import CATALOGUE
from collector.errors import UserError
from collector.plugins import discover
from collector.schema import Absent, Histogram, Sample

SOURCE = "serving"
SUBJECT = "engine:0"

#: A page of a server with hundreds of LoRA adapters stays far below this many characters.
LARGEST_PAGE = 16_000_000

_SUFFIXES = ("", "_bucket", "_sum", "_count")
_TYPE = re.compile(r"# TYPE (\S+)")
_NAME = re.compile(r"[^\s{]+")


def decode(page: str, t_ns: int) -> tuple[str, list[Sample], list[Histogram]]:
    """The engine's name, one Sample of the source ``serving``, and the Histograms on a page of metrics.

    The series of a family (one an engine rank or server process) are added up; ratios are averaged, because
    two caches each half full are half full. Where an engine has two names for a quantity and a page shows
    both, the one its plugin lists first counts. A sampled quantity that the page lacks is Absent. A histogram
    that is not whole is left out.

    Args:
        page: In Prometheus' text format.
        t_ns: When it was read.

    Raises:
        UserError: The page is larger than ``LARGEST_PAGE``, is malformed, or is from no known engine.
    """
    if len(page) > LARGEST_PAGE:
        raise UserError(f"a page of metrics of {len(page):,} characters is too large; check the server's labels")
    name, engine = _engine(page)
    families = _families(page, engine)
    values = _values(name, engine, families)
    try:
        histograms = list(_histograms(engine, families, t_ns))
    except (KeyError, ValueError) as error:
        raise UserError(f"a histogram has a bucket without an edge ({error}); check the server") from error
    return name, [Sample(t_ns=t_ns, source=SOURCE, subject=SUBJECT, values=values)], histograms


@cache
def _engines() -> dict[str, ModuleType]:
    return discover(engines)


def _engine(page: str) -> tuple[str, ModuleType]:
    for name, engine in _engines().items():
        if re.search(rf"^# TYPE {re.escape(engine.RECOGNISED_BY)}\s", page, re.MULTILINE):
            return name, engine
    known = ", ".join(_engines())
    raise UserError(f"these are not the metrics of an engine known here ({known}); check the address of the server")


def _families(page: str, engine: ModuleType) -> dict[str, Metric]:
    """The families that the engine's plugin maps, by the name on their ``# TYPE`` line."""
    mapped = {*engine.FAMILIES, *engine.COUNTERS_BY_LABEL}
    try:
        parsed = list(text_string_to_metric_families("\n".join(_lines(page, mapped))))
    except (ValueError, IndexError) as error:
        raise UserError(f"these metrics are malformed ({error}); check the address of the server") from error
    # The parser takes ``_total`` off the name of a counter.
    return {metric.name if metric.name in mapped else f"{metric.name}_total": metric for metric in parsed}


def _lines(page: str, families: Iterable[str]) -> Iterator[str]:
    """The lines that are about some families. Parsing is what costs, so it gets only these."""
    samples = {f"{family}{suffix}" for family in families for suffix in _SUFFIXES}
    for line in page.splitlines():
        named = _TYPE.match(line)
        if named:
            if named[1] in families:
                yield line
        elif (named := _NAME.match(line)) and named[0] in samples:
            yield line


def _values(name: str, engine: ModuleType, families: Mapping[str, Metric]) -> dict[str, float | Absent]:
    """Sampled quantities and their values."""
    values: dict[str, float | Absent] = {}
    lacking: dict[str, Absent] = {}
    for family, quantity in engine.FAMILIES.items():
        if CATALOGUE[quantity].kind == "histogram" or quantity in values:
            continue
        series = [sample.value for sample in families[family].samples] if family in families else []
        if series:
            values[quantity] = _value(family, fmean(series) if CATALOGUE[quantity].unit == "ratio" else sum(series))
        else:
            lacking.setdefault(quantity, Absent(f"{name}'s /metrics shows no {family}"))
    for family, (label, quantities) in engine.COUNTERS_BY_LABEL.items():
        counted: dict[str, float] = defaultdict(float)
        for sample in families[family].samples if family in families else ():
            if quantity := quantities.get(sample.labels.get(label)):
                counted[quantity] += sample.value
        values |= {quantity: _value(family, count) for quantity, count in counted.items()}
        lacking |= dict.fromkeys(quantities.values(), Absent(f"{name}'s /metrics shows no {family}"))
    return lacking | values


def _value(family: str, value: float) -> float | Absent:
    return value if math.isfinite(value) else Absent(f"{family} is {value}")


def _histograms(engine: ModuleType, families: Mapping[str, Metric], t_ns: int) -> Iterator[Histogram]:
    seen = set()
    for family, quantity in engine.FAMILIES.items():
        metric = families.get(family)
        if metric is None or metric.type != "histogram" or CATALOGUE[quantity].kind != "histogram":
            continue
        histogram = None if quantity in seen else _histogram(metric, quantity, t_ns)
        if histogram:
            seen.add(quantity)
            yield histogram


def _histogram(metric: Metric, quantity: str, t_ns: int) -> Histogram | None:
    """The series of a family as one histogram on the edges they share; None if one of them is not whole."""
    counts: dict[tuple[tuple[str, str], ...], dict[float, float]] = defaultdict(dict)
    total = 0.0
    for sample in metric.samples:
        if sample.name.endswith("_bucket"):
            series = tuple(sorted((label, text) for label, text in sample.labels.items() if label != "le"))
            counts[series][float(sample.labels["le"])] = sample.value
        elif sample.name.endswith("_sum"):
            total += sample.value
    edges = sorted(set.intersection(*(set(buckets) for buckets in counts.values()))) if counts else []
    cumulative = tuple(sum(buckets[edge] for buckets in counts.values()) for edge in edges)
    if not edges or edges[-1] != math.inf or not all(map(math.isfinite, (*cumulative, total))):
        return None
    return Histogram(
        t_ns=t_ns, subject=SUBJECT, quantity=quantity, edges=tuple(edges[:-1]), cumulative=cumulative, sum=total
    )
