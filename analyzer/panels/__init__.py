"""One file a picture: a pure figure over what was concluded, for the HTML report and the dashboard alike.

A plugin's docstring says what the picture shows and how to read it. It defines the names in ``CONTRACT``:

- ``TITLE``: what stands above it. The first paragraph of its docstring stands beneath: how to read it.
- ``ORDER``: its place from the top; verdict first, then evidence, then money.
- ``KIND``: ``run`` or ``trace``: the kind of source it draws.
- ``PAGE``: the dashboard's page that shows it, by the name of its file; ``overview`` is above all of them.
- ``figure(view)``: the figure. Draws "no data" and "cannot tell" as themselves, never as zero.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analyzer.schema import Analysis
from collector.schema import Event

if TYPE_CHECKING:
    import pandas as pd  # 0.3 s, and a trace needs none

CONTRACT = {"TITLE": str, "ORDER": int, "KIND": str, "PAGE": str, "figure": Callable}


@dataclass(frozen=True, kw_only=True)
class View:
    """What a panel may look at."""

    analysis: Analysis
    #: The reference workload to draw beside it; None where there is none.
    reference: Analysis | None = None
    #: Source → its samples at a resolution fit for drawing: ``t_ns``, ``subject``, one column a quantity.
    samples: "Mapping[str, pd.DataFrame]" = field(default_factory=dict)
    #: What happened meanwhile: captures are shaded, marks stand beneath the verdict.
    events: tuple[Event, ...] = ()
