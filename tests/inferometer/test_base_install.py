"""What works with the base dependencies alone, and what a command says when its extra is missing.

The wheel test proves it in a real environment; this one, in seconds, in a process that cannot import the rest.
"""

import subprocess
import sys
from pathlib import Path

import pytest

EXTRAS = (
    "numpy",
    "pandas",
    "msgspec",
    "plotly",
    "jinja2",
    "dash",
    "dash_mantine_components",
    "waitress",
    "prometheus_client",
)
BARE = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from inferometer.cli import main
sys.exit(main(sys.argv[1:]))
"""


def bare(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process that has the base dependencies alone."""
    return subprocess.run(
        [sys.executable, "-c", BARE, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["explain"], ["analyze", "--help"], ["demo", "--help"]]
)
def test_help_needs_no_extra(arguments: list[str]) -> None:
    done = bare(*arguments)

    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["analyze", "x"], "analyzer"),
        (["explain", "compute"], "analyzer"),
        (["demo"], "dashboard"),
        (["dashboard", "x"], "dashboard"),
    ],
)
def test_a_missing_extra_is_one_line_that_can_be_pasted(arguments: list[str], extra: str) -> None:
    done = bare(*arguments)

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.endswith(f"pip install 'inferometer[{extra}]'\n")
