import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzer.columns import CATEGORIES
from analyzer.importers import _inflate, kineto
from collector.errors import UserError
from tests.analyzer.traces import BASE_NS, ORIGIN_US, Json, document, kernel, launch, load, load_text, operator

SAMPLES = Path(__file__).parents[2] / "sample_traces" / "vllm_h200" / "traces"


def test_time_is_integer_nanoseconds_since_the_epoch(tmp_path: Path) -> None:
    # GIVEN a kernel at 20.7 µs that runs for 0.2 µs
    trace = load(tmp_path, kernel(20.7, 0.2))

    # THEN nothing is rounded away
    assert trace.device.start_ns.tolist() == [BASE_NS + round((ORIGIN_US + 20.7) * 1000)]
    assert (trace.device.end_ns - trace.device.start_ns).tolist() == [200]


def test_a_file_without_a_base_carries_absolute_microseconds(tmp_path: Path) -> None:
    text = json.dumps({"traceEvents": [kernel(1_700_000_000_000_000 - ORIGIN_US, 5)]}).encode()

    assert load_text(tmp_path, text).device.start_ns.tolist() == [1_700_000_000_000_000_000]


def test_a_category_decides_what_an_event_is_never_its_pid(tmp_path: Path) -> None:
    # GIVEN a host call of a process whose pid equals a device's index
    call = launch(0, correlation=1) | {"pid": 0}

    trace = load(tmp_path, call, kernel(10, 5, correlation=1))

    assert (len(trace.device), len(trace.host)) == (1, 1)
    assert CATEGORIES[trace.host.category[0]] == "runtime"


def test_streams_and_threads_may_be_words(tmp_path: Path) -> None:
    trace = load(tmp_path, kernel(0, 5, stream="7") | {"tid": "stream 7"}, operator(0, 5) | {"tid": "thread 12 (main)"})

    assert trace.device.stream.tolist() == [7]


def test_legacy_categories_and_names_are_understood(tmp_path: Path) -> None:
    old = kernel(0, 5) | {"cat": "Kernel", "args": {"device": 0, "stream": 7, "external id": 4}}

    trace = load(tmp_path, old)

    assert trace.device.external_id.tolist() == [4]


@pytest.mark.parametrize(
    ("broken", "loss"),
    [
        ({"dur": None}, "no_duration"),
        ({"dur": "soon"}, "no_duration"),
        ({"ts": None}, "no_duration"),
        ({"dur": -3.0}, "absurd_duration"),
        ({"dur": 7.4e15}, "absurd_duration"),
        ({"ts": 0.0}, "zero_time"),
    ],
)
def test_an_event_without_a_usable_time_is_dropped_and_counted(tmp_path: Path, broken: Json, loss: str) -> None:
    trace = load(tmp_path, kernel(0, 5), kernel(10, 5) | broken)

    assert len(trace.device) == 1
    assert [(found.kind, found.count) for found in trace.losses] == [(loss, 1)]


@pytest.mark.parametrize(
    "odd", [{"args": None}, {"ts": "1005.5", "dur": "5"}, {"name": 12}, {"cat": "kernel", "x": []}]
)
def test_odd_but_clear_events_are_read(tmp_path: Path, odd: Json) -> None:
    trace = load(tmp_path, kernel(0, 5) | odd)

    assert (len(trace.device), trace.losses) == (1, ())


def test_an_id_beyond_int64_is_no_id(tmp_path: Path) -> None:
    trace = load(tmp_path, kernel(0, 5, correlation=1 << 70), kernel(10, 5, correlation=3))

    assert trace.device.correlation.tolist() == [0, 3]


def _recorded(external_id: int, dims: list[list[int]], types: list[str]) -> Json:
    return {"External id": external_id, "Input Dims": dims, "Input type": types}


def test_shapes_of_matrix_products_are_read(tmp_path: Path) -> None:
    trace = load(
        tmp_path,
        operator(0, 5, args=_recorded(9, [[32, 4096], [4096, 128]], ["c10::BFloat16"] * 2)),
        operator(6, 5, args=_recorded(10, [[], [4, 4]], ["", ""])),
        operator(12, 5, "aten::add", args=_recorded(11, [[4], [4]], ["float", "float"])),
    )

    (product,) = trace.products
    assert (product.external_id, product.m, product.k, product.n) == (9, 32, 4096, 128)


def test_gzip_is_known_by_its_bytes_and_a_list_is_a_document(tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps([kernel(0, 5)]).encode())

    assert len(load_text(tmp_path, packed, "no_suffix").device) == 1


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    assert len(load_text(tmp_path, b"\xef\xbb\xbf" + json.dumps(document(kernel(0, 5))).encode()).device) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b'{"traceEvents": [{"ph": "X", "na', "is not whole JSON"),
        (b'{"traceEvents": 3}', "not a profiler trace"),
        (b'{"schemaVersion": 1}', "not a profiler trace"),
        (b'{"traceEvents": ' + b'[{"x": ' + b"[" * 100_000, "is not whole JSON"),
        (gzip.compress(json.dumps(document(*(kernel(at, 1) for at in range(999)))).encode())[:300], "is cut short"),
        (b"\x1f\x8b" + b"\x00" * 40, "is damaged"),
    ],
)
def test_a_file_that_cannot_be_used_gets_one_sentence_with_its_name(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        load_text(tmp_path, content)

    assert str(tmp_path / "trace.json") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_inflate, "MAX_BYTES", 1 << 20)

    with pytest.raises(UserError, match="inflates to more than"):
        load_text(tmp_path, gzip.compress(b" " * (64 << 20)))


def test_a_folder_in_place_of_a_file_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        kineto.load(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(cut=st.integers(0, 2000), flip=st.integers(0, 2000), byte=st.integers(0, 255))
def test_no_damage_ever_escapes_as_anything_but_a_sentence(tmp_path: Path, cut: int, flip: int, byte: int) -> None:
    text = bytearray(json.dumps(document(kernel(0, 5), launch(0, correlation=1))).encode())
    text[flip % len(text)] = byte

    try:
        load_text(tmp_path, bytes(text[: len(text) - cut % 50]))
    except UserError as error:
        assert str(tmp_path) in str(error)  # noqa: PT017 - either outcome is fine, no third is


def test_the_progress_reaches_the_whole() -> None:
    path = SAMPLES / "prefill.pt.trace.json.gz"
    seen: list[tuple[int, int]] = []

    kineto.load(path, lambda done, whole: seen.append((done, whole)))

    assert seen[-1] == (path.stat().st_size, path.stat().st_size)


@pytest.mark.parametrize(
    ("name", "device_events", "products"),
    [("decode_c32", 25_728, 186), ("prefill", 2_575, 645), ("single_stream", 44_288, 100), ("idle", 0, 0)],
)
def test_real_traces_hold_what_was_counted_by_hand(name: str, device_events: int, products: int) -> None:
    trace = kineto.load(SAMPLES / f"{name}.pt.trace.json.gz")

    assert (device_events, products) == (len(trace.device), len(trace.products))
    assert trace.losses == ()
    assert [device.name for device in trace.devices.values()] == ["NVIDIA H200"]
