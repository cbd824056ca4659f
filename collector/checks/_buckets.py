"""Histogram buckets against the latencies that they counted, and edges that would hold them. Private.

A percentile is known as the bucket that holds it. Where that is wider than ±20 % of its middle it is marked in every
report; which edges would do better follows from the buckets that were too wide.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping

from collector.schema import Histogram

_PERCENTILES = (0.5, 0.95, 0.99)
#: An upper edge is ±20 % from the lower one, but for rounding.
_WIDEST = 1.5 * (1 + 1e-9)
#: A percentile is bounded with this confidence by the largest of n observations where q ** n is below the rest.
_DOUBT = 0.05
#: Preferred numbers, E6 of IEC 60063: no edge is more than 1.5 times the one before, which is ±20 %.
_E6 = ("1", "1.5", "2.2", "3.3", "4.7", "6.8")
#: How far below the mean edges begin where everything fell into the first bucket, or above the last edge.
_BEYOND = 10.0

#: Nobody waits for less than the one, and no latency of a server is longer than the other, whatever a page says.
_SHORTEST_S, _LONGEST_S = 1e-3, 86_400.0

#: vLLM's families of buckets → the quantities they give edges to (its documentation, usage/metrics.md).
_VLLM = {
    "request_latency": ("e2e_latency_s", "queue_time_s", "prefill_s", "decode_s"),
    "time_to_first_token": ("ttft_s",),
    "inter_token_latency": ("itl_s", "tpot_s"),
}
#: SGLang's flags (its server_args.py); queue time has none.
_SGLANG = {
    "--bucket-time-to-first-token": "ttft_s",
    "--bucket-inter-token-latency": "itl_s",
    "--bucket-e2e-request-latency": "e2e_latency_s",
}
#: The first release of vLLM that has the flag: 0.31.0 lacks it, 0.32.0 has it.
_SINCE = (0, 32)


def intervals(histogram: Histogram) -> dict[float, tuple[float, float]]:
    """The bucket of each percentile that there are enough observations for: its lower and upper edge."""
    count = histogram.cumulative[-1]
    edges = (0.0, *histogram.edges, math.inf)
    found = {}
    for q in _PERCENTILES:
        if count and q**count <= _DOUBT:
            place = next(i for i, below in enumerate(histogram.cumulative) if below >= q * count)
            found[q] = (edges[place], edges[place + 1])
    return found


def wide(histogram: Histogram) -> dict[float, tuple[float, float]]:
    """Those of the intervals that are wider than ±20 %, and matter."""
    return {
        q: (low, high)
        for q, (low, high) in intervals(histogram).items()
        if math.isinf(high) or high > max(_SHORTEST_S, _WIDEST * low)
    }


def better(histograms: Iterable[Histogram]) -> list[float]:
    """Edges that put each of these percentiles within ±20 %, with the old ones kept where they do."""
    lows, highs, old = [], [], set[float]()
    for histogram in histograms:
        old |= {edge for edge in histogram.edges if edge > 0}
        mean = histogram.sum / histogram.cumulative[-1]
        for low, high in wide(histogram).values():
            bounded = low if math.isinf(high) else high
            lows.append(low or min(mean if mean > 0 else bounded, bounded) / _BEYOND)
            highs.append(low * _BEYOND if math.isinf(high) else high)
    if not lows:
        return sorted(old)
    first = min(max(min(lows), _SHORTEST_S), _LONGEST_S)
    fresh = list(_series(first, max(min(max(highs), _LONGEST_S), first)))
    return [*sorted(edge for edge in old if edge < fresh[0]), *fresh, *sorted(edge for edge in old if edge > fresh[-1])]


def line(engine: str, version: str | None, judged: Mapping[str, Histogram]) -> str | None:
    """What the server's command line should say; None where the engine has no such flag.

    vLLM has one flag for all: a family that it leaves out would fall back to its first edges.

    Args:
        engine: Its name.
        version: Its version, if it says so.
        judged: Histograms with enough observations, by quantity; some are too wide.
    """
    if engine == "vllm":
        families = {
            family: better(found)
            for family, quantities in _VLLM.items()
            if (found := [judged[quantity] for quantity in quantities if quantity in judged])
        }
        words = f"--custom-histogram-buckets '{json.dumps(families)}'"
        return words if _has_flag(version) else f"with vLLM 0.32 or newer: {words}"
    if engine == "sglang":
        flags = [
            f"{flag} {' '.join(map(str, better([judged[quantity]])))}"
            for flag, quantity in _SGLANG.items()
            if quantity in judged and wide(judged[quantity])
        ]
        return " ".join(flags) or None
    return None


def _series(first: float, last: float) -> Iterator[float]:
    """E6 numbers from the last at or below ``first`` to the first at or above ``last``."""
    decades = range(math.floor(math.log10(first)) - 1, math.ceil(math.log10(last)) + 2)
    numbers = [float(f"{digits}e{decade}") for decade in decades for digits in _E6]
    begin = max(number for number in numbers if number <= first)
    end = min(number for number in numbers if number >= last)
    return (number for number in numbers if begin <= number <= end)


def _has_flag(version: str | None) -> bool:
    major, _, rest = (version or "").partition(".")
    minor = rest.partition(".")[0]
    return major.isdecimal() and minor.isdecimal() and (int(major), int(minor)) >= _SINCE
