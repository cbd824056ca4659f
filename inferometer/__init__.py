"""Inferometer: why is this GPU not earning its money?

The front door. Import it from a notebook to get the same answers as the command line::

    import inferometer

    analysis = inferometer.analyze("sample_traces/vllm_h200")
    print(analysis.verdict.bottleneck, analysis.cost.overall.usd_per_1000)

Nothing heavy is loaded until a name is used; what is missing is named with its install line.
"""

from typing import TYPE_CHECKING, Any

from inferometer._extras import import_extra

if TYPE_CHECKING:
    from analyzer.pipeline import analyze, load
    from collector.store import RunReader, RunWriter

__all__ = ["RunReader", "RunWriter", "__version__", "analyze", "load"]

__version__ = "0.1.0"

_HOME = {
    "analyze": ("analyzer.pipeline", "analyzer"),
    "load": ("analyzer.pipeline", "analyzer"),
    "RunReader": ("collector.store", "collector"),
    "RunWriter": ("collector.store", "collector"),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attributes are of any type
    """Load a public name when it is first used (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, extra = _HOME[name]
    return getattr(import_extra(module, extra), name)
