"""The shape of the house is executable: data flows one way, and the collector stays light."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("numpy", "pandas", "torch", "dash", "plotly")


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def _house(folder: Path) -> Path:
    """A copy of the packages to break on purpose."""
    for package in ("inferometer", "collector", "analyzer", "dashboard"):
        for file in (ROOT / package).rglob("*.py"):
            copy = folder / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(file.read_text("utf-8"), "utf-8")
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text("utf-8"), "utf-8")
    return folder


def test_every_contract_is_kept() -> None:
    result = _lint_imports(ROOT)

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("collector/schema.py", "import analyzer.schema", "Data flows one way"),
        ("analyzer/cost.py", "import dashboard", "Data flows one way"),
        ("dashboard/data.py", "import inferometer", "Data flows one way"),
        *(("collector/schema.py", f"def late():\n    import {heavy}", "The collector stays light") for heavy in HEAVY),
        ("analyzer/rules/compute.py", "import analyzer.rules.batching", "Rules do not know each other"),
    ],
)
def test_a_broken_contract_is_noticed(tmp_path: Path, file: str, line: str, contract: str) -> None:
    broken = _house(tmp_path) / file
    broken.write_text(f"{broken.read_text('utf-8')}\n\n{line}\n", "utf-8")

    result = _lint_imports(tmp_path)

    assert result.returncode != 0
    assert f"{contract} BROKEN" in result.stdout


@pytest.mark.parametrize("module", ["collector", "collector.store", "collector.scrape", "collector.plugins"])
def test_the_collector_loads_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*sorted(set(sys.modules) & {set(HEAVY)!r}))"

    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout.strip() == ""


def test_the_command_line_loads_nothing_but_its_own() -> None:
    others = {*HEAVY, "msgspec", "prometheus_client", "jinja2", "waitress"}
    program = f"import sys, inferometer.cli; print(*sorted(set(sys.modules) & {others!r}))"

    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout.strip() == ""
