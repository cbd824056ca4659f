import re
from dataclasses import fields

import pytest

from collector.catalogue import CATALOGUE, CLOCK_EVENT_BITS, Quantity

#: How a name ends that carries its unit.
ENDINGS: dict[str, str | tuple[str, ...]] = {
    "ratio": "_ratio",
    "bytes": ("_bytes", "_bytes_total"),
    "bytes/s": "_bytes_per_s",
    "W": "_watts",
    "J": "_joules_total",
    "Hz": "_hz",
    "°C": "_celsius",
    "s": ("_s", "_seconds_total"),
}


@pytest.mark.parametrize("quantity", CATALOGUE.values(), ids=lambda quantity: quantity.name)
def test_a_quantity_says_what_it_is(quantity: Quantity) -> None:
    # Names reach SQL and Prometheus as they are.
    assert re.fullmatch("[a-z][a-z0-9_]{0,59}", quantity.name)
    assert quantity.name.endswith(ENDINGS.get(quantity.unit, ""))
    assert quantity.name.endswith("_total") == (quantity.kind == "counter")
    assert quantity.meaning.endswith(".")
    assert all(getattr(quantity, field.name) for field in fields(quantity))


def test_a_quantity_is_found_by_its_name() -> None:
    assert list(CATALOGUE) == [quantity.name for quantity in CATALOGUE.values()]
    assert len(CATALOGUE) > 40


def test_every_clock_event_is_a_flag_of_one_bit() -> None:
    events = {name: quantity.kind for name, quantity in CATALOGUE.items() if name.startswith("clock_event_")}

    assert list(events) == [*CLOCK_EVENT_BITS.values(), "clock_event_other"]
    assert {"flag"} == set(events.values())
    assert all(bit & (bit - 1) == 0 for bit in CLOCK_EVENT_BITS)
    for bit, name in CLOCK_EVENT_BITS.items():
        assert f"0x{bit:03x}" in CATALOGUE[name].source
