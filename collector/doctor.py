"""Run every check, and say whether a verdict is possible here.

Checks run side by side on threads of their own, so that a driver or a disk that hangs costs its own findings and
nobody's patience.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import ModuleType

from collector import checks
from collector.checks import Finding, Topic
from collector.checks._world import PATIENCE_S, World, look
from collector.options import Options
from collector.plugins import discover
from collector.schema import Absent, Sample

SCHEMA_VERSION = 1

#: Checks without which nothing is known that a verdict needs.
_VERDICT = frozenset({"gpu", "serving"})


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One quantity of one subject, as it was read, or why it was not."""

    source: str
    subject: str
    quantity: str
    value: float | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What ``inferometer doctor --format json`` prints; a key that does not apply is null, never missing."""

    schema_version: int = SCHEMA_VERSION
    #: Whether everything is there that a verdict needs.
    verdict_possible: bool
    #: The same in one sentence, with what is missing.
    summary: str
    #: What was looked for, by check.
    findings: tuple[Finding, ...]
    #: Every quantity that the sources would read.
    metrics: tuple[Metric, ...]


def examine(options: Options, world: World | None = None, plugins: Mapping[str, ModuleType] | None = None) -> Report:
    """Look at everything once.

    Args:
        options: What the collector would be told.
        world: What to look at; what ``look`` finds unless told.
        plugins: The checks; all of them unless told.

    Raises:
        UserError: The endpoint or the engine cannot be one.
    """
    world = world or look(options)
    running = [_Running(name, module, world) for name, module in (plugins or discover(checks)).items()]
    for each in running:
        each.start()
    ends = time.monotonic() + PATIENCE_S
    for each in running:
        each.join(max(0.0, ends - time.monotonic()))
    findings = tuple(finding for each in running for finding in each.findings())
    lacking = [finding for finding in findings if finding.needed_for == "verdict" and finding.state == "missing"]
    poorer = [finding for finding in findings if finding.needed_for == "verdict" and finding.state == "degraded"]
    return Report(
        verdict_possible=not lacking,
        summary=_summary(lacking, poorer),
        findings=findings,
        metrics=tuple(metric for each in running for sample in each.samples() for metric in _metrics(sample)),
    )


def titles() -> dict[str, str]:
    """What each check is called in front of a person, by its name."""
    return {name: module.TITLE for name, module in discover(checks).items()}


class _Running(threading.Thread):
    """One check at work; a daemon, because one that hangs must not keep the program from ending."""

    def __init__(self, check: str, module: ModuleType, world: World) -> None:
        super().__init__(name=f"check-{check}", daemon=True)
        self._check, self._module, self._world = check, module, world
        self._found: list[Finding | Sample] = []
        self._fault: Exception | None = None

    def run(self) -> None:
        try:
            for each in self._module.check(self._world):
                self._found.append(each)
        except Exception as fault:  # noqa: BLE001 - raised where it is waited for
            self._fault = fault

    def findings(self) -> list[Finding]:
        """What was found so far; that it hangs is a finding, a fault of ours is raised."""
        if self._fault is not None:
            raise self._fault
        found = [replace(each, check=self._check) for each in self._found if isinstance(each, Finding)]
        if self.is_alive():
            topic = Topic("hangs", self._check, "verdict" if self._check in _VERDICT else "optional")
            hung = f"the check did not come back within {PATIENCE_S:g} s"
            found.append(replace(topic.missing(hung, "the kernel log may say why (dmesg)"), check=self._check))
        return found

    def samples(self) -> list[Sample]:
        """What was read on the way."""
        return [each for each in self._found if isinstance(each, Sample)]


def _metrics(sample: Sample) -> list[Metric]:
    return [
        Metric(
            source=sample.source,
            subject=sample.subject,
            quantity=quantity,
            value=None if isinstance(value, Absent) else value,
            reason=value.reason if isinstance(value, Absent) else None,
        )
        for quantity, value in sample.values.items()
    ]


def _summary(lacking: list[Finding], poorer: list[Finding]) -> str:
    if lacking:
        return f"A verdict is not possible here; it lacks {_named(lacking)}."
    if poorer:
        return f"A verdict is possible, with less to go by: {_named(poorer)}."
    return "A verdict is possible: everything that it needs is there."


def _named(findings: list[Finding]) -> str:
    """The findings in a line, each reason once."""
    subjects: dict[str, list[str]] = {}
    for finding in findings:
        subjects.setdefault(finding.reason, []).append(finding.subject)
    return " · ".join(f"{', '.join(dict.fromkeys(named))}: {reason}" for reason, named in subjects.items())
