"""One file a picture: a pure figure over what was concluded, shown by the HTML report and the dashboard alike.

A plugin's docstring says what the picture shows and how to read it. It defines the names in ``CONTRACT``:

- ``TITLE``: what stands above it.
- ``ORDER``: its place from the top; verdict first, then evidence, then money.
- ``KIND``: ``run`` or ``trace``: the kind of source it draws.
- ``figure(view)``: the figure. Draws "no data" and "cannot tell" as themselves, never as zero.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from analyzer.schema import Analysis

CONTRACT = {"TITLE": str, "ORDER": int, "KIND": str, "figure": Callable}


@dataclass(frozen=True, kw_only=True)
class View:
    """What a panel may look at."""

    analysis: Analysis
    #: The reference workload to draw beside it; None where there is none, or it is the source itself.
    reference: Analysis | None = None
    #: Source → its samples at a resolution fit for drawing: ``t_ns``, ``subject``, one column a quantity.
    samples: Mapping[str, pd.DataFrame] = field(default_factory=dict)
