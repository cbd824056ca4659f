import gzip
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from analyzer import importers, sources
from analyzer.columns import RunData, Trace
from analyzer.importers import _inflate
from analyzer.sources import find_sources, load
from collector.errors import UserError
from collector.plugins import discover
from collector.schema import Run
from collector.store import RunWriter
from tests.analyzer.runs import START_NS
from tests.analyzer.traces import document, kernel

TRACE = json.dumps(document(kernel(0, 10))).encode()


def trace(path: Path, *, packed: bool = False) -> Path:
    """A trace with one kernel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(TRACE) if packed else TRACE)
    return path


def run_folder(path: Path) -> Path:
    """A run with a trace in it."""
    RunWriter.create(path, Run(run_id="r", started_ns=START_NS)).close(START_NS)
    trace(path / "traces" / "inside.json")
    return path


def fault(path: Path, act: Callable[[Path], object] = find_sources) -> str:
    """What the user is told: one line that names the path."""
    with pytest.raises(UserError) as caught:
        act(path)
    told = str(caught.value)
    assert "\n" not in told
    return told


# --------------------------------------------------------------------------------------------- what is found


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["t.pt.trace.json", "rank0.1234.pt.trace.json.gz", "no suffix", "misleading.txt"])
def test_a_trace_is_known_by_what_it_holds(tmp_path: Path, name: str, packed: bool) -> None:  # noqa: FBT001
    path = trace(tmp_path / name, packed=packed)

    assert [path] == find_sources(path)
    assert isinstance(load(path), Trace)


def test_a_run_folder_is_one_source_and_its_traces_belong_to_it(tmp_path: Path) -> None:
    path = run_folder(tmp_path / "run")

    assert [path] == find_sources(path) == find_sources(tmp_path)
    assert isinstance(load(path), RunData)


def test_the_traces_of_a_run_are_a_source_when_they_are_asked_for(tmp_path: Path) -> None:
    path = run_folder(tmp_path / "run")

    assert [path / "traces" / "inside.json"] == find_sources(path / "traces")


def test_sources_come_in_the_order_of_their_paths_from_any_depth(tmp_path: Path) -> None:
    expected = [
        trace(tmp_path / "a" / "deep" / "er" / "2.json"),
        trace(tmp_path / "a" / "x.json.gz", packed=True),
        run_folder(tmp_path / "b"),
        trace(tmp_path / "c.json"),
    ]
    (tmp_path / "notes.md").write_text("nothing to see")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "empty").mkdir()

    assert expected == find_sources(tmp_path)


# ------------------------------------------------------------------------------------------- what is no source


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path / 'gone'} does not exist: check the path" == fault(tmp_path / "gone")


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    told = fault(tmp_path)

    assert told.startswith(f"{tmp_path} holds no trace and no run folder")
    assert [plugin.FORMAT for plugin in discover(importers).values() if plugin.FORMAT not in told] == []


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.touch()

    assert fault(path) == f"{path} is empty: copy or record it again"


@pytest.mark.parametrize("content", [b"hello", b"[]", b"{}", b"\x1f\x8b", gzip.compress(b"hello"), bytes(70_000)])
def test_a_file_that_is_neither_is_said_to_be(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.json"
    path.write_bytes(content)

    assert fault(path).startswith(f"{path} is neither a profiler trace nor a run folder")


def test_a_folder_of_several_sources_is_not_loaded_as_one(tmp_path: Path) -> None:
    trace(tmp_path / "a.json")
    trace(tmp_path / "b.json")

    assert f"{tmp_path} is a folder of 2 sources: name one of them" == fault(tmp_path, load)


@pytest.mark.parametrize("name", ["n" * 300, "p" * 5000])
def test_a_path_that_no_system_takes_is_a_mistake(tmp_path: Path, name: str) -> None:
    assert "cannot be read" in fault(tmp_path / name)


def test_a_device_or_a_pipe_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    expected = trace(tmp_path / "t.json")

    assert [expected] == find_sources(tmp_path)
    assert "cannot be read" in fault(tmp_path / "pipe")


# ------------------------------------------------------------------------------------------------------ links


def test_links_to_folders_are_not_followed_and_cannot_loop(tmp_path: Path) -> None:
    expected = trace(tmp_path / "a" / "t.json")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")

    assert [expected] == find_sources(tmp_path)


def test_a_link_that_is_named_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(trace(tmp_path / "a" / "t.json").parent)

    assert [tmp_path / "link" / "t.json"] == find_sources(tmp_path / "link")


def test_a_link_to_itself_is_nowhere(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to(tmp_path / "self")

    assert "does not exist" in fault(tmp_path / "self")


# ------------------------------------------------------------------------------------- damaged and unreadable


def test_a_truncated_gzip_is_known_by_what_is_left(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.json.gz", packed=True)
    path.write_bytes(path.read_bytes()[:-20])

    assert [path] == find_sources(path)
    fault(path, load)


def test_a_gzip_that_is_damaged_from_the_start_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.json.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00" + random.Random(1).randbytes(1000))

    assert f"{path} is damaged inside its gzip stream: copy or record it again" == fault(path) == fault(path, load)


def test_what_is_damaged_inside_a_folder_is_found_and_does_not_hide_the_rest(tmp_path: Path) -> None:
    whole = trace(tmp_path / "whole.json")
    damaged = tmp_path / "damaged.json.gz"
    damaged.write_bytes(b"\x1f\x8b\x08\x00" + random.Random(1).randbytes(1000))

    assert [damaged, whole] == find_sources(tmp_path)


def test_every_file_is_looked_at_once_and_its_folder_is_not_walked_to_load_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [trace(tmp_path / f"{number}.json") for number in range(3)]
    looked: list[Path] = []
    head = _inflate.head

    def noted(path: Path, size: int) -> bytes:
        looked.append(path)
        return head(path, size)

    monkeypatch.setattr(_inflate, "head", noted)

    assert paths == find_sources(tmp_path) == looked
    looked.clear()
    load(paths[1])
    assert [paths[1]] == looked


def test_of_a_bomb_only_the_head_is_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(sources, "discover", lambda _: {"spy": _Spy(seen)})
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(50_000_000)))

    fault(path)

    assert max(seen) <= 1 << 16


class _Spy:
    """An importer that claims nothing and notes how much it was shown."""

    FORMAT = "nothing"

    def __init__(self, seen: list[int]) -> None:
        self.seen = seen

    def claims(self, path: Path, head: bytes) -> bool:
        del path
        self.seen.append(len(head))
        return False


def refuse(monkeypatch: pytest.MonkeyPatch, method: str, what: Path) -> None:
    """Let the system refuse one thing."""
    does = getattr(Path, method)

    def refused(path: Path, *arguments: object) -> object:
        if path == what:
            raise PermissionError(13, "Permission denied", str(path))
        return does(path, *arguments)

    monkeypatch.setattr(Path, method, refused)


@pytest.mark.parametrize("method", ["iterdir", "exists", "is_file"])
def test_what_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    path = trace(tmp_path / "inner" / "t.json")
    refuse(monkeypatch, method, path.parent)

    assert f"{path.parent} cannot be read: Permission denied" == fault(path.parent)


@pytest.mark.parametrize(
    ("method", "name"), [("open", "inner/t.json"), ("is_file", "inner/t.json"), ("iterdir", "inner")]
)
def test_what_may_not_be_read_inside_a_folder_is_a_source_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, name: str
) -> None:
    trace(tmp_path / "inner" / "t.json")
    whole = trace(tmp_path / "whole.json")
    refuse(monkeypatch, method, tmp_path / name)

    assert [tmp_path / name, whole] == find_sources(tmp_path)
    assert f"{tmp_path / name} cannot be read: Permission denied" == fault(tmp_path / name, load)
