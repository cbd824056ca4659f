"""The worked example of docs/cost.md: what it says is what is computed."""

import re
from pathlib import Path

import numpy as np
import pytest

from analyzer import cost as costing
from analyzer.billing import Terms
from analyzer.formatting import money as formatted
from analyzer.prices import load_prices
from analyzer.schema import Cost, PriceChange
from analyzer.tables import money
from tests import builders
from tests.analyzer.runs import at, gpu, run, serving, spans

PAGE = (Path(__file__).parents[2] / "docs" / "cost.md").read_text("utf-8")


def rows(head: str) -> list[tuple[str, ...]]:
    """The rows of the table that begins with a line."""
    lines = PAGE[PAGE.index(head) :].split("\n\n")[0].splitlines()
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]


@pytest.fixture
def example() -> Cost:
    minutes = np.arange(10, 61)
    worked = np.clip(minutes - 10, 0, 40) / 40
    data = run(
        *(
            gpu(
                3600, hz=1 / 60, subject=f"gpu:{index}", power_watts=700.0, energy_joules_total=42_000.0 * np.arange(61)
            )
            for index in range(2)
        ),
        serving(
            3000,
            hz=1 / 60,
            at_s=600,
            requests_running=np.where(minutes < 50, 8, 0),
            requests_ok_total=9000 * worked,
            requests_failed_total=1000 * worked,
            input_tokens_total=4e6 * worked,
            output_tokens_total=5e5 * worked,
        ),
    )
    steps = ((0, 3.0), (1800, 5.0))
    changes = tuple(PriceChange(from_s=at(when_s) / 1e9, usd_per_gpu_hour=usd) for when_s, usd in steps)
    return costing.cost(data, Terms(price=builders.price(changes=changes), gpus=2), *spans(0, 3600), [0.8])


def test_the_invoice_is_the_one_that_is_printed(example: Cost) -> None:
    assert rows("| paid for |") == list(money.invoice(example).rows)


def test_the_rates_are_those_that_are_printed(example: Cost) -> None:
    ((_, in_slo, read, written, watt_hours, joules),) = money.rates([example.overall]).rows

    shown = [row[2] for row in rows("| rate |")]
    assert shown == [formatted(example.overall.usd_per_1000), in_slo, read, written, watt_hours, joules]


def test_the_sums_by_hand_are_right() -> None:
    by_hand = {row[0]: row[1] for row in rows("| by hand |")}
    parts = [float(re.findall(r"\$([\d.]+)", by_hand[name])[-1]) for name in ("start-up", "busy", "idle")]
    assert sum(parts) == pytest.approx(8.0, abs=0.001)


def test_the_file_of_prices_is_one_that_is_taken(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "own.toml").write_text(text, "utf-8")

    (price,) = load_prices(tmp_path / "own.toml").of("NVIDIA L40")

    assert (1.09, "spot", 2) == (price.usd_per_gpu_hour, price.market, len(price.changes))
