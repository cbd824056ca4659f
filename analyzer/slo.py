"""Whether a service kept its promise: goodput, the share of good requests, and how fast the error budget is spent.

A request is good that was answered within every limit; one that failed never is. Where each request is known the share
is exact. Where only buckets are known it is an interval: how many lie within a limit is known at the edges around it,
and which of them are the same requests is not (Fréchet's bounds). The burn rate is that of Google's *Site Reliability
Workbook*, chapter 5: the share that is not good over the share that may not be; above 1 the budget does not last.
"""

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from analyzer.columns import Bool, Float64, Int64, RunData
from analyzer.latency import answered_requests
from analyzer.schema import Service, Slo, SloWindow
from analyzer.windows import bucket_increase, increase, sections
from collector.errors import UserError

#: More text than any file of targets has.
_MAX_BYTES = 1 << 16
_LIMITS = ("ttft_s", "tpot_s", "e2e_latency_s", "queue_time_s")


class _Targets(msgspec.Struct, forbid_unknown_fields=True):
    """One set of targets as TOML has it."""

    target: float
    name: str = ""
    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_latency_s: float | None = None
    queue_time_s: float | None = None
    source: str = "yours"
    read_on: str = ""


def presets() -> dict[str, Slo]:
    """The published targets, by name."""
    rows = tomllib.loads(files("analyzer").joinpath("slos.toml").read_text("utf-8"))["slo"]
    return {row["name"]: _slo(msgspec.convert(row, _Targets)) for row in rows}


def load_slo(name: str) -> Slo:
    """Published targets by their name, or those of a TOML file.

    Raises:
        UserError: There is neither, or the file does not say what it must.
    """
    known = presets()
    if name in known:
        return known[name]
    path = Path(name)
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise UserError(f"{path} is too large for a file of targets")
        targets = msgspec.convert(tomllib.loads(text.decode()), _Targets)
    except FileNotFoundError as error:
        raise UserError(f"there are no targets “{name}”: name a TOML file, or one of {', '.join(known)}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise UserError(f"{path} holds no targets that can be used: {error}") from error
    if not 0 < targets.target < 1:
        raise UserError(f"{path}: target is {targets.target:g}; it is the share of good requests, above 0 and below 1")
    slo = _slo(targets, path.stem)
    if not slo.limits_s:
        raise UserError(f"{path} sets no limit: give one of {', '.join(_LIMITS)}")
    wrong = next((measure for measure, limit in slo.limits_s.items() if not 0 < limit < np.inf), None)
    if wrong:
        raise UserError(f"{path}: {wrong} is {slo.limits_s[wrong]:g}; a limit is a number of seconds above 0")
    return slo


def _slo(targets: _Targets, name: str = "") -> Slo:
    limits = {measure: getattr(targets, measure) for measure in _LIMITS}
    return Slo(
        name=targets.name or name,
        target_ratio=targets.target,
        limits_s={measure: limit for measure, limit in limits.items() if limit is not None},
        source=targets.source,
        read_on=targets.read_on,
    )


class _Judged(NamedTuple):
    """Requests of each window that were answered, that failed, and that are good at the least and at the most, (n,)."""

    answered: Float64
    failed: Float64
    good_low: Float64
    good_high: Float64


def service(data: RunData, slo: Slo, start: Int64, end: Int64) -> Service:
    """How targets were kept over the whole run, in its phases, and in the given windows.

    A request belongs to the window in which it arrived; a histogram counts what was observed in a window.
    """
    names, low, high = sections(data, start, end)
    judged: _Judged | str = _of_requests(data, slo, low, high) if len(data.requests) else "no request is known"
    origin = "requests" if isinstance(judged, _Judged) else "histogram"
    if isinstance(judged, str):
        judged = _of_buckets(data, slo, low, high)
    every = tuple(
        _window(slo, name, (int(low[row]), int(high[row])), origin, _row(judged, row)) for row, name in enumerate(names)
    )
    phases = len(data.phases)
    whole = every[0].requests
    return Service(
        slo=slo,
        budget_requests=None if whole is None else whole - slo.target_ratio * whole,
        overall=every[0],
        phases=every[1 : 1 + phases],
        windows=every[1 + phases :],
    )


def answers_within(found: Service) -> list[float | None]:
    """Share of the answers that are good: of the whole run, each phase and each window; None where it is not exact."""
    return [_share(window) for window in (found.overall, *found.phases, *found.windows)]


def _share(window: SloWindow) -> float | None:
    answered = (window.requests or 0) - (window.failed or 0)
    exact = window.good_low is not None and window.good_low == window.good_high
    return (window.good_low or 0) / answered if exact and answered else None


def _row(judged: _Judged | str, row: int) -> tuple[int, int, int, int] | str:
    if isinstance(judged, str):
        return judged
    answered, failed, good_low, good_high = (round(float(column[row])) for column in judged)
    return (answered, failed, good_low, good_high) if answered + failed else "no request in this time"


def _window(
    slo: Slo, name: str | None, window_ns: tuple[int, int], origin: str, found: tuple[int, int, int, int] | str
) -> SloWindow:
    start_s, end_s = window_ns[0] / 1e9, window_ns[1] / 1e9
    if isinstance(found, str):
        unknown = dict.fromkeys(_FIGURES)
        return SloWindow(name=name, start_s=start_s, end_s=end_s, origin=None, reason=found, **unknown)
    answered, failed, good_low, good_high = found
    count, seconds = answered + failed, max(window_ns[1] - window_ns[0], 1) / 1e9
    allowed = count - slo.target_ratio * count
    return SloWindow(
        name=name,
        start_s=start_s,
        end_s=end_s,
        origin="requests" if origin == "requests" else "histogram",
        requests=count,
        failed=failed,
        good_low=good_low,
        good_high=good_high,
        good_low_ratio=good_low / count,
        good_high_ratio=good_high / count,
        goodput_low_requests_per_s=good_low / seconds,
        goodput_high_requests_per_s=good_high / seconds,
        burn_rate_low=(count - good_high) / allowed,
        burn_rate_high=(count - good_low) / allowed,
    )


_FIGURES = (
    *("requests", "failed", "good_low", "good_high", "good_low_ratio", "good_high_ratio"),
    *("goodput_low_requests_per_s", "goodput_high_requests_per_s", "burn_rate_low", "burn_rate_high"),
)


def _of_requests(data: RunData, slo: Slo, start: Int64, end: Int64) -> _Judged | str:
    """From requests that are each known; one whose measure was not seen may be good or not."""
    answered = answered_requests(data)
    # An answer of one token has no time between tokens, and keeps every limit to it.
    answered["tpot_s"] = answered["tpot_s"].mask(answered["output_tokens"] <= 1, 0.0)
    missing = [measure for measure in slo.limits_s if measure not in answered or answered[measure].isna().all()]
    if missing and len(answered):
        return f"{missing[0]} of requests is not known"
    sure, perhaps = np.ones(len(answered), bool), np.ones(len(answered), bool)
    for measure, limit in slo.limits_s.items():
        values = answered[measure].to_numpy(np.float64)
        sure &= values <= limit
        perhaps &= (values <= limit) | np.isnan(values)
    failed = np.sort(data.requests.loc[data.requests["error"].notna(), "t_ns"].to_numpy(np.int64))
    arrived = answered["t_ns"].to_numpy(np.int64)

    def counted(t_ns: Int64, which: Bool) -> Float64:
        total = np.r_[0.0, np.cumsum(which)]
        grown: Float64 = total[np.searchsorted(t_ns, end)] - total[np.searchsorted(t_ns, start)]
        return grown

    return _Judged(
        counted(arrived, np.ones(len(arrived), bool)),
        counted(failed, np.ones(len(failed), bool)),
        counted(arrived, sure),
        counted(arrived, perhaps),
    )


def _of_buckets(data: RunData, slo: Slo, start: Int64, end: Int64) -> _Judged | str:
    """From scraped buckets: what lies beyond a limit is known to the edges around it."""
    found = {measure: bucket_increase(data, measure, start, end) for measure in slo.limits_s}
    missing = [measure for measure, grown in found.items() if grown is None or not len(grown[0])]
    if missing:
        return f"neither requests nor buckets of {missing[0]} were recorded"
    ended = bucket_increase(data, "e2e_latency_s", start, end)
    observed = {measure: grown[1].sum(axis=1) for measure, grown in found.items() if grown}
    answered = ended[1].sum(axis=1) if ended else np.stack(list(observed.values())).max(axis=0)
    grown = increase(data, "serving", "requests_failed_total", start, end)
    failed = np.zeros(len(start)) if grown is None else np.nan_to_num(grown)
    least_bad, most_bad = _beyond(found, slo)
    unseen = [np.maximum(answered - count, 0) for measure, count in observed.items() if measure != "tpot_s"]
    # A request that failed after its first token is in the TTFT of a page, too.
    good_high = answered - np.maximum(np.max(least_bad, axis=0) - failed, 0)
    good_low = np.maximum(answered - np.sum(most_bad, axis=0) - np.sum(unseen, axis=0), 0)
    return _Judged(answered, failed, np.minimum(good_low, good_high), np.maximum(good_high, 0))


def _beyond(
    found: "dict[str, tuple[Float64, Float64, Float64] | None]", slo: Slo
) -> tuple[Sequence[Float64], Sequence[Float64]]:
    """How many lie beyond each limit at the least and at the most, each of shape (n,)."""
    least, most = [], []
    for measure, limit in slo.limits_s.items():
        edges, counts, _ = found[measure] or (np.empty(0), np.zeros((0, 1)), np.empty(0))
        below = np.c_[np.zeros(len(counts)), np.cumsum(counts, axis=1)]
        most.append(below[:, -1] - below[:, np.searchsorted(edges, limit, side="right")])
        # Beyond the last edge nobody knows.
        above = np.searchsorted(edges, limit, side="left") + 1
        least.append(below[:, -1] - below[:, above])
    return least, most
