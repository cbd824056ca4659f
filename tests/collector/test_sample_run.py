"""The bundled recording is what its README says it is."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.catalogue import CLOCK_EVENT_BITS
from collector.store import RunReader

PATH = Path(__file__).parents[2] / "sample_traces" / "vllm_h200"
TRACES = [
    "decode_c256.pt.trace.json.gz",
    "decode_c32.pt.trace.json.gz",
    "idle.pt.trace.json.gz",
    "low_rate.pt.trace.json.gz",
    "prefill.pt.trace.json.gz",
    "single_stream.pt.trace.json.gz",
]
FIRST_NS, LAST_NS = 1_795_280_317_790_900_000, 1_795_280_446_088_300_000


@pytest.fixture
def reader() -> Iterator[RunReader]:
    with RunReader.open(PATH) as opened:
        yield opened


def test_the_folder_is_finished_and_small(reader: RunReader) -> None:
    assert (FIRST_NS, LAST_NS) == (reader.run.started_ns, reader.run.ended_ns)
    assert ["NVIDIA H200"] == [gpu.name for gpu in reader.run.gpus]
    assert 12_000_000 > sum(path.stat().st_size for path in PATH.rglob("*"))
    assert {"run.json", "samples.sqlite", "stacks", "traces"} >= {path.name for path in PATH.iterdir()}


def test_nothing_was_lost(reader: RunReader) -> None:
    gpu, serving = reader.samples("nvml"), reader.samples("serving")

    assert ("nvml", "serving") == reader.sources()
    assert (1284, 122) == (len(gpu.rows), len(serving.rows))
    assert (FIRST_NS, LAST_NS) == (gpu.rows[0][0], gpu.rows[-1][0])
    assert {"gpu:0"} == {row[1] for row in gpu.rows}
    assert {"engine:0"} == {row[1] for row in serving.rows}
    assert 1822 == len(reader.requests())
    assert 8 == len({found.quantity for found in reader.histograms()})
    assert [] == reader.absences()
    assert TRACES == list(reader.traces())


def test_a_reading_has_the_units_of_the_catalogue(reader: RunReader) -> None:
    """The raw row: tensor 85.361 %, dram …, power in mW, clocks in MHz."""
    table = reader.samples("nvml")
    row = dict(zip(table.columns, table.rows[0], strict=True))
    column = {name: [found[index] for found in table.rows] for index, name in enumerate(table.columns)}

    assert 122.666 == pytest.approx(row["power_watts"])
    assert (1980e6, 3201e6) == (row["sm_clock_hz"], row["memory_clock_hz"])
    assert (92893216768, 41) == (row["memory_used_bytes"], row["temperature_celsius"])
    assert 3.028 * 2**20 == pytest.approx(row["pcie_tx_bytes_per_s"])
    assert 2.337 * 2**20 == pytest.approx(row["pcie_rx_bytes_per_s"])
    assert 0.85361 == pytest.approx(max(column["tensor_active_ratio"]))
    assert 0.89754 == pytest.approx(max(column["dram_active_ratio"]))
    assert 710.871 == pytest.approx(max(column["power_watts"]))
    assert 1284 - 129 == column["energy_joules_total"].count(None)
    assert {"clock_event_sw_power_cap": 477} == {
        name: int(sum(column[name])) for name in CLOCK_EVENT_BITS.values() if any(column[name])
    }


def test_the_phases_carry_their_load(reader: RunReader) -> None:
    phases = {event.name: event for event in reader.events("phase")}

    assert {
        "warm-up": {"concurrency": 8, "input_tokens": 128, "output_tokens": 32},
        "A0_idle": {},
        "A1_decode_c32": {"concurrency": 32, "input_tokens": 256, "output_tokens": 256},
        "A2_decode_c256": {"concurrency": 256, "input_tokens": 128, "output_tokens": 256},
        "A3_prefill": {"concurrency": 16, "input_tokens": 6000, "output_tokens": 2},
        "A4_lowrate": {"requests_per_s": 1.0, "input_tokens": 256, "output_tokens": 64},
        "A5_single": {"concurrency": 1, "input_tokens": 128, "output_tokens": 256},
    } == {name: event.detail for name, event in phases.items()}
    assert sorted(TRACES) == sorted(event.name for event in reader.events("trace"))
    for trace in reader.events("trace"):
        assert 1 == sum(
            phase.t_ns < trace.t_ns < (trace.end_ns or 0) < (phase.end_ns or 0) for phase in phases.values()
        )


def test_the_requests_belong_to_their_phases(reader: RunReader) -> None:
    phases = reader.events("phase")
    counts = Counter(
        phase.name
        for request in reader.requests()
        for phase in phases
        if phase.t_ns <= request.t_ns < (phase.end_ns or 0)
    )

    assert {
        "warm-up": 256,
        "A1_decode_c32": 352,
        "A2_decode_c256": 1058,
        "A3_prefill": 130,
        "A4_lowrate": 18,
        "A5_single": 8,
    } == counts
    assert {None} == {request.error for request in reader.requests()}


def test_server_and_client_agree_on_what_was_asked(reader: RunReader) -> None:
    table = reader.samples("serving", quantities=["requests_ok_total", "requests_failed_total"])
    (*_, ttft) = reader.histograms("ttft_s")

    # One request the server had before the first scrape; the client did not record it.
    assert 1822 <= table.rows[-1][2] <= 1823
    assert 0 == table.rows[-1][3]
    assert table.rows[-1][2] == ttft.cumulative[-1]


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_is_one_of_kineto_and_names_no_host(name: str) -> None:
    packed = (PATH / "traces" / name).read_bytes()
    text = gzip.decompress(packed)

    # No time of change, no file name: the same content gives the same bytes.
    assert b"\x1f\x8b\x08\x00\x00\x00\x00\x00" == packed[:8]
    assert {"traceName": name} == json.loads(b"{" + text[text.rindex(b'"traceName"') :])
    assert [] == [found for found in (b'"/', b"/root/", b".cache", b"hostname", b"host_name") if found in text]


def test_the_other_files_name_no_host() -> None:
    text = (PATH / "run.json").read_bytes() + (PATH / "samples.sqlite").read_bytes()

    assert [] == [found for found in (b"/root", b"/home", b"/tmp", b"/work", b".cache", b"://") if found in text]
