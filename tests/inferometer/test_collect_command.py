"""``inferometer collect --help`` is whole; what the command does is tested with the collector."""

import re
import subprocess
import sys
from dataclasses import fields

import pytest

from collector import sources
from collector.options import Options
from collector.plugins import discover
from inferometer import cli

#: Told by a file alone, or by tests.
_NO_FLAG = {"generic", "proc", "sys"}


def test_the_help_has_every_option_and_every_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["collect", "--help"]) == 0
    page = capsys.readouterr().out

    options = {re.sub("_(?:s|ratio|bytes|usd)$", "", field.name) for field in fields(Options)} - _NO_FLAG
    flags = {f"--{option.replace('_', '-')}" for option in options | {"config", "help"}}
    assert flags == set(re.findall(r"^│ (--[a-z-]+)", page, re.MULTILINE))
    assert ", ".join(discover(sources)) in page
    assert "INFEROMETER_GPU_INTERVAL=100ms" in page
    assert "[generic]" in page


def test_what_stays_for_weeks_holds_nothing_of_the_command_line() -> None:
    program = "import sys, inferometer._collecting; print(*{'typer', 'rich', 'pydantic'} & set(sys.modules))"

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == ""
