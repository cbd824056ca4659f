"""Take a page in Prometheus' text format apart, but only the families that are asked for.

Parsing labels is what costs, and a server names its series alike on every page: each text of labels is parsed once
and remembered. Private to ``collector.scrape``.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from prometheus_client.parser import text_string_to_metric_families

#: The labels of a series but ``le``, in the order of their names.
Labels: TypeAlias = tuple[tuple[str, str], ...]

#: Series that are asked for; a server with a hundred ranks stays far below.
MOST_SERIES = 20_000
#: Characters in the labels of one series; vLLM 0.32 writes its cache's 38 settings in 1,100.
_LONGEST = 4_000
_SUFFIXES = ("", "_bucket", "_sum", "_count")
_NO_EDGE = "a bucket without an edge"
_NAME = re.compile(r"[^\s{]+")


class MalformedError(Exception):
    """A line that was asked for is not as the format has it; the message names its family."""


class Family:
    """The series of one family: its plain values, its buckets by upper edge, its sums and counts."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.values: dict[str, dict[Labels, float]] = {"": {}, "_sum": {}, "_count": {}}
        self.buckets: dict[Labels, dict[float, float]] = defaultdict(dict)


class _Parsed(NamedTuple):
    labels: Labels
    edge: float | None


class Page:
    """The lines of a page, and what its ``# TYPE`` lines say."""

    def __init__(self, text: str) -> None:
        # Not splitlines: a label may hold any other character that ends a line.
        self._lines = text.split("\n")
        types = (line.split() for line in self._lines if line.startswith("# TYPE "))
        self._kinds = {words[2]: words[3] for words in types if len(words) > 3}  # noqa: PLR2004 - "# TYPE name kind"

    def shows(self, family: str) -> bool:
        """Whether the page has a family, under its name or the one that recording rules give it."""
        return self._spelled(family) in self._kinds

    def families(self, names: Iterable[str]) -> dict[str, Family]:
        """The families of those names that have a series on the page.

        Raises:
            MalformedError: A line of theirs is malformed, or there are too many.
        """
        spelled = {name: self._spelled(name) for name in names}
        wanted = {f"{on_page}{suffix}": (name, suffix) for name, on_page in spelled.items() for suffix in _SUFFIXES}
        found: dict[str, Family] = {}
        left = MOST_SERIES
        for line in self._lines:
            named = _NAME.match(line)
            if named is None or named[0] not in wanted:
                continue
            if (left := left - 1) < 0:
                raise MalformedError(f"more than {MOST_SERIES:,} series")
            name, suffix = wanted[named[0]]
            family = found.get(name)
            if family is None:
                family = found[name] = Family(self._kinds.get(spelled[name], "untyped"))
            try:
                _add(family, suffix, line, named.end())
            except (ValueError, IndexError) as error:
                raise MalformedError(f"a series of {name}") from error
        return found

    def _spelled(self, family: str) -> str:
        for spelling in (family, family.replace(":", "_", 1), family.replace("_", ":", 1)):
            if spelling in self._kinds:
                return spelling
        return family


def _add(family: Family, suffix: str, line: str, name_end: int) -> None:
    end = max(line.rfind("}") + 1, name_end)
    parsed = _labels(line[name_end:end].strip())
    number, *timestamp = line[end:].split()
    if len(timestamp) > 1 or "_" in number:
        raise ValueError(line)
    value = float(number)
    # Triton's documentation shows the buckets of a histogram without their suffix.
    if suffix == "_bucket" or (suffix == "" and parsed.edge is not None and family.kind == "histogram"):
        if parsed.edge is None:
            raise MalformedError(_NO_EDGE)
        family.buckets[parsed.labels][parsed.edge] = value
    else:
        family.values[suffix][parsed.labels] = value


@lru_cache(maxsize=8192)
def _labels(text: str) -> _Parsed:
    if not text:
        return _Parsed((), None)
    if len(text) > _LONGEST:
        raise ValueError("labels are too long")
    (family,) = text_string_to_metric_families(f"series{text} 0")
    (sample,) = family.samples
    labels = tuple(sorted((label, value) for label, value in sample.labels.items() if label != "le"))
    return _Parsed(labels, _edge(sample.labels.get("le")))


def _edge(text: str | None) -> float | None:
    if text is None:
        return None
    with suppress(ValueError):
        if not math.isnan(edge := float(text)):
            return edge
    raise MalformedError(_NO_EDGE)
