"""Perfetto and chrome://tracing read what we write without a complaint, and find in it what we put there."""

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from analyzer import pipeline
from analyzer.columns import Trace
from analyzer.importers import kineto
from analyzer.reports import perfetto
from tests import builders
from tests.analyzer.trace_processor import TraceProcessor, catapult, trace_processor
from tests.analyzer.traces import decode_step, kernel, launch, load, operator

pytestmark = pytest.mark.browser

SAMPLE = Path(__file__).parents[2] / "sample_traces" / "torch_h200" / "graph_mlp.pt.trace.json.gz"


@pytest.fixture(name="browser", scope="module")
def _browser() -> Iterator[Browser]:
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.fail("no Chromium is installed") if os.environ.get("CI") else pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(name="reader")
def _reader(browser: Browser) -> Iterator[TraceProcessor]:
    with trace_processor(browser) as reader:
        yield reader


def written(trace: Trace) -> bytes:
    out = io.StringIO()
    perfetto.write([pipeline.conclude(trace)], out, full=False, data=[trace])
    return out.getvalue().encode()


def complaints(reader: TraceProcessor) -> list[tuple[object, ...]]:
    return reader.rows("select name, value from stats where value > 0 and severity in ('error', 'data_loss')")


def test_a_sample_is_read_whole(reader: TraceProcessor) -> None:
    trace = kineto.load(SAMPLE)
    kinds = (trace.device.category == 0, trace.device.category == 1, trace.device.category == 2)

    reader.read(written(trace))

    assert [] == complaints(reader)
    found = {
        name: (count, ns)
        for name, count, ns in reader.rows(
            "select category, count(*), sum(dur) from slice "
            "where category in ('kernel', 'gpu_memcpy', 'gpu_memset') group by category"
        )
    }
    length = trace.device.end_ns - trace.device.start_ns
    names = ("kernel", "gpu_memcpy", "gpu_memset")
    assert found == {
        name: (int(kind.sum()), int(length[kind].sum())) for name, kind in zip(names, kinds, strict=True) if kind.any()
    }


def test_overlaps_names_counters_and_arrows_arrive(reader: TraceProcessor, tmp_path: Path) -> None:
    trace = load(
        tmp_path,
        decode_step(100, 100, requests=4),
        decode_step(300, 100, requests=6),
        *(launch(at, 5, correlation=number + 1) for number, at in enumerate((50, 60, 280))),
        *(
            kernel(at, 60, 'a "name" \\ of ß\u2009µs', correlation=number + 1)
            for number, at in enumerate((100, 150, 300))
        ),
        *(operator(at, 30) for at in (40, 55)),
    )

    reader.read(written(trace))

    assert [] == complaints(reader)
    assert [('a "name" \\ of ß\u2009µs', 3)] == reader.rows(
        "select name, count(*) from slice where category = 'kernel' group by name"
    )
    assert [(3,)] == reader.rows("select count(*) from flow")
    counters = "select value from counter join track on track.id = track_id where track.name glob '{}*' order by ts"
    assert [4, 6, 0] == [value for (value,) in reader.rows(counters.format("step batch"))]
    assert [1, 2, 1, 0, 1, 0] == [value for (value,) in reader.rows(counters.format("GPU 0 launches waiting"))]
    processes = [name for (name,) in reader.rows("select name from process where name != '' order by name")]
    assert "GPU 0 NVIDIA H200" in processes
    assert any(name.startswith("Inferometer: ") and "\\u" not in name for name in processes)


def test_a_run_is_read(reader: TraceProcessor) -> None:
    out = io.StringIO()
    perfetto.write([builders.run_analysis()], out, full=False)

    reader.read(out.getvalue().encode())

    assert [] == complaints(reader)
    assert [(8,)] == reader.rows("select count(*) from slice where name = 'batching'")


def test_the_viewer_of_chrome_reads_a_sample_whole(browser: Browser) -> None:
    trace = kineto.load(SAMPLE)

    found = catapult(browser, written(trace))

    assert [] == found["complaints"]
    on_streams = [count for name, count in found["slices"].items() if name.startswith("stream")]
    assert len(trace.device) == sum(on_streams)
    assert {"GPU 0 busy, %", "GPU 0 launches waiting"} == set(found["counters"])
    launched = set(trace.device.correlation.tolist()) & set(trace.host.correlation.tolist()) - {0}
    assert len(launched) == found["arrows"]
