"""Targets and results of benchmarks on the command line."""

import csv
import io
import json
from pathlib import Path

import pytest

from inferometer.cli import main

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "tests" / "analyzer" / "data" / "vllm_bench.json.gz"


def test_targets_are_judged_by_what_a_benchmark_s_client_saw(capsys: pytest.CaptureFixture[str]) -> None:
    """Its verdict abstains, for nobody watched the GPU: exit code 3."""
    assert 3 == main(["analyze", str(RESULT), "--slo", "llama-3.1-8b-server"])

    shown = capsys.readouterr().out
    assert "targets  llama-3.1-8b-server: 100 % of 80 within · 9.85 good/s · budget spent ×0" in shown
    assert "99 % of requests: TTFT ≤ 2 s, TPOT ≤ 100 ms (MLPerf Inference rules" in shown


def test_targets_are_in_every_machine_s_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tight.toml"
    path.write_text("target = 0.95\nttft_s = 0.12\n")

    assert 3 == main(["analyze", str(RESULT), "--slo", str(path), "--format", "json"])
    found = json.loads(capsys.readouterr().out)["slo"]
    assert ("tight", {"ttft_s": 0.12}, 4.0) == (
        found["slo"]["name"],
        found["slo"]["limits_s"],
        found["budget_requests"],
    )
    assert 0 < found["overall"]["good_low"] == found["overall"]["good_high"] < 80

    assert 3 == main(["analyze", str(RESULT), "--slo", str(path), "--format", "csv"])
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    told = {(row["name"], row["measure"]): (row["value"], row["unit"]) for row in rows if row["section"] == "slo"}
    assert ("0.12", "s") == told["tight", "limit of ttft_s"]
    assert (str(found["overall"]["good_low_ratio"]), "ratio") == told["all", "good_low_ratio"]


def test_targets_that_nobody_knows_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == main(["analyze", str(RESULT), "--slo", "as fast as possible"])

    said = capsys.readouterr().err
    assert "there are no targets “as fast as possible”: name a TOML file, or one of llama-3.1-8b-server" in said
    assert "Traceback" not in said


def test_requests_of_one_file_belong_to_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(ROOT / "sample_traces" / "vllm_h200")

    assert 2 == main(["analyze", run, str(RESULT), "--requests", str(RESULT)])
    assert "belong to one run, and here are 2 sources" in capsys.readouterr().err
    assert 2 == main(["analyze", run, "--requests", str(tmp_path / "gone")])
    assert "gone does not exist" in capsys.readouterr().err
