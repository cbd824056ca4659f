from pathlib import Path

import pytest

from collector.config import duration_s, load_options
from collector.errors import UserError
from collector.options import Options


@pytest.mark.parametrize(
    ("text", "seconds"), [("300ms", 0.3), ("2s", 2), ("10m", 600), ("1.5h", 5400), ("3d", 259200), ("7", 7), (0.5, 0.5)]
)
def test_a_duration_is_written_with_its_unit(text: str | float, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1 week", "1e9999", "nan"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(UserError, match="is no duration"):
        duration_s(text)


def test_flags_outrank_the_environment_and_the_environment_the_file(tmp_path: Path) -> None:
    file = tmp_path / "collector.toml"
    file.write_text('interval = "5s"\nlisten = "127.0.0.1:1"\nendpoint = "http://a"\n')

    options = load_options(
        {"endpoint": "http://c", "listen": None}, {"INFEROMETER_LISTEN": "127.0.0.1:2", "PATH": "/bin"}, file
    )

    assert (options.endpoint, options.listen, options.interval_s) == ("http://c", "127.0.0.1:2", 5.0)


def test_nothing_given_gives_the_defaults() -> None:
    assert load_options({}, {}, None) == Options()


def test_a_list_and_a_table_can_be_given(tmp_path: Path) -> None:
    file = tmp_path / "collector.toml"
    file.write_text('sources = ["nvml", "host"]\n[generic]\nmy_running = "requests_running"\n')

    options = load_options({}, {}, file)

    assert options.sources == ("nvml", "host")
    assert options.generic == {"my_running": "requests_running"}
    assert load_options({"sources": "nvml,host"}, {}, None).sources == ("nvml", "host")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("intervall = 3", "no option is called 'intervall'"),
        ("interval = 0.01", "refresh every 100 ms"),
        ("pid = 'one'", "Expected `int"),
        ("x = [", "is not TOML"),
    ],
)
def test_a_mistake_gets_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "collector.toml"
    file.write_text(text)

    with pytest.raises(UserError, match=words) as error:
        load_options({}, {}, file)
    assert "\n" not in str(error.value)


def test_a_missing_file_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_options({}, {}, tmp_path / "none.toml")
