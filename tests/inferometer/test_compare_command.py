"""``inferometer compare``: where its output goes, and what it refuses."""

import json
from pathlib import Path

import pytest

from inferometer.cli import main
from tests.analyzer.traces import document, kernel

SAMPLE = str(Path(__file__).parents[2] / "sample_traces" / "vllm_h200")


@pytest.fixture(name="sides")
def _sides(tmp_path: Path) -> list[str]:
    """Two traces that differ by 5 µs of one kernel."""
    paths = []
    for name, us in (("a", 10), ("b", 15)):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(document(kernel(0, us))))
        paths.append(str(path))
    return paths


def test_the_text_goes_to_stdout_and_adds_up(sides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *sides]) == 0
    captured = capsys.readouterr()

    assert "5.000 µs (50 %) longer" in captured.out
    assert ["10.000", "+5.000", "15.000"] == [line.split()[0] for line in captured.out.splitlines()[-3:]]
    assert captured.err == ""


def test_a_file_is_written_and_one_that_is_there_stays(
    sides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "difference.json"

    assert main(["compare", *sides, "-f", "json", "-o", str(target)]) == 0
    assert json.loads(target.read_text())["difference_s"] == pytest.approx(5e-6)
    assert main(["compare", *sides, "-o", str(target)]) == 2
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["-f", "html"], "no format"), (["-o", "."], "folder")],
)
def test_a_mistake_is_one_sentence(
    sides: list[str], arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *sides, *arguments]) == 2
    assert said in capsys.readouterr().err


def test_two_runs_are_compared_at_one_price(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", SAMPLE, SAMPLE, "--price", "3.6", "-f", "json"]) == 0
    found = json.loads(capsys.readouterr().out)

    assert (3.6, 3.6) == tuple(found[side]["usd_per_gpu_hour"] for side in ("before", "after"))
    assert main(["compare", SAMPLE, SAMPLE]) == 0
    assert "no difference" in capsys.readouterr().out


def test_a_run_against_a_trace_is_one_sentence(sides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", SAMPLE, sides[0]]) == 2
    assert "compare two of a kind" in " ".join(capsys.readouterr().err.split())


def test_a_path_that_is_not_there_is_named(sides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", sides[0], "gone.json"]) == 2
    assert "gone.json does not exist" in capsys.readouterr().err
