from pathlib import Path

import pytest

from collector.config import duration_s, load_options, size_bytes
from collector.errors import UserError
from collector.options import Options


@pytest.mark.parametrize(
    ("text", "seconds"), [("300ms", 0.3), ("2s", 2), ("10m", 600), ("1.5h", 5400), ("3d", 259200), ("7", 7), (0.5, 0.5)]
)
def test_a_duration_is_written_with_its_unit(text: str | float, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1 week", "1e9999", "nan", "9" * 400])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(UserError, match="is no duration"):
        duration_s(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("500MB", 5e8), ("10GB", 1e10), ("2GiB", 2**31), ("1.5 kb", 1500), ("7", 7), (7, 7), ("0", 0), ("3TB", 3e12)],
)
def test_a_size_is_written_with_its_unit(text: str | float, size: float) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "1 XB", "1iB", "1e9", "9" * 5000, "nan", True])
def test_anything_else_is_no_size(text: str | float) -> None:
    with pytest.raises(UserError, match="is no size"):
        size_bytes(text)


def test_what_is_kept_can_be_told_in_every_way(tmp_path: Path) -> None:
    file = tmp_path / "collector.toml"
    file.write_text('keep_for = "7d"\nkeep_size = "1GB"\nkeep_free = 0\ncompat = "dcgm"\n')

    options = load_options({"keep_for": "1h"}, {"INFEROMETER_KEEP_SIZE": "2GB"}, file)

    assert (3600.0, 2_000_000_000, 0) == (options.keep_for_s, options.keep_size_bytes, options.keep_free_bytes)
    assert options.compat == "dcgm"


def test_flags_outrank_the_environment_and_the_environment_the_file(tmp_path: Path) -> None:
    file = tmp_path / "collector.toml"
    file.write_text('interval = "5s"\nlisten = "127.0.0.1:1"\nendpoint = "http://a"\n')

    options = load_options(
        {"endpoint": "http://c", "listen": None}, {"INFEROMETER_LISTEN": "127.0.0.1:2", "PATH": "/bin"}, file
    )

    assert (options.endpoint, options.listen, options.interval_s) == ("http://c", "127.0.0.1:2", 5.0)


def test_a_run_folder_can_be_told_in_every_way(tmp_path: Path) -> None:
    file = tmp_path / "collector.toml"
    file.write_text('run = "runs/monday"\n')

    assert load_options({}, {}, file).run == Path("runs/monday")
    assert load_options({}, {"INFEROMETER_RUN": "runs/tuesday"}, file).run == Path("runs/tuesday")
    assert load_options({"run": Path("runs/friday")}, {}, file).run == Path("runs/friday")


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
        ("run = 5", "Expected `Path`, got `int` - at `\\$.run`"),
        ("x = [", "is not TOML"),
        ("keep_for = '9m'", "the shortest is 10m"),
        ("keep_size = '99MB'", "the smallest is 100MB"),
        ("keep_size = []", "Expected `int"),
        ("compat = 'zabbix'", "Invalid enum value 'zabbix' - at `\\$.compat`"),
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
