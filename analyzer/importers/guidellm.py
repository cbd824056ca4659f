"""GuideLLM's ``benchmarks.json``: every request of every benchmark in it, as its client saw it.

As ``GenerativeBenchmarksReport`` of GuideLLM 0.8 (report version 2, ``guidellm/benchmark/schemas``) writes it. Each
benchmark of a sweep is a phase. A request that the end of a benchmark cut off is neither answered nor failed, and is
left out. GuideLLM saves the mean gap of a request only, so ITL is not known.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from analyzer.columns import Loss, RunData
from analyzer.importers import Progress
from analyzer.importers._documents import one_line, read
from collector.errors import UserError

FORMAT = "a report of GuideLLM (benchmarks.json)"

_INFERENCE = "One inference is one request of the benchmark, however many sequences it asked for."
_CUT_OFF = "requests were cut off by the end of a benchmark: neither answered nor failed"


class _Info(msgspec.Struct):
    error: str | None = None


class _Request(msgspec.Struct):
    request_start_time: float | None = None
    request_latency: float | None = None
    time_to_first_token_ms: float | None = None
    prompt_tokens: float | None = None
    output_tokens: float | None = None
    info: _Info | None = None


class _Requests(msgspec.Struct):
    successful: list[_Request] | None = None
    errored: list[_Request] | None = None
    incomplete: list[_Request] | None = None


class _Strategy(msgspec.Struct):
    type_: str | None = None
    rate: float | None = None
    streams: float | None = None


class _Config(msgspec.Struct):
    strategy: _Strategy | None = None


class _Benchmark(msgspec.Struct):
    requests: _Requests
    config: _Config | None = None


class _Report(msgspec.Struct):
    benchmarks: list[_Benchmark]


def claims(path: Path, head: bytes) -> bool:
    """A report opens with who wrote it."""
    del path
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return text.startswith(b"{") and b'"guidellm_version"' in text


def load(path: Path, progress: Progress | None = None) -> RunData:
    """Read the requests.

    Raises:
        UserError: It cannot be read, or is of a version that this one cannot read.
    """
    from analyzer.importers import _request_frames as frames  # noqa: PLC0415 - pandas takes 0.3 s

    text = read(path, progress)
    try:
        report = msgspec.json.decode(text.content, type=_Report)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        why = text.damage or f"damaged, or of a version unknown here ({str(error)[:200]})"
        raise UserError(f"{path} is {why}: copy it again, or report what wrote it") from error
    asked: list[tuple[str, frames.Asked]] = []
    undated = cut_off = 0
    for number, benchmark in enumerate(report.benchmarks, start=1):
        cut_off += len(benchmark.requests.incomplete or ())
        for request, failed in _ended(benchmark.requests):
            if request.request_start_time is None or not 0 <= request.request_start_time < _LATEST_S:
                undated += 1
                continue
            each = frames.Asked(
                t_ns=round(request.request_start_time * 1e9),
                ttft_s=None if request.time_to_first_token_ms is None else request.time_to_first_token_ms / 1e3,
                e2e_latency_s=request.request_latency,
                input_tokens=request.prompt_tokens,
                output_tokens=request.output_tokens,
                error=one_line(request.info and request.info.error) if failed else None,
            )
            asked.append((_name(benchmark, number), each))
    left_out = (("cut_off", cut_off, _CUT_OFF), ("no_time", undated, "requests without a time of their start"))
    return frames.run(
        path,
        [each for _, each in asked],
        made_by="GuideLLM",
        inference=_INFERENCE,
        phases=frames.phases(asked),
        losses=[Loss(kind=kind, count=count, note=note) for kind, count, note in left_out if count],
    )


_LATEST_S = 2**62 / 1e9


def _ended(requests: _Requests) -> Iterator[tuple[_Request, bool]]:
    """Each request that was answered or failed, and whether it failed."""
    yield from ((request, False) for request in requests.successful or ())
    yield from ((request, True) for request in requests.errored or ())


def _name(benchmark: _Benchmark, number: int) -> str:
    """A benchmark by what asked: ``2 constant 1.5/s``, ``3 concurrent 8``."""
    strategy = (benchmark.config and benchmark.config.strategy) or _Strategy()
    rate = f"{strategy.rate:.3g}/s" if strategy.rate is not None else ""
    streams = f"{strategy.streams:.0f}" if strategy.streams is not None else ""
    return " ".join(filter(None, (str(number), (strategy.type_ or "")[:40], rate, streams)))
