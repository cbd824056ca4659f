"""Spans of OpenTelemetry as OTLP/JSON, where they carry the latencies that vLLM gives them (``gen_ai.latency.*``).

One export as one object, or one a line as the OpenTelemetry Collector's file exporter writes them (the protobuf JSON of
``opentelemetry/proto/trace/v1``: 64-bit numbers are strings). vLLM ends a span ``llm_request`` for each request that
finishes, with seconds on the engine's clock (``vllm/tracing``, ``SpanAttributes``); its TTFT counts from
arrival. Other spans are passed over; one that was exported twice counts once.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from analyzer.columns import Loss, RunData
from analyzer.importers import Progress
from analyzer.importers._documents import Text, one_line, read
from collector.errors import UserError

FORMAT = "OTLP spans of vLLM as JSON"

_INFERENCE = (
    "One inference is one span of the engine: one sequence, so that a request with n > 1 counts n times; "
    "a request that was aborted leaves none."
)
_SAMPLED = "Spans may have been sampled: the latencies stand for all requests, the rates only for those with a span."
_E2E = "gen_ai.latency.e2e"
_ERROR = 2


class _Value(msgspec.Struct):
    doubleValue: float | str | None = None  # noqa: N815 - the format's own names
    intValue: int | str | None = None  # noqa: N815


class _Attribute(msgspec.Struct):
    key: str
    value: _Value | None = None


class _Status(msgspec.Struct):
    code: int | str | None = None
    message: str | None = None


class _Span(msgspec.Struct):
    traceId: str = ""  # noqa: N815
    spanId: str = ""  # noqa: N815
    startTimeUnixNano: int | str | None = None  # noqa: N815
    attributes: list[_Attribute] = []
    status: _Status | None = None


class _Scope(msgspec.Struct):
    spans: list[_Span] = []


class _Resource(msgspec.Struct):
    scopeSpans: list[_Scope] = []  # noqa: N815


class _Export(msgspec.Struct):
    resourceSpans: list[_Resource]  # noqa: N815


def claims(path: Path, head: bytes) -> bool:
    """An export of spans."""
    del path
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return text.startswith(b"{") and b'"resourceSpans"' in text


def load(path: Path, progress: Progress | None = None) -> RunData:
    """Read the spans of requests.

    Raises:
        UserError: It cannot be read, or no span carries a latency.
    """
    from analyzer.importers import _request_frames as frames  # noqa: PLC0415 - pandas takes 0.3 s

    text = read(path, progress)
    exports, losses = _exports(path, text)
    given = (
        span
        for export in exports
        for resource in export.resourceSpans
        for scope in resource.scopeSpans
        for span in scope.spans
    )
    spans = {(span.traceId, span.spanId or number): span for number, span in enumerate(given)}
    asked, undated = [], 0
    for span in spans.values():
        told = {attribute.key: _number(attribute.value) for attribute in span.attributes}
        if _E2E not in told:
            continue
        t_ns = _whole(span.startTimeUnixNano)
        if t_ns is None or not 0 <= t_ns < frames.MAX_T_NS:
            undated += 1
            continue
        asked.append(
            frames.Asked(
                t_ns=t_ns,
                ttft_s=told.get("gen_ai.latency.time_to_first_token"),
                e2e_latency_s=told[_E2E],
                input_tokens=_tokens(told, "prompt", "input"),
                output_tokens=_tokens(told, "completion", "output"),
                error=one_line(span.status.message) if span.status and span.status.code in _FAILED else None,
                queue_time_s=told.get("gen_ai.latency.time_in_queue"),
                prefill_s=told.get("gen_ai.latency.time_in_model_prefill"),
                decode_s=told.get("gen_ai.latency.time_in_model_decode"),
            )
        )
    if not asked:
        raise UserError(f"{path} holds {len(spans)} spans and none with {_E2E}: trace vLLM with --otlp-traces-endpoint")
    lost = [Loss(kind="no_time", count=undated, note="spans without a time of their start")] if undated else []
    return frames.run(
        path, asked, made_by="OpenTelemetry", inference=_INFERENCE, losses=(*losses, *lost), notes=(_SAMPLED,)
    )


_FAILED = (_ERROR, "STATUS_CODE_ERROR")


def _exports(path: Path, text: Text) -> tuple[list[_Export], tuple[Loss, ...]]:
    """The exports of a file, whether it is one object or one a line."""
    from analyzer.importers import _request_frames as frames  # noqa: PLC0415 - pandas takes 0.3 s

    try:
        return [msgspec.json.decode(text.content, type=_Export)], ()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return frames.lines(path, text, _Export)


def _number(value: _Value | None) -> float | None:
    """An attribute's number; its JSON writes what is not finite, and long integers, as strings."""
    for told in (value.doubleValue, value.intValue) if value else ():
        try:
            if told is not None:
                return float(told)
        except (ValueError, OverflowError):
            return None
    return None


def _whole(value: int | str | None) -> int | None:
    if isinstance(value, int):
        return value
    return int(value) if value and value.isascii() and value.isdigit() and len(value) < _DIGITS else None


_DIGITS = 20


def _tokens(told: Mapping[str, float | None], *names: str) -> float | None:
    """The count under its newest name or the one before."""
    return next((found for name in names if (found := told.get(f"gen_ai.usage.{name}_tokens")) is not None), None)
