"""Where the wall time went, and what was observed beside it: one shape for a trace and for a run.

Every window's seconds are split into disjoint ``PARTS``, so that rules can claim them without overlap and the
shares of a verdict sum to one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from analyzer.columns import Bool, Float64, Int64

#: The parts, in words.
PARTS = {
    "compute_bound": "busy with work under the compute roof",
    "memory_bound": "busy with work under the memory roof",
    "busy_other": "busy with work of which the roof is not known, or near neither roof",
    "exposed_communication": "collectives that no computation hides",
    "exposed_copy": "copies that no computation hides",
    "idle_starved": "idle while requests were being served: the host had not launched the next work",
    "idle_no_demand": "idle while no request was there",
    "idle_device": "idle although the next work had been launched: the device waited for itself",
    "idle_unknown": "idle for a cause the evidence does not show",
}

#: A process that keeps one core this busy queues work itself: an M/M/1 queue at 0.8 waits four service times, and
#: one Python interpreter has one core.
FRONT_END_SATURATED_CORES = 0.8

#: From this mean number of waiting requests on, there was always one that a larger batch could have taken.
QUEUE_REQUESTS = 1.0


class CannotTell(Exception):  # noqa: N818 - an answer, not an error
    """The evidence does not suffice; the message says which is missing."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Where the wall time of each window went, and what was observed beside it: all a rule may look at.

    A trace and a run give the same shape, so a rule is written once. ``parts`` is a partition: in every window
    the parts add up to the window's observed seconds, averaged over the devices.
    """

    #: ``trace`` or ``samples``.
    kind: Literal["trace", "samples"]
    start_ns: Int64
    end_ns: Int64
    #: Part → seconds in each window, shape (n,). The parts are named in ``analyzer.evidence.PARTS``.
    parts: Mapping[str, Float64]
    #: Signal → its mean in each window, shape (n,), NaN where it was not observed.
    signals: Mapping[str, Float64]
    #: Signal → why it was not observed; part → why no rule could explain it.
    missing: Mapping[str, str]
    #: Tokens a step needs to leave the memory roof of this GPU; None where the GPU is not known.
    ridge_tokens: float | None = None

    def signal(self, name: str) -> Float64:
        """A signal in each window.

        Raises:
            CannotTell: It was not observed; the message says why.
        """
        if name not in self.signals:
            raise CannotTell(f"no {name}: {self.missing.get(name, 'not observed')}")
        return self.signals[name]

    def take(self, rows: "Bool | npt.NDArray[np.intp]") -> "Evidence":
        """The same evidence for some of the windows."""
        return Evidence(
            kind=self.kind,
            start_ns=self.start_ns[rows],
            end_ns=self.end_ns[rows],
            parts={name: values[rows] for name, values in self.parts.items()},
            signals={name: values[rows] for name, values in self.signals.items()},
            missing=self.missing,
            ridge_tokens=self.ridge_tokens,
        )

    @property
    def ridge_words(self) -> str:
        """The ridge for the threshold of a ``Fact``: ``206 tokens, this GPU's ridge``."""
        return "the GPU's ridge" if self.ridge_tokens is None else f"{self.ridge_tokens:.0f} tokens, this GPU's ridge"

    def mean(self, name: str, weights: Float64) -> float | None:
        """A signal's mean over the windows that have it, weighted; None where none that weighs has it."""
        values = self.signals.get(name, np.full(len(weights), np.nan))
        used = np.isfinite(values) & (weights > 0)
        return float(np.average(values[used], weights=weights[used])) if used.any() else None

    def headroom_s(self, claimed_s: Float64) -> Float64:
        """Of the claimed seconds, those the compute roof would leave, shape (n,); 0 where its use is unknown."""
        used = self.signals.get("compute_roof_ratio", np.ones(len(claimed_s)))
        return claimed_s * (1 - np.nan_to_num(used, nan=1.0))

    def clarity(self, claimed_s: Float64) -> float:
        """How clearly one roof was the nearer while the claimed seconds passed: 0.5 alike, 1 twice as near or more."""
        margin = self.mean("roof_margin", claimed_s)
        return 1.0 if margin is None else 0.5 + 0.5 * margin

    @property
    def device_source(self) -> str:
        """Where the figures about the GPU were read."""
        return {"trace": "kernels of the trace", "samples": "NVML samples"}[self.kind]

    def share_fact(self, measure: str, claimed_s: Float64, threshold: str) -> "Fact":
        """The claimed seconds as a share of what was observed."""
        value = float(claimed_s.sum() / self.observed_s.sum())
        return Fact(measure=measure, value=value, threshold=threshold, where=self.device_source)

    def device_fact(self, measure: str, signal: str, claimed_s: Float64, threshold: str) -> "Fact":
        """A ratio read from the GPU, its mean over the claimed seconds."""
        value = self.mean(signal, claimed_s)
        return Fact(measure=measure, value=value, threshold=threshold, where=self.device_source)

    def serving_fact(self, measure: str, signal: str, claimed_s: Float64, threshold: str, unit: str) -> "Fact":
        """A figure about requests or steps, its mean over the claimed seconds."""
        where = {"trace": "step marks of the trace", "samples": "the engine's /metrics"}[self.kind]
        return Fact(measure=measure, value=self.mean(signal, claimed_s), threshold=threshold, where=where, unit=unit)

    @property
    def observed_s(self) -> Float64:
        """Seconds of each window that the parts account for."""
        summed: Float64 = np.sum([np.zeros(len(self.start_ns)), *self.parts.values()], axis=0)
        return summed


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One piece of evidence: a measure, its value, what it is held against, and where it was read."""

    measure: str
    value: float | None
    #: What the value would have to pass for another conclusion, in words.
    threshold: str
    where: str
    #: ``ratio`` (0–1, shown as a percentage), ``tokens``, ``requests``, ``cores``, ``s``, …
    unit: str = "ratio"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one rule claims of each window. Rules claim disjoint parts, so claims never overlap."""

    #: Seconds of each window held back by this rule's class, shape (n,).
    claimed_s: Float64
    #: Of those, the most a remedy could win back.
    recoverable_s: Float64
    evidence: tuple[Fact, ...]
    #: How far this rule trusts its own claim, 0–1.
    confidence: float
