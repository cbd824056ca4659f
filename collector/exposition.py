"""What was read last, as Prometheus metrics by Prometheus' rules.

Prefix ``inferometer_``, base units in the name, counters end in ``_total``, ratios run from 0 to 1. A subject such as
``gpu:0/mig:3`` becomes labels ``gpu="0", mig="3"``. A value that is absent is not exported, nor is a subject that has
not been read for a while: a scrape never sees a stale number.
"""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from prometheus_client import Metric
from prometheus_client.registry import Collector

from collector import _dcgm
from collector.catalogue import CATALOGUE, Quantity
from collector.health import Clock, Health
from collector.price import Price
from collector.schema import Absent, Gpu, Histogram, Sample
from collector.store import Record

PREFIX = "inferometer_"

#: A value older than so many intervals of its source, and so many seconds at least, is not exported.
_STALE_INTERVALS, _STALE_S = 3, 10.0

#: How a name ends in the catalogue → how Prometheus spells it.
_ENDINGS = (("_per_s", "_per_second"), ("_hz", "_hertz"), ("_s", "_seconds"))
_TYPES = {"gauge": "gauge", "flag": "gauge", "counter": "counter", "histogram": "histogram"}


def metric_name(quantity: str) -> str:
    """The metric a quantity is exported as: ``sm_clock_hz`` → ``inferometer_sm_clock_hertz``."""
    for ending, spelled in _ENDINGS:
        if quantity.endswith(ending):
            return PREFIX + quantity.removesuffix(ending) + spelled
    return PREFIX + quantity


def labels(subject: str) -> dict[str, str]:
    """Labels of a subject: ``gpu:0/mig:3`` → ``{"gpu": "0", "mig": "3"}``; ``host`` has none."""
    pairs = (part.partition(":") for part in subject.split("/"))
    return {kind: value for kind, colon, value in pairs if colon}


@dataclass(eq=False)
class Exposition(Collector):
    """Holds the newest records and turns them into metric families when asked; safe to share between threads."""

    health: dict[str, Health] = field(default_factory=dict)
    gpus: tuple[Gpu, ...] = ()
    compat_dcgm: bool = False
    clock: Clock = field(default_factory=Clock)
    #: What the server costs; None where nobody gave a price, or nobody knows how many GPUs it has.
    price: Price | None = None
    _samples: dict[tuple[str, str], Sample] = field(default_factory=dict)
    _histograms: dict[tuple[str, str], Histogram] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def observe(self, records: Iterable[Record]) -> None:
        """Keep the newest of each subject."""
        records = list(records)
        with self._lock:
            if self.price is not None:
                self.price.observe(records)
            for record in records:
                if isinstance(record, Sample):
                    # A reading leaves out what is not due; what was read before still stands.
                    before = self._samples.get((record.source, record.subject), record)
                    merged = replace(record, values={**before.values, **record.values})
                    self._samples[record.source, record.subject] = merged
                elif isinstance(record, Histogram):
                    self._histograms[record.subject, record.quantity] = record
            fresh = self._fresh
            self._samples = {key: sample for key, sample in self._samples.items() if fresh(key[0], sample.t_ns)}
            self._histograms = {key: found for key, found in self._histograms.items() if fresh("serving", found.t_ns)}

    def collect(self) -> Iterator[Metric]:
        """Families of everything that is fresh, sorted by name."""
        with self._lock:
            samples, histograms = list(self._samples.values()), list(self._histograms.values())
            costs = list(self.price.families(self.clock.now_ns())) if self.price is not None else []
        families = {name: _family(CATALOGUE[name]) for name in _present(samples, histograms)}
        for sample in samples:
            for quantity, value in sample.values.items():
                if not isinstance(value, Absent):
                    suffix = "_total" if families[quantity].type == "counter" else ""
                    families[quantity].add_sample(families[quantity].name + suffix, labels(sample.subject), value)
        for histogram in histograms:
            _add_buckets(families[histogram.quantity], histogram)
        yield from (families[name] for name in sorted(families))
        yield from costs
        yield from self._info()
        if self.compat_dcgm:
            yield from _dcgm.families(samples, self.gpus)

    def _fresh(self, source: str, t_ns: int) -> bool:
        health = self.health.get(source, Health())
        interval_s = health.interval_s * health.slowdown
        # What was read later than now was read before the clock was set back.
        return abs(self.clock.now_ns() - t_ns) <= max(_STALE_S, _STALE_INTERVALS * interval_s) * 1e9

    def _info(self) -> Iterator[Metric]:
        """What never changes about a GPU, joined to its values by the label ``gpu``."""
        if self.gpus:
            family = Metric(f"{PREFIX}gpu", "What never changes about a GPU.", "info")
            for gpu in self.gpus:
                facts = {"uuid": gpu.uuid, "name": gpu.name, "driver_version": gpu.driver_version or ""}
                family.add_sample(f"{PREFIX}gpu_info", {"gpu": str(gpu.index), **facts}, 1)
            yield family


def _present(samples: Iterable[Sample], histograms: Iterable[Histogram]) -> set[str]:
    sampled = {name for sample in samples for name, value in sample.values.items() if not isinstance(value, Absent)}
    return sampled | {histogram.quantity for histogram in histograms}


def _family(quantity: Quantity) -> Metric:
    name = metric_name(quantity.name)
    if quantity.kind == "counter":
        name = name.removesuffix("_total")
    return Metric(name, quantity.meaning, _TYPES[quantity.kind])


def _add_buckets(family: Metric, histogram: Histogram) -> None:
    own = labels(histogram.subject)
    for edge, count in zip((*map(_edge, histogram.edges), "+Inf"), histogram.cumulative, strict=True):
        family.add_sample(f"{family.name}_bucket", {**own, "le": edge}, count)
    family.add_sample(f"{family.name}_count", own, histogram.cumulative[-1])
    family.add_sample(f"{family.name}_sum", own, histogram.sum)


def _edge(edge: float) -> str:
    return repr(float(edge))
