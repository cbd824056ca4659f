"""Load what an extra brings, or say which extra to install."""

import importlib
from types import ModuleType

_OURS = ("inferometer", "collector", "analyzer", "dashboard")


class MissingExtraError(ImportError):
    """A command needs an extra that is not installed; the message is the sentence to show."""


def import_extra(module: str, extra: str) -> ModuleType:
    """Import one of our modules whose dependencies come with an extra.

    Args:
        module: Its dotted name, such as ``analyzer.pipeline``.
        extra: The extra that brings its dependencies.

    Raises:
        MissingExtraError: A dependency is not installed. A missing module of our own is a fault of ours and
            passes through unchanged.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _OURS:
            raise
        raise MissingExtraError(
            f"{missing} is not installed; it comes with the {extra} extra: pip install 'inferometer[{extra}]'",
        ) from error
