"""What did the kernels of each captured trace do?"""

from analyzer.panels import View
from analyzer.tables.every import devices, evidence, kernels, shares, steps
from analyzer.tables.grid import Grid

TITLE = "Traces"
ORDER = 50
KINDS = ("run", "trace")

_MOST_KERNELS = 20


def tables(view: View) -> list[Grid]:
    """What the verdict on the trace that is looked at rests on, its devices, its steps and its kernels."""
    analysis = view.analysis
    return [
        shares(analysis),
        evidence(analysis),
        devices(analysis),
        steps(analysis),
        kernels(analysis, _MOST_KERNELS),
    ]
