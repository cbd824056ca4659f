import io
import json
import os
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyzer import trace_cache
from analyzer.importers import kineto
from analyzer.sources import find_sources, load
from tests.analyzer.traces import document, kernel, launch, mark, operator

SAMPLES = Path(__file__).parents[2] / "sample_traces"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "t.json", kernel(0, 5))


def written(path: Path, *events: Any) -> Path:
    path.write_text(json.dumps(document(operator(0, 9), launch(0, correlation=1), mark(0, 9, "m"), *events)))
    return path


def kept(path: Path) -> Path:
    return path.with_name(path.name + trace_cache.SUFFIX)


def same(one: Any, other: Any) -> bool:
    """Equal in every array, with its type, and in everything else."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if is_dataclass(one):
        return type(one) is type(other) and all(
            same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)
        )
    return bool(one == other)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read themselves."""
    read, seen = kineto.load, []

    def spy(path: Path, progress: Any = None) -> Any:
        seen.append(path)
        return read(path, progress)

    monkeypatch.setattr(kineto, "load", spy)
    return seen


@pytest.mark.parametrize("sample", sorted(SAMPLES.rglob("*.json.gz")), ids=lambda path: path.name)
def test_what_was_kept_is_what_was_read(tmp_path: Path, sample: Path, reads: list[Path]) -> None:
    path = tmp_path / sample.name
    path.write_bytes(sample.read_bytes())

    first, second = load(path, cache=True), load(path, cache=True)

    assert [path] == reads
    assert same(first, second)
    assert [path] == find_sources(tmp_path)


def test_nothing_is_written_unless_it_is_asked_for(path: Path) -> None:
    load(path)

    assert not kept(path).exists()


def test_a_file_that_changed_is_read_again(path: Path, reads: list[Path]) -> None:
    load(path, cache=True)
    written(path, kernel(0, 5), kernel(10, 5))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))

    trace = load(path, cache=True)

    assert 2 == len(reads)
    assert same(trace, kineto.load(path))


def test_a_file_of_the_same_size_and_time_is_told_by_its_ends(path: Path, reads: list[Path]) -> None:
    load(path, cache=True)
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"nvjet_gemm", b"other_gemm"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    load(path, cache=True)

    assert 2 == len(reads)


def _cut(text: bytes) -> bytes:
    return text[: len(text) // 2]


def _npy(_: bytes) -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(3))
    return file.getvalue()


@pytest.mark.parametrize("damage", [_cut, lambda _: b"", lambda _: b"PK", _npy, lambda text: text[::-1]])
def test_a_cache_that_is_damaged_is_no_cache(path: Path, reads: list[Path], damage: Callable[[bytes], bytes]) -> None:
    whole = load(path, cache=True)
    kept(path).write_bytes(damage(kept(path).read_bytes()))

    again = load(path, cache=True)

    assert 2 == len(reads)
    assert same(whole, again)
    load(path, cache=True)
    assert 2 == len(reads)


@pytest.mark.parametrize(
    "forge",
    [
        lambda array: array[:0],
        lambda array: array.astype(np.float32),
        lambda array: array + 1000 if array.dtype == np.int32 else array,
        lambda array: array.reshape(-1, 1),
    ],
    ids=["length", "type", "range", "shape"],
)
def test_arrays_that_do_not_fit_are_no_cache(path: Path, reads: list[Path], forge: Callable[[Any], Any]) -> None:
    load(path, cache=True)
    with np.load(kept(path)) as file:
        held = {name: file[name] for name in file.files}
    spoilt = {name: forge(array) if name in ("0", "7") else array for name, array in held.items()}
    with kept(path).open("wb") as file:
        np.savez(file, **spoilt)

    load(path, cache=True)

    assert 2 == len(reads)


def test_a_compressed_cache_is_not_inflated(path: Path, reads: list[Path]) -> None:
    load(path, cache=True)
    with np.load(kept(path)) as file:
        held = {name: file[name] for name in file.files}
    with kept(path).open("wb") as file:
        np.savez_compressed(file, **held)

    load(path, cache=True)

    assert 2 == len(reads)


def test_a_folder_that_may_not_be_written_to_has_no_cache(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refused)

    load(path, cache=True)

    assert [path] == list(path.parent.iterdir())
