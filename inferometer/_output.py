"""Put a text into a file: whole or not at all, and never over something that was there."""

import gzip
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from collector.errors import UserError

#: Four times as fast as the best, for a tenth more bytes.
_LEVEL = 4


def check(target: Path, *, force: bool) -> None:
    """Refuse a target before any work is done for it.

    Raises:
        UserError: It exists and ``force`` is not given, it is a folder, or its folder does not exist.
    """
    if target.is_dir():
        raise UserError(f"{target} is a folder; name a file in it")
    if target.is_file() and not force:
        raise UserError(f"{target} exists; add --force to replace it")
    if not target.parent.is_dir():
        raise UserError(f"there is no folder {target.parent}")


def write(target: Path, text: str) -> None:
    """Write a file in one step.

    Raises:
        UserError: The file cannot be written.
    """
    with writing(target) as out:
        out.write(text)


@contextmanager
def writing(target: Path) -> Iterator[TextIO]:
    """A stream into a file that takes its place when the block ends, so that nobody ever reads half of it.

    It is packed with gzip where its name ends in ``.gz``.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        if target.exists() and not target.is_file():
            # A device or a pipe takes what it is given; a file must not take its place.
            with target.open("w", encoding="utf-8", newline="") as out:
                yield out
            return
        final = target.resolve()
        part = final.with_name(f".{final.name}.{os.getpid()}.part")
        try:
            with _opened(part, packed=target.suffix == ".gz") as out:
                yield out
            part.replace(final)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error


@contextmanager
def _opened(part: Path, *, packed: bool) -> Iterator[TextIO]:
    if not packed:
        with part.open("w", encoding="utf-8", newline="") as out:
            yield out
        return
    # Without a name and a time in its head, so that the same report is the same file.
    with (
        part.open("wb") as file,
        gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packing,
        io.TextIOWrapper(packing, encoding="utf-8", newline="") as out,
    ):
        yield out
