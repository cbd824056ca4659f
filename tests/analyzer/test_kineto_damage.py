"""Every row of the robustness matrix has the outcome that is expected of it, and the documentation says so."""

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzer.columns import Trace
from analyzer.importers import _inflate, _kineto_columns, _kineto_document, _kineto_salvage, kineto
from analyzer.pipeline import analyze
from collector.errors import UserError
from tests.analyzer.damage import CASES, EVENTS, Case, events, outcome
from tests.analyzer.traces import document, kernel, launch, load, load_text, operator

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_traces"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what.replace(" ", "_"))
def test_a_defect_has_the_outcome_that_is_expected(tmp_path: Path, case: Case) -> None:
    path = tmp_path / case.file
    path.write_bytes(case.content)

    found, notes = outcome(path)

    assert case.expected == found
    assert case.note in " ".join(notes)


def test_the_documentation_has_each_outcome() -> None:
    rows = [line.split(" | ") for line in (ROOT / "docs" / "robustness.md").read_text("utf-8").splitlines()]
    said = {row[0].removeprefix("| "): row[2] for row in rows if len(row) > 2}

    assert {case.what: case.expected for case in CASES}.items() <= said.items()


# ------------------------------------------------------------------------------------ what the outcome does not show


def test_bytes_that_are_no_text_become_a_visible_mark(tmp_path: Path) -> None:
    text = json.dumps(document(kernel(0, 5, "NAME"))).encode().replace(b"NAME", b"a\xffb\x01c\\d")

    assert load_text(tmp_path, text).names == ("a\ufffdb c\\d",)


@pytest.mark.parametrize(
    ("file", "top", "rank"),
    [
        ("a.json", {"distributedInfo": {"rank": 3}}, 3),
        ("rank5.17.json", {"distributedInfo": {"rank": 3}}, 3),
        ("rank5.17.json", {}, 5),
        ("a.json", {}, None),
        ("a.json", {"distributedInfo": {"rank": "x"}}, None),
    ],
)
def test_the_rank_is_the_documents_else_the_file_names(
    tmp_path: Path, file: str, top: dict[str, Any], rank: int
) -> None:
    text = json.dumps(document(kernel(0, 5), **top)).encode()

    assert rank == load_text(tmp_path, text, file).rank


def test_a_device_without_a_name_is_told_by_its_size(tmp_path: Path) -> None:
    (device,) = load(tmp_path, kernel(0, 5), gpu="").devices.values()

    assert "GPU of 132 multiprocessors and 150 GB" == device.name


def test_one_damaged_event_among_many_costs_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN pieces so small that damage lies across their borders
    monkeypatch.setattr(_kineto_document, "CHUNK_BYTES", 500)
    names = [f"k{number}" for number in range(300)]
    text = json.dumps(document([kernel(at, 1, name) for at, name in enumerate(names)])).encode()

    for wrong in (0, 1, 150, 298, 299):
        broken = text.replace(f'"k{wrong}"'.encode(), f'"k"{wrong}"'.encode())
        trace = kineto.read(tmp_path / "t", (broken[at : at + 97] for at in range(0, len(broken), 97)))

        assert 299 == len(trace.device)
        assert f"k{wrong}" not in trace.names
        assert [("unreadable" if wrong < 299 else "cut_short", 1)] == [(loss.kind, loss.count) for loss in trace.losses]


def test_the_verdict_abstains_where_too_much_is_missing(tmp_path: Path) -> None:
    # GIVEN a trace with a verdict, of which the profiler lost the clock of every third kernel
    whole = json.loads(gzip.decompress((SAMPLES / "torch_h200" / "gemm.pt.trace.json.gz").read_bytes()))
    path = tmp_path / "gemm.json"
    path.write_text(json.dumps(whole))
    assert "compute" == analyze(path).verdict.bottleneck
    for event in [event for event in whole["traceEvents"] if event.get("cat") == "kernel"][::3]:
        event |= {"ts": 0.0, "dur": 0.0}
    path.write_text(json.dumps(whole))

    analysis = analyze(path)

    assert "unknown" == analysis.verdict.bottleneck
    assert "can be judged" in (analysis.verdict.abstained or "")
    assert ["zero_time"] == [loss.kind for loss in analysis.quality.losses]


# --------------------------------------------------------------------------------------------------------- bombs


def endless(piece: bytes, drawn: list[int], first: bytes = b'{"traceEvents": [') -> Iterator[bytes]:
    """A text of 10 GiB, of which a reader should draw little."""
    yield first
    for _ in range(10 << 10):
        drawn.append(len(piece))
        yield piece


@pytest.mark.parametrize(
    ("first", "piece", "words"),
    [
        (b'{"traceEvents": [{"ph": "X", "name": "', b"a" * (1 << 20), "an event of more than 16 MiB"),
        (b'{"traceEvents": [', b" " * (1 << 20), "an event of more than 16 MiB"),
        (b'{"traceEvents": [{"x": ', b"[" * (1 << 20), "an event of more than 16 MiB"),
        (b'{"x": "', b"a" * (1 << 20), "lists no events in its first 16 MiB"),
        (b"", b"{" * (1 << 20), "lists no events in its first 16 MiB"),
    ],
    ids=["name", "blanks", "brackets", "head", "braces"],
)
def test_what_never_ends_is_refused_after_little_of_it(tmp_path: Path, first: bytes, piece: bytes, words: str) -> None:
    drawn: list[int] = []

    with pytest.raises(UserError, match=words):
        kineto.read(tmp_path / "bomb", endless(piece, drawn, first))

    assert sum(drawn) < 20 << 20


@pytest.mark.parametrize("event", [b'{"ph":},', b'{"ph":{},', b'{"ph":"},'])
def test_what_is_only_damage_is_refused_after_little_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: bytes
) -> None:
    monkeypatch.setattr(_kineto_salvage, "MAX_DROPPED", 1000)
    monkeypatch.setattr(kineto, "MAX_DROPPED", 1000)
    drawn: list[int] = []

    with pytest.raises(UserError, match="more events that are no JSON than whole ones"):
        kineto.read(tmp_path / "bomb", endless(event * 10_000, drawn))

    assert len(drawn) < 50


def test_more_spans_than_any_trace_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kineto_columns, "MAX_ROWS", 100_000)
    drawn: list[int] = []
    piece = b",".join([b'{"ph": "X", "cat": "kernel", "name": "k", "ts": 1, "dur": 1}'] * 10_000) + b","

    with pytest.raises(UserError, match="more than 100,000 spans"):
        kineto.read(tmp_path / "bomb", endless(piece, drawn))

    assert len(drawn) < 20


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_of_a_bomb_no_more_is_inflated_than_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(_inflate, "MAX_BYTES", 8 << 20)
    path = tmp_path / "bomb"
    path.write_bytes(pack(events(*EVENTS)[:-2] + b", " + b" " * (64 << 20) + b"]}"))

    with pytest.raises(UserError, match="inflates to more than"):
        kineto.load(path)


def test_a_zstd_window_larger_than_the_memory_is_refused(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()

    with pytest.raises(UserError, match="damaged inside its zstd stream"):
        load_text(tmp_path, packer.compress(events(*EVENTS)) + packer.flush())


# -------------------------------------------------------------------------------------------------------- fuzzing

_VALID = json.dumps(document(operator(0, 5), launch(0, correlation=1), kernel(0, 5, correlation=1))).encode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, len(_VALID)),
            st.integers(0, 40),
            st.one_of(
                st.binary(max_size=6), st.sampled_from([b'"', b"}, {", b"]", b"\\", b"[" * 2000, b"1e999", b"NaN"])
            ),
        ),
        max_size=5,
    ),
    pack=st.sampled_from([bytes, gzip.compress, zstandard.ZstdCompressor().compress]),
    cut=st.integers(0, 60),
)
def test_no_damage_ends_as_anything_but_a_trace_or_a_sentence(
    tmp_path: Path, edits: list[tuple[int, int, bytes]], pack: Callable[[bytes], bytes], cut: int
) -> None:
    text = bytearray(_VALID)
    for at, length, new in edits:
        text[at : at + length] = new
    packed = pack(bytes(text))

    try:
        trace = load_text(tmp_path, packed[: len(packed) - cut])
    except UserError as error:
        assert str(tmp_path) in str(error)  # noqa: PT017 - either outcome is fine, no third is
        assert "\n" not in str(error)  # noqa: PT017 - same
    else:
        assert isinstance(trace, Trace)


def test_a_fuzzer_that_watches_the_code_finds_nothing_else(tmp_path: Path) -> None:
    fuzzer = Path(__file__).with_name("fuzz_kineto.py")

    done = subprocess.run(
        [sys.executable, str(fuzzer), "-runs=300", "-seed=1"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stderr[-2000:]
    # It stops at the first round number of its own beyond what was asked.
    runs = re.search(r"Done (\d+) runs", done.stderr)
    assert runs is not None
    assert int(runs[1]) >= 300
