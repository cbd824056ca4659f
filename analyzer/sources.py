"""Find what can be analysed at a path, and load it with the importer that claims it."""

from collections.abc import Iterator
from pathlib import Path

from analyzer import importers
from analyzer.columns import RunData, Trace
from analyzer.importers import Progress, _inflate
from collector.errors import UserError
from collector.plugins import discover

#: Bytes of a file that the importers may look at to recognise it.
_HEAD_BYTES = 1 << 16


def find_sources(path: Path) -> list[Path]:
    """The traces and run folders at a path: itself, or what lies in a folder and its subfolders.

    The traces inside a run folder belong to the run and are not sources of their own. Links to folders are not
    followed.

    Raises:
        UserError: Nothing is there, it cannot be read, or it holds nothing that any importer claims.
    """
    try:
        if not path.exists():
            raise UserError(f"{path} does not exist: check the path")
        if _importer(path) is not None:
            return [path]
        if path.is_file() and not path.stat().st_size:
            raise UserError(f"{path} is empty: copy or record it again")
        if path.is_file():
            raise UserError(f"{path} is neither a profiler trace nor a run folder: {_expected()}")
        found = list(_inside(path))
    except OSError as error:
        raise UserError(f"{error.filename or path} cannot be read: {error.strerror or error}") from error
    if not found:
        raise UserError(f"{path} holds no trace and no run folder: {_expected()}")
    return found


def _inside(folder: Path) -> Iterator[Path]:
    """The sources inside a folder, in the order of their paths."""
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        if path != folder and _importer(path) is not None:
            yield path
        elif path == folder or (path.is_dir() and not path.is_symlink()):
            waiting += sorted(path.iterdir(), reverse=True)


def _expected() -> str:
    return f"give it {' or '.join(plugin.FORMAT for plugin in discover(importers).values())}"


def _importer(path: Path) -> str | None:
    """Name of the importer that claims a path."""
    head = _inflate.head(path, _HEAD_BYTES) if path.is_file() else b""
    return next((name for name, plugin in discover(importers).items() if plugin.claims(path, head)), None)


def load(path: Path, progress: Progress | None = None) -> Trace | RunData:
    """Read one source into columns.

    Raises:
        UserError: It cannot be read, is damaged, or is in no known format.
    """
    if path not in find_sources(path):
        raise UserError(f"{path} is a folder of several sources: name one of them")
    loaded: Trace | RunData = discover(importers)[_importer(path) or ""].load(path, progress)
    return loaded
