"""The front door: help, exit codes, and one sentence for every mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

import inferometer
from collector.errors import UserError
from collector.plugins import discover
from inferometer import cli, commands
from inferometer._extras import MissingExtraError

COMMANDS = discover(commands)


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """The exit code of a command that ends in an error."""

    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    return cli.main([])


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    assert f"inferometer {command}" in capsys.readouterr().out


def test_the_front_page_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    page = capsys.readouterr().out

    assert all(command in page for command in COMMANDS)
    assert cli.main(["--help"]) == 0
    assert page.split() == capsys.readouterr().out.split()


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert f"inferometer {inferometer.__version__}\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--nonsense"],
        ["analyze"],
        ["analyze", "--nonsense"],
        ["analyze", "x", "--window", "soon"],
        ["analyze", "x", "--window", "0"],
        ["analyze", "x", "--price", "-1"],
        ["analyze", "x", "--format", "pdf"],
        ["analyze", "/no/such/file"],
        ["dashboard"],
        ["demo", "--port", "70000"],
        ["explain", "nonsense"],
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()

    assert captured.out == ""
    assert captured.err.startswith("inferometer: ")
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize("error", [UserError("no\nsuch\x1b[31m thing"), MissingExtraError("no\nsuch\x1b[31m thing")])
def test_a_refusal_is_safe_to_print(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(monkeypatch, error) == 2
    assert capsys.readouterr().err == "inferometer: no such thing\n"


def test_ctrl_c_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ""


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        raising(monkeypatch, ZeroDivisionError())


def test_a_reader_who_leaves_is_no_fault() -> None:
    """GIVEN a reader that has gone, WHEN help is printed, THEN nothing is said about it."""
    command = [sys.executable, "-c", "import sys; from inferometer.cli import main; sys.exit(main(['explain']))"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]) as p:
        assert p.stdout is not None
        assert p.stderr is not None
        p.stdout.close()
        assert p.stderr.read() == b""
        assert p.wait(60) == 141


def test_a_terminal_without_the_characters_is_served() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from inferometer.cli import main; sys.exit(main(['explain', 'io']))"],
        check=False,
        capture_output=True,
        cwd=Path(__file__).parents[2],
        env={"PYTHONIOENCODING": "ascii:strict", "PATH": ""},
    )

    assert (b"", 0) == (done.stderr, done.returncode)
