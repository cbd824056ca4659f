"""How far percentiles are off: Prometheus' histogram_quantile beside ours, against the exact values.

Known values are drawn (lognormal, bimodal, heavy-tailed), or are those that the client of the bundled recording wrote
down, and are counted into the default buckets of vLLM, SGLang and TGI. ``histogram_quantile`` is what a dashboard shows
of them: the algorithm of Prometheus 3 (``promql/quantile.go``), a line through the bucket that holds the quantile, and
the last finite edge where that is ``+Inf``. Ours gives the same line, beside the interval that it can stand for, and no
number beyond the last edge. Everything runs anywhere, in seconds::

    python benchmarks/percentiles.py
"""

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the analyzer is not installed where this runs from a checkout

from analyzer.latency import QUANTILES, from_buckets, from_values  # noqa: E402 - needs the path
from analyzer.schema import Percentile  # noqa: E402

Float64 = npt.NDArray[np.float64]

REQUESTS = ROOT / "tests" / "analyzer" / "data" / "vllm_h200_requests.jsonl.gz"

_TTFT_VLLM = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
    *(160.0, 640.0, 2560.0),
)
_REQUEST_VLLM = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0),
    *(1920.0, 7680.0),
)
_TOKEN_VLLM = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
_TTFT_SGLANG = (*(0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0, 400.0),)
_TOKEN_SGLANG = (
    *(0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.06, 0.08, 0.1, 0.2, 0.4, 0.6, 0.8),
    *(1.0, 2.0, 4.0, 6.0, 8.0),
)
_TGI = tuple(0.00015 * 1.5**step for step in range(35))

#: The default buckets of vLLM 0.33 (``vllm/v1/metrics/loggers.py``), SGLang 0.5 and TGI 3, by measure.
BUCKETS = {
    "vLLM": {"queue": _REQUEST_VLLM, "TTFT": _TTFT_VLLM, "ITL": _TOKEN_VLLM, "TPOT": _TOKEN_VLLM, "e2e": _REQUEST_VLLM},
    "SGLang": {"TTFT": _TTFT_SGLANG, "ITL": _TOKEN_SGLANG, "TPOT": _TOKEN_SGLANG, "e2e": _TTFT_SGLANG},
    "TGI": {"queue": _TGI, "TPOT": _TGI, "e2e": _TGI},
}


def main() -> None:
    """Print a row a case and a summary; exit 1 where an interval of ours does not hold the truth in 99 % of cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200, help="independent samples of each distribution")
    options = parser.parse_args()

    print("median error of the estimate, and the widest; how often the interval of ours holds the truth\n")
    print(f"{'case':44} {'p50':>16} {'p95':>16} {'p99':>16} {'p99.9':>16} {'ours holds':>11}")
    held = asked = beyond = coarse = 0
    for engine, measures in BUCKETS.items():
        for name, measure, samples in cases(options.draws):
            if measure not in measures:
                continue
            rows = [compared(values, measures[measure]) for values in samples]
            errors = np.array([[error for _, error, _ in row] for row in rows])
            hits = [inside for row in rows for _, _, inside in row]
            held, asked = held + sum(hits), asked + len(hits)
            beyond += sum(each.value_s is None for row in rows for each, _, _ in row)
            coarse += sum(each.note is not None for row in rows for each, _, _ in row)
            shown = [_errors(errors[:, QUANTILES.index(q)]) for q in (0.5, 0.95, 0.99, 0.999)]
            print(f"{f'{engine} {measure}, {name}':44} {' '.join(shown)} {np.mean(hits):>11.2%}")
    print(f"\nours holds the truth in {held:,} of {asked:,} percentiles ({held / asked:.3%})")
    print(f"marked because the buckets are wider than ±20 %: {coarse / asked:.0%} of them")
    print(f"beyond the last edge: {beyond:,}; histogram_quantile says the edge, ours says “> edge”")
    for name, share in order_coverage(options.draws):
        print(
            f"order-statistic interval of known requests, {name}: holds the distribution's own percentile {share:.1%}"
        )
    sys.exit(held < 0.99 * asked)


def cases(draws: int) -> Iterator[tuple[str, str, list[Float64]]]:
    """A name, what is measured, and samples of it."""
    rng = np.random.default_rng(7)
    stalls, slow = 0.02, 0.3

    def lognormal(median: float, sigma: float, n: int) -> Float64:
        return rng.lognormal(np.log(median), sigma, n)

    def bimodal(usual: float, other: float, share: float, n: int) -> Float64:
        return np.where(rng.random(n) < share, other, usual) * np.abs(rng.normal(1, 0.06, n))

    shapes: dict[str, tuple[str, Callable[[int], Float64]]] = {
        "queue": ("lognormal, median 20 ms", lambda n: lognormal(0.02, 1.0, n)),
        "TTFT": ("lognormal, median 120 ms", lambda n: lognormal(0.12, 0.6, n)),
        "ITL": ("bimodal, 8 ms and 2 % stalls", lambda n: bimodal(0.008, 0.04, stalls, n)),
        "TPOT": ("bimodal, 6 ms and 30 % of 22 ms", lambda n: bimodal(0.006, 0.022, slow, n)),
        "e2e": ("heavy tail, Pareto 1.5 from 1 s", lambda n: 1 + rng.pareto(1.5, n)),
    }
    for measure, (name, draw) in shapes.items():
        yield name, measure, [draw(int(n)) for n in rng.integers(20, 5000, draws)]
    with gzip.open(REQUESTS, "rt") as file:
        rows = [json.loads(line) for line in file]
    phases = [[row for row in rows if row["phase"] == phase] for phase in sorted({row["phase"] for row in rows})]
    told: dict[str, Callable[[dict[str, Any]], float]] = {
        "TTFT": lambda row: row["ttft"],
        "TPOT": lambda row: (row["e2e"] - row["ttft"]) / (row["nout"] - 1),
        "e2e": lambda row: row["e2e"],
    }
    for measure, of in told.items():
        yield "the recording, by phase", measure, [np.array([of(row) for row in part]) for part in (rows, *phases)]


def compared(values: Float64, edges: tuple[float, ...]) -> list[tuple[Percentile, float, bool]]:
    """For each quantile: what ours says, how far Prometheus is off, and whether our interval holds the truth."""
    counts = np.histogram(values, [-np.inf, *np.nextafter(edges, np.inf), np.inf])[0].astype(np.float64)
    stats = from_buckets("any", np.array(edges), counts, float(values.sum()))
    truths = np.quantile(values, QUANTILES)
    found = []
    for each, truth in zip(stats.percentiles, truths, strict=True):
        inside = (each.low_s or 0.0) <= truth <= (np.inf if each.high_s is None else each.high_s)
        found.append((each, histogram_quantile(each.q, edges, counts) / truth - 1, bool(inside)))
    return found


def histogram_quantile(q: float, edges: tuple[float, ...], counts: Float64) -> float:
    """What Prometheus shows."""
    cumulative = np.cumsum(counts)
    rank = q * cumulative[-1]
    bucket = int(np.searchsorted(cumulative, rank))
    if bucket == len(edges):
        return float(edges[-1])
    start, before = (edges[bucket - 1], cumulative[bucket - 1]) if bucket else (0.0, 0.0)
    return float(start + (edges[bucket] - start) * (rank - before) / counts[bucket])


def order_coverage(draws: int) -> Iterator[tuple[str, float]]:
    """How often the 95 % interval of known values holds the percentile of the distribution they were drawn from."""
    rng = np.random.default_rng(8)
    ranks = [NormalDist().inv_cdf(q) for q in QUANTILES]
    truths = {"lognormal": np.exp(ranks), "Pareto 1.5": (1 - np.array(QUANTILES)) ** (-1 / 1.5)}
    for name, truth in truths.items():
        held = []
        for n in rng.integers(20, 5000, draws):
            values = rng.lognormal(0, 1, n) if name == "lognormal" else 1 + rng.pareto(1.5, n)
            for each, true in zip(from_values("any", values).percentiles, truth, strict=True):
                held.append((each.low_s or 0.0) <= true <= (np.inf if each.high_s is None else each.high_s))
        yield name, float(np.mean(held))


def _errors(errors: Float64) -> str:
    """The median of the errors and the largest, signed: ``+12 % +653 %``."""
    worst = errors[np.argmax(np.abs(errors))]
    return f"{100 * np.median(errors):>+6.0f} % {100 * worst:>+5.0f} %"


if __name__ == "__main__":
    main()
