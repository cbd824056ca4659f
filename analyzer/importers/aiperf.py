"""AIPerf's ``profile_export.jsonl``: one line a request, as the benchmark's client saw it.

As ``MetricRecordInfo`` of AIPerf 0.13 (``aiperf/common/models/record_models.py``) and its page *Working with Profile
Export Files* describe them; the first versions had other fields, and are refused. A metric names its unit.
``inter_chunk_latency`` holds each gap of a stream; ``inter_token_latency`` is a request's mean and is computed anew
from its parts.
"""

from pathlib import Path

import msgspec

from analyzer.columns import RunData
from analyzer.importers import Progress
from analyzer.importers._documents import one_line, read
from collector.errors import UserError

FORMAT = "requests of AIPerf (profile_export.jsonl)"

_INFERENCE = (
    "One inference is one request of the benchmark: one turn of a conversation, however many sequences it asked for."
)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "sec": 1.0, "s": 1.0}


class _Value(msgspec.Struct):
    value: float | list[float] | None = None
    unit: str = ""


class _Metrics(msgspec.Struct):
    time_to_first_token: _Value | None = None
    request_latency: _Value | None = None
    inter_chunk_latency: _Value | None = None
    input_sequence_length: _Value | None = None
    output_sequence_length: _Value | None = None


class _Metadata(msgspec.Struct):
    request_start_ns: int
    request_end_ns: int | None = None
    benchmark_phase: str = ""
    phase_name: str | None = None
    was_cancelled: bool = False


class _Error(msgspec.Struct):
    code: int | None = None
    type: str | None = None
    message: str | None = None


class _Record(msgspec.Struct):
    metadata: _Metadata
    metrics: _Metrics
    error: _Error | None = None


def claims(path: Path, head: bytes) -> bool:
    """A record of a request, or the summary beside it."""
    del path
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    record = b'"request_start_ns"' in text and b'"metadata"' in text
    return text.startswith(b"{") and (record or b'"aiperf_version"' in text)


def load(path: Path, progress: Progress | None = None) -> RunData:
    """Read the requests.

    Raises:
        UserError: It cannot be read, or is AIPerf's summary.
    """
    from analyzer.importers import _request_frames as frames  # noqa: PLC0415 - pandas takes 0.3 s

    text = read(path, progress)
    if b'"request_start_ns"' not in text.content:
        raise UserError(f"{path} is AIPerf's summary and holds no request: give the profile_export.jsonl beside it")
    records, losses = frames.lines(path, text, _Record)
    asked = [
        frames.Asked(
            t_ns=record.metadata.request_start_ns,
            ttft_s=_seconds(record.metrics.time_to_first_token),
            e2e_latency_s=_seconds(record.metrics.request_latency),
            input_tokens=_number(record.metrics.input_sequence_length),
            output_tokens=_number(record.metrics.output_sequence_length),
            error=_why(record),
            gaps_s=_gaps(record.metrics.inter_chunk_latency),
        )
        for record in records
    ]
    names = [record.metadata.phase_name or record.metadata.benchmark_phase for record in records]
    return frames.run(
        path,
        asked,
        made_by="AIPerf",
        inference=_INFERENCE,
        phases=frames.phases(zip(names, asked, strict=True)),
        losses=losses,
    )


def _why(record: _Record) -> str | None:
    if record.error is not None:
        return one_line(record.error.code, record.error.type, record.error.message)
    return "cancelled by the client" if record.metadata.was_cancelled else None


def _number(metric: _Value | None) -> float | None:
    return metric.value if metric is not None and not isinstance(metric.value, list) else None


def _seconds(metric: _Value | None) -> float | None:
    value, scale = _number(metric), _SECONDS.get(metric.unit) if metric else None
    return None if value is None or scale is None else value * scale


def _gaps(metric: _Value | None) -> list[float]:
    scale = _SECONDS.get(metric.unit) if metric else None
    return [gap * scale for gap in metric.value] if metric and scale and isinstance(metric.value, list) else []
