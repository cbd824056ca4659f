import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from collector import dialects, engines
from collector.catalogue import CATALOGUE
from collector.plugins import PluginError, discover

CONTRACT = """from collections.abc import Callable
CONTRACT = {"TITLE": str, "draw": Callable, "ANY": object}
"""
GOOD = '"""A page."""\nTITLE = "Power"\nANY = None\n\ndef draw():\n    pass\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModuleType]]:
    """Makes a plugin folder from the text of its files, as an imported package."""
    name = "a_folder_of_plugins"

    def make(**modules: str) -> ModuleType:
        (tmp_path / name).mkdir()
        for module, text in {"__init__": CONTRACT, **modules}.items():
            (tmp_path / name / f"{module}.py").write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    monkeypatch.syspath_prepend(tmp_path)
    yield make
    for module in [each for each in sys.modules if each.partition(".")[0] == name]:
        del sys.modules[module]


def test_every_module_of_a_folder_is_a_plugin(folder: Callable[..., ModuleType]) -> None:
    found = discover(folder(b=GOOD, a=GOOD, _private="raise RuntimeError"))

    assert ["a", "b"] == list(found)
    assert "Power" == found["a"].TITLE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("TITLE", "NAME"), r"bad\.py: lacks TITLE, which a_folder_of_plugins asks of each plugin"),
        (GOOD.replace('"Power"', "5"), r"bad\.py: TITLE is a int, but a_folder_of_plugins asks for a str"),
        (GOOD.replace("def draw", "draw = 1\ndef other"), r"bad\.py: draw is a int, but .* asks for a Callable"),
        (GOOD.replace("A page.", "  "), r"bad\.py: a plugin's docstring is its page, and this one has none"),
        (GOOD.removeprefix('"""A page."""'), r"bad\.py: a plugin's docstring is its page"),
    ],
)
def test_a_plugin_that_lacks_its_contract_is_named_by_its_file(
    folder: Callable[..., ModuleType], text: str, message: str
) -> None:
    with pytest.raises(PluginError, match=message):
        discover(folder(bad=text, good=GOOD))


def test_a_plugin_that_does_not_import_is_not_skipped(folder: Callable[..., ModuleType]) -> None:
    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"):
        discover(folder(bad="import nothing_of_that_name"))


@pytest.mark.parametrize("name", sorted(discover(engines)))
def test_an_engine_speaks_of_every_quantity_that_any_engine_has(name: str) -> None:
    plugin = dialects.plugins()[name]
    mapped = {each: {part.quantity for _, part in dialects.parts(each)} for each in dialects.plugins().values()}

    assert set().union(*mapped.values()) == mapped[plugin] | set(plugin.LACKS)
    assert mapped[plugin].isdisjoint(plugin.LACKS)
    assert mapped[plugin] | set(plugin.LACKS) <= set(CATALOGUE)


@pytest.mark.parametrize("name", sorted(discover(engines)))
def test_a_part_of_a_family_is_asked_for_by_its_labels(name: str) -> None:
    for _, part in dialects.parts(dialects.plugins()[name]):
        assert bool(part.label) == bool(part.values)
        assert part.scale > 0
        if part.of:
            assert "counter" == CATALOGUE[part.quantity].kind
        if part.counted_by:
            assert "histogram" == CATALOGUE[part.quantity].kind
