"""``inferometer prices``: what is known, by GPU, with its age; and how the other commands take the user's own."""

import json
from pathlib import Path

import pytest

from collector.config import load_options
from inferometer import samples
from inferometer.cli import main

ROW = '[[price]]\ngpu = "H200"\nusd_per_gpu_hour = {}\nread_on = 2020-01-01\nprovider = "ours"\n'


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "ours.toml"
    file.write_text(ROW.format(2.5), "utf-8")
    return file


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert main(["prices", *arguments, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema_version"] == 1
    prices: list[dict[str, object]] = found["prices"]
    return prices


def test_the_list_has_every_gpu_and_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices"]) == 0
    page = capsys.readouterr().out

    assert all(word in page for word in ("H200", "B200", "L4", "spot", "reserved-1y", "skypilot-catalog", "2026-11-21"))
    assert page == "".join(f"{line.rstrip()}\n" for line in page.splitlines())


def test_a_name_of_a_gpu_is_no_beginning_of_another(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"L4"} == {price["gpu"] for price in listed(capsys, "l4")}
    assert {"H100", "H100 SXM"} == {price["gpu"] for price in listed(capsys, "H100")}


def test_a_driver_s_name_finds_its_prices(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"L40S"} == {price["gpu"] for price in listed(capsys, "NVIDIA L40S")}


def test_your_own_stand_first_and_old_ones_are_marked(capsys: pytest.CaptureFixture[str], own: Path) -> None:
    mine, *others = listed(capsys, "H200", "--prices", str(own))

    assert ("ours", 2.5, True) == (mine["provider"], mine["usd_per_gpu_hour"], mine["old"])
    assert others
    assert main(["prices", "H200", "--prices", str(own)]) == 0
    assert "2020-01-01 (old)" in capsys.readouterr().out


def test_the_environment_may_name_your_file(
    capsys: pytest.CaptureFixture[str], own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFEROMETER_PRICES", str(own))

    assert "ours" == listed(capsys, "H200")[0]["provider"]


def test_a_collector_is_not_confused_by_that_file() -> None:
    assert load_options({}, {"INFEROMETER_PRICES": "ours.toml", "INFEROMETER_INTERVAL": "2s"}, None).interval_s == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prices", "abacus"], "no price is known for “abacus”"),
        (["prices", "--format", "xml"], "there is no format “xml”"),
        (["prices", "--prices", "/no/such/file"], "/no/such/file cannot be read"),
        (["analyze", ".", "--prices", "/no/such/file"], "/no/such/file cannot be read"),
        (["analyze", ".", "--price", "inf"], "the price of a GPU-hour is inf"),
        (["analyze", ".", "--usd-per-kwh", "-1"], "usd-per-kwh"),
        (["analyze", ".", "--pue", "0.5"], "pue"),
        (["analyze", ".", "--gpus", "0"], "gpus"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()

    assert said in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("row", "said"), [(ROW.format(-1), "zero dollars"), (ROW.format(1) + 'currency = "EUR"\n', "in EUR")]
)
def test_a_mistake_in_your_file_is_one_line(
    row: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.toml").write_text(row, "utf-8")

    assert main(["analyze", str(tmp_path), "--prices", str(tmp_path / "bad.toml")]) == 2
    assert said in capsys.readouterr().err


def test_what_is_told_of_prices_reaches_the_bill(capsys: pytest.CaptureFixture[str], own: Path) -> None:
    """Of the sample, 128 s on one H200: as if it were a quarter of each of two, at a price of one's own."""
    told = ["--prices", str(own), "--gpus", "2", "--gpu-share", "0.25", "--format", "json"]
    assert main(["analyze", str(samples.reference()), *told]) == 0
    cost = json.loads(capsys.readouterr().out)["cost"]

    seconds = cost["overall"]["end_s"] - cost["overall"]["start_s"]
    assert 2.5 * 2 * 0.25 * seconds / 3600 == pytest.approx(cost["overall"]["usd"])
    assert cost["overall"]["usd"] == pytest.approx(sum(part["usd"] for part in cost["invoice"]["parts"]))
    assert ["ours", "aws"] == [offer["price"]["provider"] for offer in cost["offers"]][:2]
    assert "the price was read on 2020-01-01" in cost["warnings"][0]
