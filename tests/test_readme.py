"""The README tells the truth: what it shows of a command is what the command prints."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from analyzer import rules
from analyzer.bottlenecks import BOTTLENECKS
from collector.plugins import discover

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
SHOWN = re.findall(r"```\n\$ (inferometer [^\n]+)\n(.*?)\n```", README, re.DOTALL)


@pytest.mark.parametrize(("command", "output"), SHOWN, ids=[command for command, _ in SHOWN])
def test_an_example_prints_what_is_shown(command: str, output: str) -> None:
    arguments = [str(Path(sys.executable).with_name("inferometer")), *command.split()[1:]]

    result = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout.rstrip() == output


def test_there_are_examples() -> None:
    assert len(SHOWN) == 2


def test_every_class_is_in_the_table_and_judged_where_there_is_a_rule() -> None:
    rows = {
        name: judged for name, _, judged in re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", README, re.MULTILINE)
    }

    assert set(rows) == set(BOTTLENECKS)
    assert {name for name, judged in rows.items() if judged != "not yet"} == {*discover(rules), "unknown"}
