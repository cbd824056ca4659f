"""Findings become a verdict: shares of wall time that sum to one, ranked by what could be won back.

The headline is the class with the most recoverable time. A class of which less than ``MATERIAL_RATIO`` of the
wall time is recoverable is not a headline; where every class is that close to its limit, the largest share is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from analyzer import rules
from analyzer.columns import Bool
from analyzer.evidence import PARTS, CannotTell, Evidence, Fact, Finding
from analyzer.schema import Share, Verdict, VerdictWindow
from collector.plugins import discover

#: An impact below this share of the wall time is no headline (TensorRT-LLM's host-overhead rules: 5 % of wall).
MATERIAL_RATIO = 0.05
#: With more than this share unexplained, or less than this share of the record usable, no bottleneck is named.
ABSTAIN_RATIO = 0.5

#: A rest below this share of the time is the rounding of the sums before it.
_ROUNDING = 1e-9
#: Parts that may stay unclaimed, for want of evidence.
_OPEN_PARTS = ("busy_other", "idle_device", "idle_starved", "idle_unknown")


def judge(
    evidence: Evidence,
    phases: Sequence[tuple[str, Bool]] = (),
    coverage: float = 1.0,
    least_coverage: float = ABSTAIN_RATIO,
) -> Verdict:
    """The verdict on all windows together, on each phase of a run, and on each of its windows.

    Args:
        evidence: From ``analyzer.evidence``.
        phases: Name of each phase and the windows that belong to it, shape (n,).
        coverage: Share of what should have been observed that was; it scales the confidence.
        least_coverage: With less than this no bottleneck is named.
    """
    case = _Case.of(evidence, discover(rules))
    every = np.ones(len(evidence.start_ns), bool)
    headline = case.headline(every)
    if headline.abstained is None and coverage < least_coverage:
        headline = _Headline("unknown", 0.0, f"only {100 * coverage:.0f} % of the time can be judged", None)
    rows = np.arange(len(every))
    return Verdict(
        bottleneck=headline.bottleneck,
        confidence=headline.confidence * coverage,
        abstained=headline.abstained,
        shares=case.shares(every),
        runner_up=headline.runner_up,
        phases=tuple(case.window(name, mask) for name, mask in phases),
        windows=tuple(case.window(None, rows == row) for row in rows) if evidence.kind == "samples" else (),
    )


def abstention(reason: str) -> Verdict:
    """The verdict where there is nothing to judge."""
    return Verdict(bottleneck="unknown", confidence=0.0, abstained=reason, shares=())


@dataclass(frozen=True)
class _Headline:
    bottleneck: str
    confidence: float
    abstained: str | None
    runner_up: str | None


@dataclass(frozen=True)
class _Case:
    """The evidence with every rule's answer to it."""

    evidence: Evidence
    rules: Mapping[str, ModuleType]
    findings: Mapping[str, Finding]

    @classmethod
    def of(cls, evidence: Evidence, plugins: Mapping[str, ModuleType]) -> "_Case":
        findings: dict[str, Finding] = {}
        for name, rule in plugins.items():
            try:
                finding = rule.check(evidence)
            except CannotTell:
                continue
            if finding is not None:
                findings[name] = finding
        return cls(evidence, plugins, findings)

    def seconds(self, mask: Bool) -> dict[str, tuple[float, float]]:
        """Class → seconds claimed and seconds recoverable in the windows; ``unknown`` holds the rest."""
        observed = float(self.evidence.observed_s[mask].sum())
        held = {
            name: (float(finding.claimed_s[mask].sum()), float(finding.recoverable_s[mask].sum()))
            for name, finding in self.findings.items()
        }
        rest = observed - sum(claimed for claimed, _ in held.values())
        rest = rest if rest > _ROUNDING * observed else 0.0
        return {name: pair for name, pair in held.items() if pair[0] > 0} | {"unknown": (rest, 0.0)}

    def headline(self, mask: Bool) -> _Headline:
        observed = float(self.evidence.observed_s[mask].sum())
        if not observed:
            return _Headline("unknown", 0.0, self._nothing(), None)
        seconds = self.seconds(mask)
        unknown = seconds.pop("unknown")[0] / observed
        if unknown > ABSTAIN_RATIO or not seconds:
            return _Headline("unknown", 0.0, self._why_unknown(unknown, mask), None)
        material = max(recoverable for _, recoverable in seconds.values()) >= MATERIAL_RATIO * observed
        ranked = sorted(seconds, key=lambda name: (-seconds[name][1 if material else 0], -seconds[name][0]))
        confidence = self.findings[ranked[0]].confidence * (1 - unknown)
        return _Headline(ranked[0], confidence, None, ranked[1] if len(ranked) > 1 else None)

    def shares(self, mask: Bool) -> tuple[Share, ...]:
        observed = float(self.evidence.observed_s[mask].sum())
        seconds = self.seconds(mask) if observed else {}
        found = [
            Share(
                bottleneck=name,
                share=claimed / observed,
                recoverable_s=recoverable,
                gain_ceiling_ratio=observed / (observed - recoverable) if recoverable < observed else None,
                evidence=self._facts(name) if name in self.findings else self._leftovers(observed, mask),
                remedy=self.rules[name].REMEDY if name in self.rules else _UNKNOWN_REMEDY,
            )
            for name, (claimed, recoverable) in seconds.items()
            if claimed > 0
        ]
        return tuple(sorted(found, key=lambda share: (-share.recoverable_s, -share.share)))

    def _facts(self, name: str) -> tuple[Fact, ...]:
        """A finding's evidence, what was observed first."""
        return tuple(sorted(self.findings[name].evidence, key=lambda fact: fact.value is None))

    def window(self, name: str | None, mask: Bool) -> VerdictWindow:
        headline = self.headline(mask)
        observed = float(self.evidence.observed_s[mask].sum())
        start, end = self.evidence.start_ns[mask], self.evidence.end_ns[mask]
        return VerdictWindow(
            name=name,
            start_s=int(start.min()) / 1e9 if len(start) else 0.0,
            end_s=int(end.max()) / 1e9 if len(end) else 0.0,
            bottleneck=headline.bottleneck,
            confidence=headline.confidence,
            abstained=headline.abstained,
            shares={name: claimed / observed for name, (claimed, _) in self.seconds(mask).items() if claimed > 0}
            if observed
            else {},
        )

    def _nothing(self) -> str:
        return self.evidence.missing.get("gpu", "no GPU reading falls into this window")

    def _unclaimed(self, mask: Bool) -> dict[str, float]:
        """Seconds of the parts that stay unknown, largest first."""
        starved = {"host_overhead", "cpu_preprocessing"} & self.findings.keys()
        seconds = {
            part: float(self.evidence.parts[part][mask].sum())
            for part in _OPEN_PARTS
            if part in self.evidence.parts and not (part == "idle_starved" and starved)
        }
        return {part: held for part, held in sorted(seconds.items(), key=lambda item: -item[1]) if held > 0}

    def _why_unknown(self, unknown: float, mask: Bool) -> str:
        """The largest unexplained part, and what would have explained it."""
        part = next(iter(self._unclaimed(mask)), None)
        if part is None:
            return f"{100 * unknown:.0f} % of the time is unexplained"
        missing = self.evidence.missing.get(part)
        return f"{100 * unknown:.0f} % of the time is unexplained, most of it {PARTS[part]}" + (
            f" ({missing})" if missing else ""
        )

    def _leftovers(self, observed: float, mask: Bool) -> tuple[Fact, ...]:
        """What the unknown share is made of, and what is missing to explain it."""
        return tuple(
            Fact(
                measure=PARTS[part],
                value=held / observed,
                threshold=self.evidence.missing.get(part, "no rule claims it"),
                where=self.evidence.device_source,
            )
            for part, held in self._unclaimed(mask).items()
        )


_UNKNOWN_REMEDY = "Record the evidence that is missing, then look again."
