"""Results of ``vllm bench serve --save-result --save-detailed``: every request as the benchmark's client saw it.

As ``vllm/benchmarks/serve.py`` of vLLM 0.33 writes them: lists with one entry a request, in the order they were sent.
Older versions lack ``start_times`` or ``latencies``: without the one all requests stand at the start, without the
other a request ended with its last chunk. ``start_times`` are of a clock without a date. The generated texts in the
file are not read.
"""

from pathlib import Path

import msgspec

from analyzer.columns import RunData
from analyzer.importers import Progress
from analyzer.importers._documents import one_line, read
from collector.errors import UserError

FORMAT = "results of vllm bench serve --save-detailed"

_INFERENCE = "One inference is one HTTP request of the benchmark, however many sequences it asked for."
_NO_DATE = "Times count from the first request: the file's own date has no time zone."
_NO_STARTS = (
    "This version does not save when each request was sent: they all stand at the start, so only the whole counts."
)


class _Result(msgspec.Struct):
    """What is read of a result; the rest is passed over."""

    duration: float | None = None
    input_lens: list[float | None] | None = None
    output_lens: list[float | None] | float | None = None
    ttfts: list[float | None] | None = None
    itls: list[list[float]] | None = None
    latencies: list[float | None] | None = None
    start_times: list[float] | None = None
    errors: list[str | None] | None = None


def claims(path: Path, head: bytes) -> bool:
    """An object that opens with the settings of the benchmark."""
    del path
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return text.startswith(b"{") and b'"tokenizer_id"' in text and b'"num_prompts"' in text


def load(path: Path, progress: Progress | None = None) -> RunData:
    """Read the requests.

    Raises:
        UserError: It cannot be read, was saved without its requests, or is of a version that this one cannot read.
    """
    from analyzer.importers import _request_frames as frames  # noqa: PLC0415 - pandas takes 0.3 s

    text = read(path, progress)
    if text.damage:
        raise UserError(f"{path} is {text.damage}: copy it again")
    found = _decoded(path, text.content)
    times = found.latencies if found.ttfts is None else found.ttfts
    if times is None or found.errors is None:
        raise UserError(f"{path} holds no requests, only their summary: run vllm bench serve with --save-detailed")
    count = len(times)
    columns = (found.ttfts, found.latencies, found.input_lens, found.output_lens, found.itls, found.start_times)
    if any(isinstance(column, list) and len(column) != count for column in (*columns, found.errors)):
        raise UserError(f"{path} is damaged: its lists of requests differ in length")
    starts = found.start_times or [0.0] * count
    first = min(starts, default=0.0)
    asked = [
        frames.Asked(
            t_ns=round((starts[row] - first) * 1e9) if starts[row] - first < _LONGEST_S else -1,
            # What was not streamed has no first token.
            ttft_s=(ttft := _at(found.ttfts, row)) or None,
            e2e_latency_s=_e2e(found, row, ttft),
            input_tokens=_at(found.input_lens, row),
            output_tokens=_at(found.output_lens, row) if isinstance(found.output_lens, list) else None,
            error=one_line(found.errors[row]) if found.errors[row] else None,
            gaps_s=found.itls[row] if found.itls else (),
        )
        for row in range(count)
    ]
    whole = found.duration
    return frames.run(
        path,
        asked,
        made_by="vllm bench serve",
        inference=_INFERENCE,
        span_ns=(0, round(whole * 1e9)) if whole is not None and 0 < whole < _LONGEST_S else None,
        notes=(_NO_DATE,) if found.start_times else (_NO_STARTS,),
    )


_LONGEST_S = 30 * 24 * 3600.0


def _decoded(path: Path, content: bytes) -> _Result:
    try:
        return msgspec.json.decode(content, type=_Result)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        if b"\n{" in content.strip():
            why = "it holds several results (--append-result), each on a clock of its own: keep one of them in a file"
        else:
            why = f"its results are damaged or of a version unknown here ({str(error)[:200]})"
        raise UserError(f"{path} cannot be used: {why}") from error


def _at(column: list[float | None] | None, row: int) -> float | None:
    return column[row] if column else None


def _e2e(found: _Result, row: int, ttft: float | None) -> float | None:
    if found.latencies:
        return found.latencies[row]
    return ttft + sum(found.itls[row]) if ttft and found.itls else None
