"""The importer says what a slow, obvious reader says: on every sample, and on a thousand documents made up."""

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzer.importers import _inflate, _kineto_document, _kineto_helpers, kineto
from analyzer.importers._kineto_events import Block
from tests.analyzer import kineto_reference
from tests.analyzer.kineto_reference import spans_of
from tests.analyzer.traces import BASE_NS

PACKERS: list[Callable[[bytes], bytes]] = [bytes, gzip.compress, zstandard.ZstdCompressor().compress]
SAMPLES = Path(__file__).parents[2] / "sample_traces"


def seen(path: Path) -> tuple[kineto_reference.Groups, dict[str, int]]:
    trace = kineto.load(path)
    return spans_of(trace), {loss.kind: loss.count for loss in trace.losses}


@pytest.mark.parametrize("path", sorted(SAMPLES.rglob("*.json.gz")), ids=lambda path: path.name)
def test_a_sample_is_read_as_the_slow_reader_reads_it(path: Path) -> None:
    assert kineto_reference.read(path) == seen(path)


#: Times of a window of ten seconds, up to where a float of microseconds still holds nanoseconds.
_microseconds = st.integers(1, 10**10).map(lambda ns: ns / 1000)
_origins_us = st.sampled_from([0, 5_000, 4_423_410_924_267, 7_900_000_000_000])
_ids = st.one_of(st.integers(-5, 2**70), st.sampled_from(["7", "stream 9", "none", "", None, 1.5]))
_names = st.one_of(
    st.sampled_from(["aten::mm", "nvjet_sm90", "execute_context_0(0)_generation_1(1)", 'a"b\\c', '}, {"ph": 1', "Ω"]),
    st.text(max_size=8),
    st.integers(0, 9),
)
_nested: Any = st.recursive(
    st.one_of(st.integers(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["ph", "name", "ts", "x"]), inner, max_size=2)
    ),
    max_leaves=6,
)
_args = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={
            "device": _ids, "stream": _ids, "correlation": _ids, "External id": _ids, "external id": _ids,
            "kernel_kwargs": _nested,
        },
    ),
)  # fmt: skip
_categories = st.sampled_from(
    [*kineto_reference.DEVICE, *kineto_reference.HOST, "ac2g", "python_function", "cuda_sync", "", None],
)
_odd_times = st.sampled_from([None, "soon", -3, 0, 7.4e15, "nan", 1e300])


@st.composite
def _events(draw: st.DrawFn, origin_us: int) -> list[dict[str, Any]]:
    """An event, or the two halves of one."""
    event = {
        "ph": draw(st.sampled_from("XXXXif")),
        "cat": draw(_categories),
        "name": draw(_names),
        "pid": draw(_ids),
        "tid": draw(_ids),
        "ts": draw(st.one_of(_microseconds.map(lambda us: origin_us + us), _odd_times)),
        "dur": draw(st.one_of(_microseconds, _odd_times)),
        "args": draw(_args),
    }
    for absent in draw(st.sets(st.sampled_from(["cat", "name", "pid", "tid", "ts", "dur", "args"]), max_size=2)):
        del event[absent]
    return [event]


@st.composite
def _halves(draw: st.DrawFn, origin_us: int) -> list[dict[str, Any]]:
    start, length = draw(st.integers(1, 10**9)), draw(st.integers(0, 10**9))
    thread = {"pid": draw(st.integers(0, 2)), "tid": draw(st.integers(0, 2))}
    begin = {"ph": "B", "cat": "cpu_op", "name": draw(_names), "ts": origin_us + start / 1000, **thread}
    return [begin, {"ph": "E", "ts": origin_us + (start + length) / 1000, **thread}]


@st.composite
def _documents(draw: st.DrawFn) -> bytes:
    origin_us = draw(_origins_us)
    groups = draw(st.lists(st.one_of(_events(origin_us), _halves(origin_us)), min_size=1, max_size=20))
    document = {
        "schemaVersion": 1,
        "baseTimeNanoseconds": BASE_NS,
        "traceEvents": [event for group in groups for event in group],
        "distributedInfo": {"rank": 0, "pg_config": [{"pg_name": "0"}]},
    }
    if draw(st.booleans()):  # the base may stand behind the events
        document["baseTimeNanoseconds"] = document.pop("baseTimeNanoseconds")
    text = json.dumps(
        document,
        indent=draw(st.sampled_from([None, 0, 2])),
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([None, (",", ":")])),
    ).encode("utf-8", "surrogatepass")
    return draw(st.sampled_from(PACKERS))(text)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=1000,
    deadline=None,
)
@given(
    packed=_documents(), chunk_bytes=st.sampled_from([1, 300, 1 << 20]), piece_bytes=st.sampled_from([7, 100, 1 << 20])
)
def test_any_document_is_read_as_the_slow_reader_reads_it(
    tmp_path: Path, packed: bytes, chunk_bytes: int, piece_bytes: int
) -> None:
    path = tmp_path / "trace"
    path.write_bytes(packed)
    text = b"".join(_inflate.pieces(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kineto_document, "CHUNK_BYTES", chunk_bytes)
        trace = kineto.read(path, (text[at : at + piece_bytes] for at in range(0, len(text), piece_bytes)))

    expected, losses = kineto_reference.read(path)
    assert expected == spans_of(trace)
    assert losses == {loss.kind: loss.count for loss in trace.losses if not loss.repaired}


def test_helpers_decode_what_one_process_decodes_in_the_same_order() -> None:
    path = SAMPLES / "vllm_h200" / "traces" / "prefill.pt.trace.json.gz"
    chunks = list(_kineto_document.Document(path, _inflate.pieces(path)).chunks())

    alone = list(_kineto_helpers.decoded(chunks, 0))
    shared = list(_kineto_helpers.decoded([*chunks, b"no event"], 2))

    assert [text for text, _ in alone] == [text for text, _ in shared[:-1]]
    assert [counts(block) for _, block in alone] == [counts(block) for _, block in shared[:-1]]
    assert shared[-1] == (b"no event", None)


@pytest.mark.parametrize("command", [("no such program",), (sys.executable, "-c", "raise SystemExit")])
def test_helpers_that_do_not_start_or_die_cost_nothing(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(_kineto_helpers, "_COMMAND", command)
    event = b'{"ph": "X", "cat": "kernel", "ts": 1, "dur": 1}'

    found = list(_kineto_helpers.decoded([event] * 9, 2))

    assert [1] * 9 == [len(block.device.name) for _, block in found if block]


def counts(block: Block | None) -> object:
    assert block is not None
    return block.names, block.device.start_ns.tolist(), block.host.correlation.tolist(), len(block.products)
