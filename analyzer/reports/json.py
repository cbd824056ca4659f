"""The analysis as JSON: one object for one source, an array for several; what is not finite is null."""

from collections.abc import Sequence
from typing import TextIO

import msgspec
import numpy as np

from analyzer.schema import Analysis, Comparison, RunComparison

SUFFIX = ".json"


def write(analyses: Sequence[Analysis], out: TextIO, *, full: bool) -> None:  # noqa: ARG001 - JSON is always full
    """Write everything there is, full or not."""
    _put(analyses[0] if len(analyses) == 1 else analyses, out)


def write_comparison(found: Comparison | RunComparison, out: TextIO, *, full: bool) -> None:  # noqa: ARG001 - JSON is always full
    """Write a comparison as one object."""
    _put(found, out)


def _put(tree: Analysis | Sequence[Analysis] | Comparison | RunComparison, out: TextIO) -> None:
    text = msgspec.json.format(msgspec.json.encode(tree, enc_hook=_python), indent=2)
    out.write(text.decode() + "\n")


def _python(value: object) -> object:
    """Return a number of numpy's as the Python number that JSON knows."""
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"the schema of an analysis holds no {type(value).__name__}")
