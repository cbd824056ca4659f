"""``inferometer explain``: every class has a page, and a wrong name finds the right one."""

import pytest

from analyzer import rules
from analyzer.bottlenecks import BOTTLENECKS
from collector.errors import UserError
from collector.plugins import discover
from inferometer.cli import main
from inferometer.commands import explain


def test_the_list_names_every_class_with_its_letter(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    page = capsys.readouterr().out

    for item in BOTTLENECKS.values():
        assert f" {item.letter} " in page
        assert item.id in page


@pytest.mark.parametrize("name", sorted(BOTTLENECKS))
def test_every_class_has_a_page(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", name]) == 0
    page = capsys.readouterr().out

    assert BOTTLENECKS[name].title in page
    assert ("First thing to try" in page) == (name in discover(rules))


@pytest.mark.parametrize("name", ["kv-capacity", "KV_Capacity", " kv capacity "])
def test_an_id_may_be_spelled_freely(name: str) -> None:
    assert explain.find(name).id == "kv_capacity"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("throtled", "did you mean throttled?"), ("memory", "memory_bandwidth"), ("qqq", "inferometer explain")],
)
def test_a_wrong_id_gets_a_hint(name: str, hint: str) -> None:
    with pytest.raises(UserError, match="no bottleneck class") as refused:
        explain.find(name)

    assert hint in str(refused.value)
