"""Result files of benchmarks and exported spans against the summaries that their own writers made of them.

The three recordings are of one vLLM 0.32 on a CPU with a tiny random model: vllm bench serve of that version, AIPerf
0.13.0 and GuideLLM 0.8.1, with the texts and the settings cut out.
"""

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzer import importers
from analyzer.columns import RunData
from analyzer.importers import _request_frames, aiperf, guidellm, otlp, vllm_bench
from analyzer.pipeline import analyze, conclude, load
from analyzer.schema import Latency
from analyzer.sources import joined
from collector.errors import UserError
from collector.plugins import discover

DATA = Path(__file__).parent / "data"
VLLM, AIPERF, GUIDELLM = (DATA / name for name in ("vllm_bench.json.gz", "aiperf.jsonl.gz", "guidellm.json.gz"))
READERS = {VLLM: vllm_bench, AIPERF: aiperf, GUIDELLM: guidellm}
#: What AIPerf's own profile_export_aiperf.json says of the recording, ms: n, mean, p50, p90, p95, p99.
AIPERF_SAID = {
    "ttft_s": (39, 335.51258256410256, 283.998, 627.2257497999999, 635.7449341, 637.15587662),
    "e2e_latency_s": (39, 364.78465184615384, 292.669258, 627.2257497999999, 635.7449341, 637.15587662),
    "itl_s": (116, 9.841471672413793, 0.0, 16.025744, 37.00282775, 227.4569774999997),
}

Json = dict[str, Any]


def text(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def write(folder: Path, content: object) -> Path:
    path = folder / "file.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def told(path: Path) -> Latency:
    found = analyze(path).latency
    assert found is not None
    return found


def result(**changes: Any) -> Json:
    """Three requests as vllm bench serve writes them; the last one failed."""
    lists = {
        "input_lens": [10, 20, 30], "output_lens": [3, 2, 0],
        "ttfts": [0.1, 0.2, 0.0], "itls": [[0.01, 0.03], [0.02], []],
        "latencies": [0.14, 0.22, 0.0], "start_times": [1000.5, 1001.0, 1001.25], "errors": ["", "", "503\nbusy"],
    }  # fmt: skip
    return {"date": "20261121-230043", "tokenizer_id": "t", "num_prompts": 3, "duration": 2.0, **lists} | changes


def span(start_ns: int | str = "1700000000000000000", *, span_id: str = "a", **changes: Any) -> Json:
    """A request's span as vLLM exports it."""
    seconds = {"e2e": 1.5, "time_to_first_token": 0.5, "time_in_queue": 0.25, "time_in_model_prefill": 0.25,
               "time_in_model_decode": 1.0}  # fmt: skip
    attributes = [{"key": f"gen_ai.latency.{key}", "value": {"doubleValue": value}} for key, value in seconds.items()]
    attributes += [{"key": "gen_ai.usage.prompt_tokens", "value": {"intValue": "7"}},
                   {"key": "gen_ai.usage.completion_tokens", "value": {"intValue": "11"}}]  # fmt: skip
    return {"traceId": "t", "spanId": span_id, "name": "llm_request", "startTimeUnixNano": start_ns,
            "attributes": attributes} | changes  # fmt: skip


def export(*spans: Json) -> Json:
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]}


def test_each_file_is_claimed_by_one_importer(tmp_path: Path) -> None:
    found = {path: text(path).encode() for path in READERS} | {
        write(tmp_path, export(span())): json.dumps(export()).encode()
    }
    for (path, head), name in zip(found.items(), ("vllm_bench", "aiperf", "guidellm", "otlp"), strict=True):
        assert [name] == [
            plugin for plugin, module in discover(importers).items() if module.claims(path, head[: 1 << 16])
        ]


# --------------------------------------------------------------------------------- what their writers say of them


def test_percentiles_are_those_that_vllm_printed() -> None:
    said, overall = json.loads(text(VLLM)), told(VLLM).overall

    names = {"ttft_s": "ttft", "tpot_s": "tpot", "itl_s": "itl", "e2e_latency_s": "e2el"}
    for measure, name in names.items():
        stats = overall.stat(measure)
        assert stats is not None
        assert "requests" == stats.origin
        assert said[f"mean_{name}_ms"] == pytest.approx(1e3 * (stats.mean_s or 0))
        for found in stats.percentiles:
            assert said[f"p{100 * found.q:g}_{name}_ms"] == pytest.approx(1e3 * (found.value_s or 0))


def test_rates_are_those_that_vllm_printed() -> None:
    said, overall = json.loads(text(VLLM)), told(VLLM).overall

    # The last request may end after the clock that vLLM stops, by as much as its own bookkeeping takes.
    assert said["request_throughput"] == pytest.approx(overall.requests_per_s, rel=0.02)
    assert said["output_throughput"] == pytest.approx(overall.output_tokens_per_s, rel=0.02)
    assert said["duration"] == pytest.approx(overall.end_s - overall.start_s, rel=0.01)


def test_percentiles_are_those_that_aiperf_printed() -> None:
    overall = told(AIPERF).overall

    for measure, (n, *figures) in AIPERF_SAID.items():
        stats = overall.stat(measure)
        assert stats is not None
        found = [stats.mean_s, *(each.value_s for each in stats.percentiles[:4])]
        assert n == stats.n
        assert figures == pytest.approx([1e3 * (value or 0) for value in found], abs=1e-6)


def test_requests_of_guidellm_have_the_latencies_it_gives_them() -> None:
    data = guidellm.load(GUIDELLM)

    said = json.loads(text(GUIDELLM))["benchmarks"][0]["requests"]["successful"]
    assert sorted(each["request_latency"] for each in said) == sorted(data.requests["e2e_latency_s"])
    assert sorted(each["time_to_first_token_ms"] for each in said) == pytest.approx(
        sorted(1e3 * data.requests["ttft_s"])
    )
    assert {each["output_tokens"] for each in said} == set(data.requests["output_tokens"])


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.name)
def test_a_result_file_is_a_run_that_says_what_it_is_of(path: Path) -> None:
    analysis = analyze(path)

    assert ("run", ()) == (analysis.source.kind, analysis.source.gpus)
    assert analysis.verdict.abstained
    assert analysis.latency is not None
    assert analysis.latency.inference.startswith("One inference is one")
    assert analysis.quality.notes[0].startswith("Written by ")


def test_chunks_that_are_not_tokens_are_said_to_be_none() -> None:
    assert "gaps between chunks" in analyze(AIPERF).quality.notes[1]
    assert not [note for note in analyze(VLLM).quality.notes if "chunks" in note]


# ------------------------------------------------------------------------------------------------- vllm bench serve


def test_a_request_of_the_benchmark_is_placed_by_its_own_clock(tmp_path: Path) -> None:
    data = vllm_bench.load(write(tmp_path, result()))

    assert [0, 500_000_000, 750_000_000] == data.requests["t_ns"].tolist()
    assert [True, True, False] == data.requests["error"].isna().tolist()
    assert "503 busy" == data.requests["error"].iloc[2]
    assert data.gaps is not None
    assert [0.01, 0.03, 0.02] == data.gaps["itl_s"].tolist()


def test_an_older_result_lacks_start_and_end(tmp_path: Path) -> None:
    old = {key: value for key, value in result().items() if key not in ("start_times", "latencies", "duration")}

    data = vllm_bench.load(write(tmp_path, old))

    assert [0, 0, 0] == data.requests["t_ns"].tolist()
    assert [0.14, 0.22] == pytest.approx(data.requests["e2e_latency_s"].tolist()[:2])
    assert "they all stand" in data.notes[1] or "all stand at the start" in data.notes[1]


def test_what_was_not_streamed_has_no_first_token(tmp_path: Path) -> None:
    data = vllm_bench.load(write(tmp_path, result(ttfts=[0.0] * 3, itls=[[], [], []])))

    assert data.requests["ttft_s"].isna().all()
    assert data.gaps is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (result(ttfts=None, latencies=None), "--save-detailed"),
        (result(errors=None), "--save-detailed"),
        (result(ttfts=[0.1]), "differ in length"),
        (result(ttfts=["soon", 1, 2]), "of a version unknown here"),
        (result(start_times=[1.0, 2.0, 1e300]), "an impossible time"),
        (json.dumps(result()) + "\n" + json.dumps(result()), "several results"),
        (json.dumps(result())[:-5], "damaged or of a version"),
        ({key: [] if isinstance(value, list) else value for key, value in result().items()}, "holds no request"),
    ],
)  # fmt: skip
def test_a_result_that_cannot_be_used_says_why(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        vllm_bench.load(write(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_values_that_cannot_be_are_absent_and_counted(tmp_path: Path) -> None:
    data = vllm_bench.load(write(tmp_path, result(ttfts=[-1.0, 0.2, 0.0], latencies=[0.14, 1e9, 0.0])))

    assert [True, False, True] == data.requests["ttft_s"].isna().tolist()
    assert [False, True, False] == data.requests["e2e_latency_s"].isna().tolist()
    assert [("impossible_value", 2)] == [(loss.kind, loss.count) for loss in data.losses]


# --------------------------------------------------------------------------------------------------- AIPerf, GuideLLM


def test_a_request_that_was_cancelled_or_failed_is_no_answer(tmp_path: Path) -> None:
    records = [json.loads(line) for line in text(AIPERF).splitlines()[-3:]]
    records[0] |= {"error": {"code": 499, "type": "Timeout", "message": "too\nlate"}}
    records[1]["metadata"]["was_cancelled"] = True

    data = aiperf.load(write(tmp_path, "\n".join(map(json.dumps, records))))

    assert {"499 Timeout too late", "cancelled by the client"} == set(data.requests["error"].dropna())


def test_the_warm_up_of_aiperf_is_a_phase(tmp_path: Path) -> None:
    records = [json.loads(line) for line in text(AIPERF).splitlines()]
    for record in records[:10]:
        record["metadata"] |= {"benchmark_phase": "warmup", "phase_name": None}

    data = aiperf.load(write(tmp_path, "\n".join(map(json.dumps, records))))

    assert {"warmup", "profiling"} == {phase.name for phase in data.phases}


def test_the_summary_of_aiperf_holds_no_request(tmp_path: Path) -> None:
    path = write(tmp_path, {"schema_version": "1.2", "aiperf_version": "0.13.0"})

    with pytest.raises(UserError, match=r"give the profile_export\.jsonl beside it"):
        analyze(path)


def test_a_sweep_of_guidellm_is_a_phase_each_and_what_was_cut_off_is_left_out(tmp_path: Path) -> None:
    report = json.loads(text(GUIDELLM))
    requests = report["benchmarks"][0]["requests"]
    failed = requests["successful"][0] | {"info": {"error": "timeout"}}
    report["benchmarks"].append(
        {"config": {"strategy": {"type_": "concurrent", "streams": 8}},
         "requests": {"successful": requests["successful"][1:], "errored": [failed], "incomplete": [failed, failed]}}
    )  # fmt: skip

    data = guidellm.load(write(tmp_path, report))

    assert {"1 constant 4/s", "2 concurrent 8"} == {phase.name for phase in data.phases}
    assert [("cut_off", 2)] == [(loss.kind, loss.count) for loss in data.losses]
    assert ["timeout"] == data.requests["error"].dropna().tolist()


# -------------------------------------------------------------------------------------------------------------- spans


def test_a_span_of_vllm_tells_the_stages_of_its_request(tmp_path: Path) -> None:
    overall = told(write(tmp_path, export(span(), {"name": "GET /health", "spanId": "b"}))).overall

    means = {stats.measure: stats.mean_s for stats in overall.stats}
    assert {
        "ttft_s": 0.5,
        "tpot_s": 0.1,
        "e2e_latency_s": 1.5,
        "queue_time_s": 0.25,
        "prefill_s": 0.25,
        "decode_s": 1.0,
    } == (pytest.approx(means))


def test_exports_come_one_a_line_and_a_span_sent_twice_counts_once(tmp_path: Path) -> None:
    later = span(1_700_000_001_000_000_000, span_id="b", status={"code": 2, "message": "aborted"})

    data = otlp.load(write(tmp_path, "\n".join(map(json.dumps, (export(span()), export(span(), later), {"x": 1})))))

    assert [1_700_000_000_000_000_000, 1_700_000_001_000_000_000] == data.requests["t_ns"].tolist()
    assert ["aborted"] == data.requests["error"].dropna().tolist()
    assert [("unreadable", 1)] == [(loss.kind, loss.count) for loss in data.losses]


@pytest.mark.parametrize("start", [None, "", "soon", "9" * 19, "9" * 40, -5, "²"])
def test_a_span_without_a_time_is_left_out(tmp_path: Path, start: Any) -> None:
    data = otlp.load(write(tmp_path, export(span(), span(start, span_id="b"))))

    assert 1 == len(data.requests)
    assert [("no_time", 1)] == [(loss.kind, loss.count) for loss in data.losses]


def test_spans_without_latencies_are_no_requests(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds 1 spans and none with gen_ai\.latency\.e2e"):
        analyze(write(tmp_path, export(span(attributes=[]))))


# ----------------------------------------------------------------------------------------------------- hostile files

VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.name)
@given(share=st.floats(0, 1))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_cut_anywhere_is_read_as_far_as_it_goes_or_refused_in_a_sentence(
    tmp_path: Path, path: Path, share: float
) -> None:
    whole = text(path)
    _read_or_refused(path, write(tmp_path, whole[: int(share * len(whole))] or " "))


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.name)
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_place_of_another_is_read_or_refused_in_a_sentence(
    tmp_path: Path, path: Path, data: st.DataObject
) -> None:
    whole = text(path)
    tree = json.loads(whole.splitlines()[0])
    place, key = tree, None
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(VALUE)
    _read_or_refused(path, write(tmp_path, "\n".join([json.dumps(tree), *whole.splitlines()[1:]])))


def _read_or_refused(kind: Path, path: Path) -> None:
    refused = ""
    try:
        found: RunData = READERS[kind].load(path)
    except UserError as error:
        refused = str(error)
    assert "\n" not in refused
    if refused:
        return
    latency = conclude(found).latency
    assert latency is not None
    for stats in latency.overall.stats:
        assert all(each.value_s is None or math.isfinite(each.value_s) for each in stats.percentiles)


def test_a_file_with_too_many_requests_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analyzer.importers._documents.MAX_BRACKETS", 10)

    with pytest.raises(UserError, match="more entries than any file of its kind"):
        vllm_bench.load(write(tmp_path, result()))


def test_a_phase_lasts_from_its_first_request_to_its_last() -> None:
    phases = _request_frames.phases(
        (name, _request_frames.Asked(t_ns=index)) for index, name in enumerate(("a", "b", "a"))
    )

    assert [("a", 0, 3), ("b", 1, 2)] == [(phase.name, phase.t_ns, phase.end_ns) for phase in phases]


# --------------------------------------------------------------------------------------------- joined to a run folder

RECORDING = Path(__file__).parents[2] / "sample_traces" / "vllm_h200"


def as_aiperf_writes(rows: list[Json]) -> str:
    """What a client wrote down, in the words of AIPerf."""
    return "\n".join(
        json.dumps(
            {
                "metadata": {"request_start_ns": round(row["t0"] * 1e9), "benchmark_phase": "profiling"},
                "metrics": {
                    "time_to_first_token": {"value": 1e3 * row["ttft"], "unit": "ms"},
                    "request_latency": {"value": row["e2e"], "unit": "sec"},
                    "output_sequence_length": {"value": row["nout"], "unit": "tokens"},
                },
            }
        )
        for row in rows
    )


def client() -> list[Json]:
    return [json.loads(line) for line in text(DATA / "vllm_h200_requests.jsonl.gz").splitlines()]


def test_the_requests_of_a_result_file_take_the_place_of_a_run_s_own(tmp_path: Path) -> None:
    run = load(RECORDING)
    assert isinstance(run, RunData)
    early = client()[0] | {"t0": 1e9}

    together = joined(replace(run, requests=run.requests[:0]), write(tmp_path, as_aiperf_writes([early, *client()])))

    assert run.phases == together.phases
    assert "1 of 1,823 requests were sent outside the run and are left out." == together.notes[-1]
    alone, found = conclude(run).latency, conclude(together).latency
    assert alone is not None
    assert found is not None
    for measure in ("ttft_s", "tpot_s", "e2e_latency_s"):
        expected, stats = alone.overall.stat(measure), found.overall.stat(measure)
        assert expected is not None
        assert stats is not None
        assert (1822, "requests") == (stats.n, stats.origin)
        assert [each.value_s for each in expected.percentiles] == pytest.approx(
            [each.value_s for each in stats.percentiles], rel=1e-6
        )
    assert "one turn of a conversation" in found.inference


def test_requests_join_a_run_of_their_own_time_only(tmp_path: Path) -> None:
    run, trace = load(RECORDING), load(RECORDING / "traces" / "decode_c32.pt.trace.json.gz")

    for data, path, said in (
        (run, VLLM, "not of one time"),
        (run, RECORDING, "is no result file"),
        (trace, AIPERF, "is a trace"),
        (run, tmp_path / "gone.json", "does not exist"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            joined(data, path)
        assert "\n" not in str(caught.value)
