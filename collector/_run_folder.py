"""The files of a run folder, and what their faults are called. Private to ``collector.store``."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

import msgspec

from collector import _sqlite
from collector.errors import NewerSchemaError, UserError
from collector.schema import SCHEMA_VERSION, Run

RUN = "run.json"
DATABASE = "samples.sqlite"
WAL = "samples.sqlite-wal"
TRACES = "traces"
STACKS = "stacks"

_LARGEST_RUN_BYTES = 1_000_000


@dataclass(frozen=True)
class _Schema:
    """As much of ``run.json`` as every version of it has."""

    schema_version: int


def write_run(folder: Path, run: Run) -> None:
    """Write ``run.json`` so that whoever comes meets the old one or the new one, never a part."""
    part = folder / f"{RUN}.part"
    try:
        with part.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / RUN)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_run(folder: Path) -> Run:
    """Read ``run.json``.

    Raises:
        UserError: There is none, or it is not what it should be; NewerSchemaError if it is from the future.
    """
    path = folder / RUN
    with reading(path):
        if not folder.exists():
            raise UserError(f"{folder}: no such folder; give the path of a run folder")
        if not path.is_file():
            raise UserError(f"{folder}: not a run folder, because it has no {RUN}; give the path of one that has")
        with path.open("rb") as file:
            data = file.read(_LARGEST_RUN_BYTES + 1)
    if len(data) > _LARGEST_RUN_BYTES:
        raise UserError(f"{path}: larger than 1 MB, so no recorder wrote it; restore the folder from a copy")
    try:
        written_by = msgspec.json.decode(data, type=_Schema).schema_version
        if written_by > SCHEMA_VERSION:
            raise NewerSchemaError(
                f"{path}: was written by a newer Inferometer (run folder schema {written_by}, this one reads "
                f"{SCHEMA_VERSION}): upgrade with pip install -U inferometer"
            )
        return msgspec.json.decode(data, type=Run)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: malformed ({error}); restore the folder from a copy") from error


def open_database(folder: Path, cleanup: ExitStack, *, finished: bool) -> sqlite3.Connection:
    """Open the database for reading; ``cleanup`` closes it.

    A finished one is opened as a file that nobody changes: SQLite then needs no lock and no file beside it.
    """
    database = folder / DATABASE
    with reading(database):
        if not database.is_file():
            raise UserError(f"{database}: missing, so this is only a part of a run folder; restore it from a copy")
        wal = folder / WAL
        pending = wal.is_file() and wal.stat().st_size > 0
        try:
            return _probe(database, "mode=ro&immutable=1" if finished and not pending else "mode=ro", cleanup)
        except sqlite3.OperationalError:
            # Left by a crash on what is now a read-only medium: SQLite cannot index the WAL there.
            copy = Path(cleanup.enter_context(TemporaryDirectory(prefix="inferometer-")))
            for name in (DATABASE, WAL) if pending else (DATABASE,):
                copyfile(folder / name, copy / name)
            return _probe(copy / DATABASE, "mode=rw", cleanup)


def _probe(database: Path, mode: str, cleanup: ExitStack) -> sqlite3.Connection:
    connection = _sqlite.connect(database, mode)
    cleanup.callback(connection.close)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return connection


def files(folder: Path) -> tuple[str, ...]:
    """Names of the plain files in a folder, sorted; links are left out, because they may lead out of it."""
    with reading(folder):
        if not folder.is_dir():
            return ()
        return tuple(sorted(path.name for path in folder.iterdir() if path.is_file() and not path.is_symlink()))


def inside(folder: Path, name: str) -> Path:
    """The path of a file in a folder.

    Raises:
        UserError: The name is not the bare name of a file, so it might lead out of the folder.
    """
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise UserError(f"{name!r}: not the bare name of a file; leave the folders out")
    return folder / name


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a file does to its reader into one sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.Error as error:
        raise damaged(path, str(error)) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what a disk does to its writer into one sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    except (sqlite3.ProgrammingError, sqlite3.IntegrityError, sqlite3.InterfaceError):
        raise
    except sqlite3.Error as error:
        raise UserError(f"{path}: cannot be written ({error}); make room on the disk or choose another") from error


def damaged(path: Path, why: str) -> UserError:
    """The error for a database that is not as the writer left it."""
    return UserError(f"{path}: damaged ({why}); restore the folder from a copy or record again")
