"""Run folders, as the collector writes them; of a long run the roll-ups instead of every sample."""

from pathlib import Path

from analyzer.columns import RunData
from analyzer.importers import Progress
from collector import store

FORMAT = "a run folder (what inferometer collect records)"


def claims(path: Path, head: bytes) -> bool:
    """A folder with a ``run.json``."""
    del head
    return store.is_run(path)


def load(path: Path, progress: Progress | None = None) -> RunData:
    """Read a run into frames.

    Raises:
        UserError: The folder is damaged, cannot be read, or is from a newer Inferometer.
    """
    from analyzer.importers import _run_frames  # noqa: PLC0415 - pandas takes 0.3 s, and a trace needs none

    return _run_frames.load(path, progress)
