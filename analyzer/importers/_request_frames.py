"""What importers of result files share: requests as their client, or their server's spans, told them, as a run.

A time that cannot be is absent, never repaired; nothing of what was asked or answered is kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import pandas as pd

from analyzer.columns import Loss, RunData
from analyzer.importers._documents import MAX_NS, Text
from collector.errors import UserError
from collector.schema import Event, Run

#: An instant after this one is not of a recording: the year 2116.
MAX_T_NS = 2**62
#: Clients that stream see chunks; beyond this difference they are not the tokens.
CHUNK_RATIO = 0.01

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request; None is what the file does not tell."""

    t_ns: int
    ttft_s: float | None = None
    e2e_latency_s: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    #: None where it was answered.
    error: str | None = None
    queue_time_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    #: Seconds between the parts of its answer.
    gaps_s: Sequence[float] = ()


_COLUMNS = tuple(field.name for field in fields(Asked))
_SECONDS = ("ttft_s", "e2e_latency_s", "queue_time_s", "prefill_s", "decode_s")
_TOKENS = ("input_tokens", "output_tokens")


def run(  # noqa: PLR0913 - what a result file tells
    path: Path,
    asked: Iterable[Asked],
    *,
    made_by: str,
    inference: str,
    span_ns: tuple[int, int] | None = None,
    phases: Sequence[Event] = (),
    losses: Sequence[Loss] = (),
    notes: Sequence[str] = (),
) -> RunData:
    """A run of these requests alone: nobody watched the server or its GPUs.

    Args:
        path: The file.
        asked: The requests, in any order.
        made_by: What wrote the file.
        inference: What one request of it is.
        span_ns: When the recording began and ended, where the file tells that; else the requests do.
        phases: Parts of the load.
        losses: What the importer could not use.
        notes: What a reader must know.

    Raises:
        UserError: There is no request, or its time is impossible.
    """
    rows = [tuple(getattr(each, name) for name in _COLUMNS) for each in asked]
    frame = pd.DataFrame(rows, columns=pd.Index(_COLUMNS))
    if not len(frame):
        raise UserError(f"{path} holds no request: record one that saves each of them")
    if frame["t_ns"].min() < 0 or frame["t_ns"].max() >= MAX_T_NS:
        raise UserError(f"{path} is damaged: it holds a request at an impossible time")
    frame = frame.astype(dict.fromkeys((*_SECONDS, *_TOKENS), np.float64) | {"t_ns": np.int64, "error": "str"})
    impossible = 0
    for name in (*_SECONDS, *_TOKENS):
        most = MAX_NS / 1e9 if name in _SECONDS else np.inf
        wrong = frame[name].notna() & ~((frame[name] >= 0) & (frame[name] < most))
        impossible += int(wrong.sum())
        frame.loc[wrong, name] = np.nan
    answered = frame[frame["error"].isna()]
    gaps = _gaps(answered)
    impossible += int((~gaps["itl_s"].between(0, MAX_NS / 1e9)).sum())
    gaps = gaps[gaps["itl_s"].between(0, MAX_NS / 1e9)]
    lost = Loss(kind="impossible_value", count=impossible, note="times or counts below zero, or longer than a day")
    ends = (frame["t_ns"] + frame["e2e_latency_s"].fillna(0) * 1e9).astype(np.int64)
    first, last = span_ns or (int(frame["t_ns"].min()), int(ends.max()) + 1)
    return RunData(
        name=path.name,
        run=Run(run_id=path.name, started_ns=first, ended_ns=last, provenance=made_by),
        samples={},
        histograms=_NO_HISTOGRAMS,
        requests=frame.drop(columns="gaps_s").sort_values("t_ns", kind="stable", ignore_index=True),
        events=tuple(phases),
        absences={},
        traces=(),
        gaps=gaps if len(gaps) else None,
        inference=inference,
        losses=(*losses, *([lost] if impossible else [])),
        notes=(
            f"Written by {made_by}: it says nothing of the GPU.",
            *notes,
            *_chunks(answered, gaps),
        ),
    )


def _gaps(requests: pd.DataFrame) -> pd.DataFrame:
    """One row a gap, in the order of the requests."""
    lengths = requests["gaps_s"].map(len).to_numpy(np.int64)
    values = np.fromiter((gap for gaps in requests["gaps_s"] for gap in gaps), np.float64, int(lengths.sum()))
    return pd.DataFrame({"t_ns": np.repeat(requests["t_ns"].to_numpy(np.int64), lengths), "itl_s": values})


def _chunks(answered: pd.DataFrame, gaps: pd.DataFrame) -> list[str]:
    """Whether what the client timed was tokens."""
    timed = answered[answered["gaps_s"].map(len) > 0]
    expected = float((timed["output_tokens"] - 1).sum())
    if not len(gaps) or abs(len(gaps) - expected) <= CHUNK_RATIO * max(expected, 1):
        return []
    timed_gaps = f"The client timed {len(gaps):,} gaps between chunks for {expected:,.0f} between tokens"
    return [f"{timed_gaps}: ITL is of chunks here, TPOT is of tokens."]


_NO_HISTOGRAMS = pd.DataFrame({name: [] for name in ("t_ns", "subject", "quantity", "edges", "cumulative", "sum")})


def lines(path: Path, text: Text, kind: type[T]) -> tuple[list[T], tuple[Loss, ...]]:
    """The records of a file with one JSON object a line; those that break off or are damaged are counted.

    Raises:
        UserError: Not one can be read.
    """
    decoder, found, lost, why = msgspec.json.Decoder(kind), [], 0, text.damage or "no record"
    for line in text.content.splitlines():
        if not line.strip():
            continue
        try:
            found.append(decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            lost += 1
            why = text.damage or str(error)
    if not found:
        raise UserError(f"{path} is damaged or of a version unknown here ({why[:200]}): copy or record it again")
    note = "records were dropped because they break off, are damaged or lack what every record has"
    return found, (Loss(kind="unreadable", count=lost, note=note),) if lost else ()


def phases(asked: Iterable[tuple[str, Asked]]) -> list[Event]:
    """The parts of a load by their names, each from its first request to the end of its last; none where it is one."""
    spans: dict[str, tuple[int, int]] = {}
    for name, each in asked:
        end_ns = each.t_ns + round(min(each.e2e_latency_s or 0.0, MAX_NS / 1e9) * 1e9) + 1
        first, last = spans.get(name, (each.t_ns, end_ns))
        spans[name] = min(first, each.t_ns), max(last, end_ns)
    if len(spans) < _SEVERAL:
        return []
    events = [Event(t_ns=first, kind="phase", name=name, end_ns=last) for name, (first, last) in spans.items()]
    return sorted(events, key=lambda event: event.t_ns)


_SEVERAL = 2
