"""The run folder: ``RunWriter`` records one, ``RunReader`` reads it; nothing else knows the disk format.

::

    <run folder>/
        run.json          a collector.schema.Run; written last, so a folder that has it is whole
        samples.sqlite    samples and their roll-ups, histograms, requests, events; in WAL mode while written
        traces/  stacks/  files recorded with the run, as they came

A reader may come at any time: while the run is written, after a crash, from a read-only medium. It writes
nothing into a finished run, and it trusts nothing it reads: every fault of a file is a ``UserError``.
"""

from contextlib import suppress
from pathlib import Path

from collector import _run_folder
from collector._run_reader import RESOLUTIONS_S, Absence, RunReader, Table
from collector._run_writer import Record, RunWriter

__all__ = ["RESOLUTIONS_S", "Absence", "Record", "RunReader", "RunWriter", "Table", "is_run", "version"]


def is_run(path: Path) -> bool:
    """Whether a path looks like a run folder; opening it may still fail."""
    return (path / _run_folder.RUN).is_file()


def version(path: Path) -> tuple[int, ...]:
    """A key for caches, which changes whenever something is added to a run; costs three ``stat`` calls."""
    stats = []
    for name in (_run_folder.RUN, _run_folder.DATABASE, _run_folder.WAL):
        with suppress(OSError):
            stat = (path / name).stat()
            stats += [stat.st_mtime_ns, stat.st_size]
    return tuple(stats)
