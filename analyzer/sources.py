"""Find what can be analysed at a path, and load it with the importer that claims it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

from analyzer import importers, trace_cache
from analyzer.columns import RunData, Trace
from analyzer.importers import Progress, _inflate
from analyzer.windows import extent
from collector.errors import UserError
from collector.plugins import discover

#: Bytes of a file that the importers may look at to recognise it.
_HEAD_BYTES = 1 << 16


def find_sources(path: Path) -> list[Path]:
    """The traces and run folders at a path: itself, or what lies in a folder and its subfolders.

    The traces inside a run folder belong to the run and are not sources of their own. Links to folders are not
    followed. What cannot be read inside a folder is a source all the same, so that nothing is passed over in silence:
    ``load`` says what is wrong with it.

    Raises:
        UserError: Nothing is there, it cannot be read, or it holds nothing that any importer claims.
    """
    plugins = discover(importers)
    if _claimed(path, plugins):
        return [path]
    found = list(_inside(path, plugins))
    if not found:
        raise UserError(f"{path} holds no trace and no run folder: {_expected(plugins)}")
    return found


def load(path: Path, progress: Progress | None = None, *, cache: bool = False) -> Trace | RunData:
    """Read one source into columns; with ``cache`` a trace's are kept beside its file for the next time.

    Raises:
        UserError: It cannot be read, is damaged, or is in no known format.
    """
    plugins = discover(importers)
    importer = _claimed(path, plugins)
    if importer is None:
        count = len(find_sources(path))
        raise UserError(f"{path} is a folder of {count} source{'s' * (count != 1)}: name one of them")
    read = partial(plugins[importer].load, path, progress)
    loaded: Trace | RunData = trace_cache.load(path, read) if cache else read()
    return loaded


def joined(data: Trace | RunData, requests: Path) -> RunData:
    """A run with the requests of a result file in place of those it has, where they were sent while it was recorded.

    Raises:
        UserError: There is no run, no result file, or the two are not of one time.
    """
    asked = load(requests)
    if not isinstance(data, RunData):
        raise UserError(f"{data.name} is a trace: the requests of a result file belong to a run folder")
    if not isinstance(asked, RunData) or asked.samples:
        raise UserError(f"{requests} is no result file: give one of AIPerf or GuideLLM, or spans as OTLP/JSON")
    first, last = extent(data)
    inside = asked.requests["t_ns"].between(first, last - 1)
    if not inside.any():
        raise UserError(
            f"{requests} and {data.name} are not of one time: other runs, or a file whose times have no date"
        )
    outside = len(inside) - int(inside.sum())
    left_out = (
        [f"{outside:,} of {len(inside):,} requests were sent outside the run and are left out."] if outside else []
    )
    return replace(
        data,
        requests=asked.requests[inside],
        gaps=None if asked.gaps is None else asked.gaps[asked.gaps["t_ns"].between(first, last - 1)],
        events=data.events if data.phases else tuple(sorted((*data.events, *asked.phases), key=lambda each: each.t_ns)),
        inference=asked.inference,
        losses=(*data.losses, *asked.losses),
        notes=(*data.notes, f"The requests are those of {asked.name}.", *asked.notes[1:], *left_out),
    )


def _claimed(path: Path, plugins: Mapping[str, ModuleType]) -> str | None:
    """Name of the importer that claims a path; None for a folder that none claims.

    Raises:
        UserError: Nothing is there, it cannot be read, or it is a file that no importer claims.
    """
    try:
        if not path.exists():
            raise UserError(f"{path} does not exist: check the path")
        importer = _importer(path, plugins)
        if importer is None and path.is_file():
            if not path.stat().st_size:
                raise UserError(f"{path} is empty: copy or record it again")
            raise UserError(f"{path} is neither a profiler trace nor a run folder: {_expected(plugins)}")
    except OSError as error:
        raise _unreadable(path, error) from error
    return importer


def _inside(folder: Path, plugins: Mapping[str, ModuleType]) -> Iterator[Path]:
    """The sources inside a folder, in the order of their paths."""
    try:
        waiting = sorted(folder.iterdir(), reverse=True)
    except OSError as error:
        raise _unreadable(folder, error) from error
    while waiting:
        path = waiting.pop()
        try:
            if _importer(path, plugins) is not None:
                yield path
            elif path.is_dir() and not path.is_symlink():
                waiting += sorted(path.iterdir(), reverse=True)
        except (UserError, OSError):
            yield path


def _importer(path: Path, plugins: Mapping[str, ModuleType]) -> str | None:
    head = _inflate.head(path, _HEAD_BYTES) if path.is_file() else b""
    return next((name for name, plugin in plugins.items() if plugin.claims(path, head)), None)


def _expected(plugins: Mapping[str, ModuleType]) -> str:
    return f"give it {' or '.join(plugin.FORMAT for plugin in plugins.values())}"


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{error.filename or path} cannot be read: {error.strerror or error}")
