"""One file an inference engine: what its /metrics calls the quantities of the catalogue.

A plugin defines the names in ``CONTRACT``:

- ``RECOGNISED_BY``: a family whose presence on a page tells this engine from every other.
- ``FAMILIES``: metric family (as its ``# TYPE`` line names it) → quantity of the catalogue, or a tuple of ``Part``
  where the family is more than one quantity, in another unit, or needs its labels. Where several families give a
  quantity, the first listed that a page shows counts. ``a:b`` and ``a_b`` are one name: recording rules rewrite it.
- ``INFERENCE``: what its counters and histograms count as one inference, in a sentence for a person.
- ``LACKS``: quantity → why this engine does not show it, for a person. Together with ``FAMILIES`` it speaks of
  every quantity that any engine has.
- ``COPIES``: labels that number copies of one series (ranks that each report the whole); the lowest rank counts.
- ``ABOUT``: path → {key of the JSON object it answers: ``version``, ``model`` or the name of a setting}.
- ``SETTINGS``: an info family → its labels that are settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Part:
    """Some series of a family, and the quantity they are."""

    quantity: str
    #: Only series whose ``label`` has one of ``values``; "" takes every series.
    label: str = ""
    values: tuple[str, ...] = ()
    #: What a value is multiplied with to get the catalogue's unit.
    scale: float = 1.0
    #: ``sum`` or ``count`` of a histogram family, read as a counter.
    of: Literal["", "sum", "count"] = ""
    #: For a counter that sums durations: the counter of what was timed. Only the mean is known then, and the two
    #: make a histogram without a finite edge.
    counted_by: str = ""


class Plugin(Protocol):
    """What every plugin defines; the module's docstring says what each means."""

    RECOGNISED_BY: str
    FAMILIES: Mapping[str, str | tuple[Part, ...]]
    INFERENCE: str
    LACKS: Mapping[str, str]
    COPIES: tuple[str, ...]
    ABOUT: Mapping[str, Mapping[str, str]]
    SETTINGS: Mapping[str, tuple[str, ...]]

    def __hash__(self) -> int:
        """A plugin is itself and no other."""


CONTRACT = {
    "RECOGNISED_BY": str,
    "FAMILIES": dict,
    "INFERENCE": str,
    "LACKS": dict,
    "COPIES": tuple,
    "ABOUT": dict,
    "SETTINGS": dict,
}
