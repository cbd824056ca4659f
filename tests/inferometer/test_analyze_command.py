"""``inferometer analyze``: where its output goes, and what its exit code says. The pipeline is a fake."""

import gzip
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analyzer import many, pipeline
from analyzer.schema import Analysis
from collector.errors import UserError
from inferometer.cli import main
from tests import builders
from tests.analyzer.traces import document, kernel


class Pipeline:
    """Answers with analyses by file name, and remembers what it was asked. A missing answer is a damaged file."""

    def __init__(self) -> None:
        self.answers: dict[str, Analysis] = {}
        self.asked: list[dict[str, Any]] = []

    def find_sources(self, path: Path) -> list[Path]:
        if not path.exists():
            raise UserError(f"there is no {path}")
        return sorted(path.iterdir()) if path.is_dir() else [path]

    def load(self, path: Path, progress: Callable[[int, int], None], *, cache: bool) -> Path:
        self.asked.append({"cache": cache})
        progress(1, 1)
        if path.name not in {"fault", *self.answers}:
            raise UserError(f"{path} is damaged: copy or record it again")
        return path

    def conclude(self, loaded: Path, *, timings: pipeline.Timings, **asked: Any) -> Analysis:
        self.asked[-1] |= asked
        timings.steps.append(("read", 0.25))
        if loaded.name == "fault":
            raise ZeroDivisionError
        return self.answers[loaded.name]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    made = Pipeline()
    monkeypatch.setattr(many, "find_sources", made.find_sources)
    monkeypatch.setattr(pipeline, "load", made.load)
    monkeypatch.setattr(pipeline, "conclude", made.conclude)
    return made


@pytest.fixture
def trace(fake: Pipeline, tmp_path: Path) -> Path:
    return source(fake, tmp_path / "sources" / "a.json", builders.trace_analysis())


def source(fake: Pipeline, path: Path, analysis: Analysis) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.touch()
    fake.answers[path.name] = analysis
    return path


def test_the_text_goes_to_stdout_and_nothing_else_does(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(trace)]) == 0
    captured = capsys.readouterr()

    assert "host overhead" in captured.out
    assert captured.err == ""


def test_one_source_is_an_object_and_several_are_an_array(
    fake: Pipeline, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", str(trace), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"]["kind"] == "trace"

    source(fake, trace.with_name("b.json"), builders.run_analysis())
    assert main(["analyze", str(trace.parent), "--format", "json"]) == 0
    assert ["trace", "run"] == [tree["source"]["kind"] for tree in json.loads(capsys.readouterr().out)]


def test_a_source_named_twice_is_analysed_once(fake: Pipeline, trace: Path) -> None:
    assert main(["analyze", str(trace), str(trace.parent), str(trace)]) == 0
    assert len(fake.asked) == 1


def test_price_and_window_reach_the_pipeline(fake: Pipeline, trace: Path) -> None:
    assert main(["analyze", str(trace), "--price", "2.49", "--window", "1"]) == 0
    (asked,) = fake.asked
    assert {"price_usd_per_gpu_hour": 2.49, "window_s": 1.0, "cache": False}.items() <= asked.items()


def test_the_cache_is_asked_for(fake: Pipeline, trace: Path) -> None:
    assert main(["analyze", str(trace), "--cache"]) == 0
    assert fake.asked[0]["cache"]


def test_timings_are_a_table_on_stderr(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(trace), "--timings"]) == 0
    captured = capsys.readouterr()

    assert "0.250" in captured.err
    assert "report as text" in captured.err
    assert "0.250" not in captured.out


class TestExitCode:
    def test_it_is_3_when_every_verdict_abstains(self, fake: Pipeline, tmp_path: Path) -> None:
        path = source(fake, tmp_path / "sources" / "a", builders.trace_analysis(verdict=builders.abstention()))

        assert main(["analyze", str(path)]) == 3

    def test_it_is_0_when_one_verdict_does_not(self, fake: Pipeline, trace: Path) -> None:
        source(fake, trace.with_name("b"), builders.trace_analysis(verdict=builders.abstention()))

        assert main(["analyze", str(trace.parent)]) == 0

    def test_it_is_2_when_one_of_several_cannot_be_used_and_the_others_are_answered(
        self, trace: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        trace.with_name("b.json").touch()

        assert main(["analyze", str(trace.parent)]) == 2
        captured = capsys.readouterr()
        reason = f"{trace.with_name('b.json')} is damaged: copy or record it again"
        assert "host overhead" in captured.out
        assert reason.replace(" ", "") in "".join(captured.out.split())
        assert f"inferometer: 1 of 2 sources cannot be used: {reason}\n" == captured.err

    def test_it_is_1_when_a_fault_of_ours_costs_one_source_and_its_traceback_is_shown(
        self, trace: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        trace.with_name("fault").touch()

        assert main(["analyze", str(trace.parent)]) == 1
        captured = capsys.readouterr()
        assert "host overhead" in captured.out
        assert "a fault of Inferometer" in captured.out
        assert captured.err.startswith("Traceback")
        assert "ZeroDivisionError" in captured.err

    def test_a_fault_of_ours_on_the_only_source_keeps_its_traceback(self, fake: Pipeline, tmp_path: Path) -> None:
        (tmp_path / "fault").touch()

        with pytest.raises(ZeroDivisionError):
            main(["analyze", str(tmp_path / "fault")])
        assert len(fake.asked) == 1


class TestOutput:
    def test_a_file_is_written(self, trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        target = tmp_path / "report.json"

        assert main(["analyze", str(trace), "-f", "json", "-o", str(target)]) == 0
        assert json.loads(target.read_text())["schema_version"] == 1
        assert capsys.readouterr().out == ""
        assert [target.name] == [path.name for path in tmp_path.iterdir() if path.is_file()]

    def test_a_file_that_is_there_stays(
        self, fake: Pipeline, trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        target = tmp_path / "report.txt"
        target.write_text("mine")

        assert main(["analyze", str(trace), "-o", str(target)]) == 2
        assert target.read_text() == "mine"
        assert "--force" in capsys.readouterr().err
        assert [] == fake.asked

    def test_force_replaces_it(self, trace: Path, tmp_path: Path) -> None:
        target = tmp_path / "report.txt"
        target.write_text("mine")

        assert main(["analyze", str(trace), "-o", str(target), "--force"]) == 0
        assert "host overhead" in target.read_text("utf-8")

    def test_nothing_is_written_when_the_analysis_fails(self, tmp_path: Path, fake: Pipeline) -> None:
        target = tmp_path / "report.txt"

        assert main(["analyze", str(tmp_path / "nothing"), "-o", str(target)]) == 2
        assert [] == list(tmp_path.iterdir())
        assert [] == fake.asked

    @pytest.mark.parametrize("target", [".", "no/such/folder/report.txt"])
    def test_a_place_that_cannot_be_is_refused(
        self, trace: Path, target: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["analyze", str(trace), "-o", target]) == 2
        assert "folder" in capsys.readouterr().err

    def test_a_name_the_disk_refuses_is_a_sentence(
        self, trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["analyze", str(trace), "-o", str(tmp_path / ("n" * 255))]) == 2
        assert "cannot write" in capsys.readouterr().err

    def test_a_link_is_followed(self, trace: Path, tmp_path: Path) -> None:
        target, link = tmp_path / "target.txt", tmp_path / "link.txt"
        target.touch()
        link.symlink_to(target)

        assert main(["analyze", str(trace), "-o", str(link), "--force"]) == 0
        assert link.is_symlink()
        assert "host overhead" in target.read_text("utf-8")

    def test_a_device_is_written_to_and_not_replaced(self, trace: Path, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            assert main(["analyze", str(trace), "-o", str(pipe)]) == 0
            assert "host overhead" in os.read(reader, 65536).decode()
        finally:
            os.close(reader)
        assert pipe.is_fifo()

    def test_a_page_is_not_thrown_at_a_terminal(
        self, trace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        monkeypatch.setattr(sys, "stdout", Terminal())

        assert main(["analyze", str(trace), "-f", "html"]) == 2
        assert "-o" in capsys.readouterr().err

    def test_a_page_goes_into_a_pipe(self, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["analyze", str(trace), "-f", "html"]) == 0
        assert capsys.readouterr().out.startswith("<!doctype html>")

    @pytest.mark.parametrize("form", ["json", "text"])
    def test_a_name_that_ends_in_gz_is_packed_the_same_each_time(self, trace: Path, tmp_path: Path, form: str) -> None:
        first, second = tmp_path / "one.gz", tmp_path / "two.gz"

        assert [0, 0] == [main(["analyze", str(trace), "-f", form, "-o", str(path)]) for path in (first, second)]
        assert first.read_bytes() == second.read_bytes()
        assert b"host" in gzip.decompress(first.read_bytes())

    def test_perfetto_shows_one_source_at_a_time(
        self, fake: Pipeline, trace: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source(fake, trace.with_name("b.json"), builders.trace_analysis())

        assert main(["analyze", str(trace.parent), "-f", "perfetto"]) == 2
        assert "one source at a time" in capsys.readouterr().err


def test_perfetto_is_given_what_was_loaded(tmp_path: Path) -> None:
    path, target = tmp_path / "a.json", tmp_path / "found.json.gz"
    path.write_text(json.dumps(document(kernel(0, 10))))

    main(["analyze", str(path), "-f", "perfetto", "-o", str(target)])

    events = json.loads(gzip.decompress(target.read_bytes()))["traceEvents"]
    assert ["nvjet_gemm"] == [event["name"] for event in events if event.get("cat") == "kernel"]
