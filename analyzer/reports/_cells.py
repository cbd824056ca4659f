"""A cell of a CSV file, safe to open in a spreadsheet."""

import math

from analyzer.wording import plain

#: What makes a spreadsheet take a cell for a formula.
_FORMULA = ("=", "+", "-", "@")


def cell(value: str | float | None) -> str | float | None:
    """A figure as it is, or None where there is none; text that a spreadsheet would run begins with an apostrophe."""
    if not isinstance(value, str):
        return value if value is None or math.isfinite(value) else None
    text = plain(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
