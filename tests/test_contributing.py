"""CONTRIBUTING.md names every plugin folder there is, and no folder that is not there without saying so."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
PLANNED = {"collector/sources/", "analyzer/strategies/"}


def plugin_folders() -> set[str]:
    """Every folder whose ``__init__.py`` assigns ``CONTRACT``."""
    found = set()
    for package in ("inferometer", "collector", "analyzer", "dashboard"):
        for file in (ROOT / package).rglob("__init__.py"):
            names = {
                target.id
                for node in ast.parse(file.read_text("utf-8")).body
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            if "CONTRACT" in names:
                found.add(f"{file.parent.relative_to(ROOT).as_posix()}/")
    return found


def test_every_kind_of_plugin_is_described() -> None:
    described = set(re.findall(r"`((?:inferometer|collector|analyzer|dashboard)/\w+/)`", PAGE))

    assert plugin_folders() | PLANNED == described
