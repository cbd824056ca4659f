"""Put a text into a file: whole or not at all, and never over something that was there."""

import os
from pathlib import Path

from collector.errors import UserError


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
    """Write a file in one step, so that nobody ever reads half of it.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        if target.exists() and not target.is_file():
            # A device or a pipe takes what it is given; a file must not take its place.
            target.write_text(text, encoding="utf-8", newline="")
            return
        final = target.resolve()
        part = final.with_name(f".{final.name}.{os.getpid()}.part")
        try:
            part.write_text(text, encoding="utf-8", newline="")
            part.replace(final)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
