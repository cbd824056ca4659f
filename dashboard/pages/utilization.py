"""What did the GPU do, and what does the verdict rest on?"""

from analyzer.panels import View
from analyzer.tables.every import evidence, gpus, shares
from analyzer.tables.grid import Grid
from analyzer.tables.runs import overview

TITLE = "Utilization"
ORDER = 10
KINDS = ("run",)


def tables(view: View) -> list[Grid]:
    """The phases side by side, the shares and their evidence, the readings of each GPU."""
    analysis = view.analysis
    return [overview(analysis, "phases"), shares(analysis), evidence(analysis), gpus(analysis)]
