"""Keep a trace's columns beside its file, so that the next reading of a large one takes milliseconds.

Nothing is written unless it is asked for. A cache counts for as long as its file has the same size, time of change,
head and tail, and this version of the columns; one that is anything else is read past and written anew. Like every
file it is not trusted: arrays of other types or lengths, or without their names, are no cache.
"""

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import analyzer
from analyzer import columns
from analyzer.columns import Spans, Trace

#: What a cache is called: the trace's name and this.
SUFFIX = ".columns"

_ENDS_BYTES = 1 << 16
_KINDS = {columns.Int32: np.int32, columns.Int64: np.int64, columns.Float64: np.float64, columns.Bool: np.bool_}


def load(path: Path, read: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the importer gives
    """The trace from its cache where that is still true; else read, and kept where it is a trace of a file."""
    if not path.is_file():
        return read()
    key = _key(path)
    if (kept := _kept(path, key)) is not None:
        return kept
    found = read()
    if isinstance(found, Trace) and key == _key(path):
        _keep(path, key, found)
    return found


def _key(path: Path) -> str:
    """What a file is known by, without reading all of it."""
    status = path.stat()
    with path.open("rb") as file:
        ends = file.read(_ENDS_BYTES)
        file.seek(max(0, status.st_size - _ENDS_BYTES))
        ends += file.read(_ENDS_BYTES)
    made_of = {kind.__name__: [field.name for field in fields(kind)] for kind in (Trace, Spans, columns.Operations)}
    said = [_version(), made_of, path.name, status.st_size, status.st_mtime_ns, hashlib.sha256(ends).hexdigest()]
    return json.dumps(said)


def _version() -> str:
    """Changes with every change of what reads traces: the newest of our importers' files."""
    sources = Path(analyzer.__file__).parent.joinpath("importers").glob("*.py")
    return str(max(source.stat().st_mtime_ns for source in sources))


def _keep(path: Path, key: str, trace: Trace) -> None:
    """Write a cache in one step; a folder that cannot be written to has none."""
    arrays: list[Any] = []

    def number(array: object) -> int:
        arrays.append(np.asarray(array))
        return len(arrays) - 1

    about = msgspec.json.encode([key, trace], enc_hook=number)
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}", delete=False) as file:
            named: dict[str, Any] = {str(at): array for at, array in enumerate(arrays)}
            np.savez(file, about=np.frombuffer(about, np.uint8), **named)
        os.replace(file.name, path.with_name(path.name + SUFFIX))  # noqa: PTH105 - one step
    except OSError:
        return


def _kept(path: Path, key: str) -> Trace | None:
    """The trace in a cache; None where there is none, or none that counts."""
    try:
        with path.with_name(path.name + SUFFIX).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            if any(member.compress_type != zipfile.ZIP_STORED for member in file.zip.infolist()):
                return None  # ours are plain: what inflates may be a bomb
            found_key, rest = msgspec.json.decode(file["about"].tobytes(), type=tuple[str, msgspec.Raw])
            if found_key != key:
                return None
            trace = msgspec.json.decode(rest, type=Trace, dec_hook=lambda kind, at: _array(kind, file[str(at)]))
    except (OSError, ValueError, TypeError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, msgspec.MsgspecError):
        return None
    return trace if _is_whole(trace) else None


def _array(kind: Any, array: Any) -> Any:  # noqa: ANN401 - types and arrays of every kind
    """An array, if it is of the kind that belongs in its place."""
    if array.dtype != _KINDS.get(kind) or array.ndim != 1:
        raise ValueError("an array of another kind")
    return array


def _is_whole(trace: Trace) -> bool:
    """Whether the columns fit one another, the names and the categories."""
    groups = (trace.device, trace.host, trace.host_marks, trace.device_marks)
    return all(_are_even(group) for group in (*groups, trace.operations)) and all(
        _are_within(spans.name, len(trace.names)) and _are_within(spans.category, len(columns.CATEGORIES))
        for spans in groups
    )


def _are_even(group: Any) -> bool:  # noqa: ANN401 - any dataclass of columns
    return len({len(getattr(group, field.name)) for field in fields(group)}) == 1


def _are_within(indices: columns.Int32, count: int) -> bool:
    return not len(indices) or (int(indices.min()) >= 0 and int(indices.max()) < count)
