"""The run folder: whether one can be recorded where ``--run`` says.

Records a small one there, in a folder with a name of its own that is removed again, and reads it while it is written.
"""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from collector.checks import Found, Topic
from collector.checks._world import World
from collector.errors import UserError
from collector.schema import Run, Sample
from collector.store import RunReader, RunWriter

TITLE = "Run folder"

#: Below this a run of some hours may not fit: eight GPUs at 10 Hz took 2.56 GB a day.
_ROOM_BYTES = 1_000_000_000


def check(world: World) -> Found:
    """A finding for the place and one for the room in it."""
    run = world.options.run
    if run is None:
        yield Topic("folder", "run").missing("no run folder was named, so none was tried", "--run DIR tries it")
        return
    topic = Topic("folder", str(run), "verdict")
    try:
        place = _place(run)
        _record(place, world.now_ns)
    except UserError as error:
        yield topic.missing(str(error))
        return
    yield topic.ok("a run was recorded, read while it was written, and removed")
    free_bytes = shutil.disk_usage(place).free
    room = Topic("room", str(run))
    if free_bytes < _ROOM_BYTES:
        grant = "make room, or choose another disk: eight GPUs at 10 Hz take 2.56 GB a day"
        yield room.degraded(f"only {free_bytes / 1e6:,.0f} MB are free", grant, free_bytes=free_bytes)
    else:
        yield room.ok(f"{free_bytes / 1e9:,.0f} GB are free", free_bytes=free_bytes)


def _place(run: Path) -> Path:
    """Where the run folder would be made: in the nearest folder that is there, itself if it is and is empty.

    Raises:
        UserError: It holds something already, or cannot be looked into.
    """
    try:
        if run.is_dir() and any(run.iterdir()):
            raise UserError(f"{run} is not empty; a recording needs a new or an empty folder")
        place = next(path for path in (run, *run.absolute().parents) if path.exists())
    except OSError as error:
        raise UserError(f"{run} cannot be looked into ({error.strerror}); choose another place") from error
    if not place.is_dir():
        raise UserError(f"{place} is a file; choose another place")
    return place


def _record(place: Path, now_ns: int) -> None:
    """Record a run and read it meanwhile.

    Raises:
        UserError: One or the other failed.
    """
    sample = Sample(t_ns=now_ns, source="host", subject="host", values={"load_1min": 0.0})
    try:
        with tempfile.TemporaryDirectory(prefix=".inferometer-", dir=place) as folder:
            path = Path(folder) / "run"
            with RunWriter.create(path, Run(run_id="doctor", started_ns=now_ns)) as writer:
                writer.add([sample])
                writer.flush()
                with RunReader.open(path) as reader:
                    seen = reader.sources()
                with closing(sqlite3.connect(path / "samples.sqlite")) as connection:
                    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    except OSError as error:
        raise UserError(f"{place} cannot be written ({error.strerror}); choose another place") from error
    if "host" not in seen or mode != "wal":
        raise UserError(f"{place} cannot hold a run that is read while it is written; choose a local disk")
