import doctest
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer import wording
from analyzer.wording import kernel_name, label, plain, quantity
from collector.catalogue import CATALOGUE


def test_the_examples_in_the_docstrings_hold() -> None:
    failed, attempted = doctest.testmod(wording)

    assert failed == 0
    assert attempted


@given(st.text())
def test_plain_text_has_no_controls_and_one_line(text: str) -> None:
    assert not [char for char in plain(text) if unicodedata.category(char)[0] == "C"]
    assert len(plain(text).splitlines()) <= 1


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("gemm", "\x1b[31mgemm\x1b[0m"),
        ("gemm", "\x1b]0;new title\x07gemm"),
        ("gemm", "ge\u202emm"),
        ("a b", "a\r\n\tb"),
    ],
)
def test_terminal_sequences_vanish_whole(expected: str, text: str) -> None:
    assert expected == plain(text)


@given(st.text() | st.text(alphabet="<>(), :x"))
def test_a_kernel_name_fits_and_never_vanishes_into_an_error(name: str) -> None:
    assert len(kernel_name(name, 40)) <= 40


@pytest.mark.parametrize("name", ["a" * 10_000, "a::" * 4_000, "<" * 10_000, "\x1b]" * 10_000])
def test_an_endless_name_is_cut(name: str) -> None:
    assert len(kernel_name(name)) <= 60
    assert len(plain(name)) <= 400


def test_every_quantity_of_the_catalogue_has_words() -> None:
    assert not [name for name in CATALOGUE if "_" in label(name)]


def test_a_value_carries_the_unit_of_its_measure() -> None:
    assert quantity("memory_used_bytes", 86e9) == "86 GB"
    assert quantity("pcie_rx_bytes_per_s", 1.5e9) == "1.50 GB/s"
    assert quantity("power_watts", 412.3) == "412 W"
    assert quantity("ttft_s", None, "no request ended") == "no request ended"
