"""One file a check of ``inferometer doctor``: what can be measured here, and what would grant the rest.

The file's name is the check's name. A plugin's docstring says what it looks at. It defines the names in ``CONTRACT``:

- ``TITLE``: the heading of its findings, for a person.
- ``check(world)``: yields a ``Finding`` for each thing that was looked for, found or not, and the ``Sample``s that it
  read on the way, which make the list of every metric.

A check asks a source for what the source would read, and reports the reasons that the source gives: they are the
truth, and only what no source knows is looked at here. It starts no process, changes nothing on the server, and
leaves no file behind. Nothing that it reads is trusted: a sentence for a person is made plain where it is shown.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from collector.schema import Sample

CONTRACT = {"TITLE": str, "check": Callable}

State: TypeAlias = Literal["ok", "degraded", "missing"]
Need: TypeAlias = Literal["verdict", "optional"]
#: What evidence may be: what JSON has.
Evidence: TypeAlias = str | int | float | bool | tuple[str, ...] | Mapping[str, str] | None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked for."""

    #: The check that looked; the runner fills it in.
    check: str = ""
    #: What was looked for: a name that stays the same from version to version.
    name: str
    #: Of what: ``gpu:0``, ``engine:0``, ``server``, ``host``, …
    subject: str
    #: ``degraded`` is there in part, or cannot be told.
    state: State
    #: A verdict abstains where something that it needs is missing; all else makes it richer.
    needed_for: Need = "optional"
    #: What is there, or why it is not; one sentence without a full stop.
    reason: str
    #: What exactly would grant it; None where nothing is to be done.
    remedy: str | None = None
    #: What the finding rests on.
    evidence: Mapping[str, Evidence] = field(default_factory=dict)


@dataclass(frozen=True)
class Topic:
    """One thing to look for, from which its findings are made."""

    name: str
    subject: str
    needed_for: Need = "optional"

    def ok(self, reason: str, **evidence: Evidence) -> Finding:
        """It is there."""
        return self._finding("ok", reason, None, evidence)

    def degraded(self, said: str, remedy: str | None = None, **evidence: Evidence) -> Finding:
        """It is there in part, or cannot be told; ``said`` as for ``missing``."""
        return self._finding("degraded", said, remedy, evidence)

    def missing(self, said: str, remedy: str | None = None, **evidence: Evidence) -> Finding:
        """It is not there. A sentence of a source holds its own remedy, behind a semicolon."""
        return self._finding("missing", said, remedy, evidence)

    def _finding(self, state: State, said: str, remedy: str | None, evidence: Mapping[str, Evidence]) -> Finding:
        reason, _, own = (said, "", "") if remedy or state == "ok" else said.partition("; ")
        return Finding(
            name=self.name,
            subject=self.subject,
            state=state,
            needed_for=self.needed_for,
            reason=reason,
            remedy=remedy or own or None,
            evidence=evidence,
        )


#: What a check brings.
Found: TypeAlias = Iterable[Finding | Sample]
