"""Read a file's text in pieces, inflated where it is gzip or zstd: known by its first bytes, never by its suffix.

Memory holds one piece at a time. A stream that breaks off or is damaged gives what comes before, then raises
``CutShort``, so that the reader can keep it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from isal import isal_zlib

from analyzer.importers import Progress
from collector.errors import UserError

#: Refuse to inflate more than this: 16 GiB is some 50 million events, half an hour of a busy GPU.
MAX_BYTES = 16 << 30
#: Refuse zstd frames that ask for a larger window: it is memory (zstd's own limit without ``--long=31``).
MAX_WINDOW_BYTES = 1 << 27

_PACKED_BYTES = 1 << 17
_PIECE_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
#: Its type stub takes the class for an instance.
_GZIP_DAMAGE = cast("type[Exception]", isal_zlib.error)
_ZSTD = b"\x28\xb5\x2f\xfd"


class CutShort(Exception):  # noqa: N818 - it ends a stream as StopIteration does
    """The stream ends before its end, or is damaged from here on."""


def pieces(path: Path, progress: Progress | None = None) -> Iterator[bytes]:
    """The text of a file, a MiB or so at a time, with the packed bytes read so far reported.

    Raises:
        UserError: The file cannot be read, is empty, or inflates to more than ``MAX_BYTES``.
        CutShort: What was given is all that can be had.
    """
    try:
        size, held = path.stat().st_size, 0
        with path.open("rb") as file:
            for piece in _text(file):
                held += len(piece)
                if held > MAX_BYTES:
                    raise UserError(f"{path} inflates to more than {MAX_BYTES >> 30} GiB: record a shorter window")
                yield piece
                if progress:
                    progress(file.tell(), size)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if not size:
        raise UserError(f"{path} is empty: record it again")


def head(path: Path, size: int) -> bytes:
    """The first bytes of a file's text; of one cut short what there is.

    Raises:
        UserError: The stream is damaged from its first byte.
    """
    text = b""
    try:
        with path.open("rb") as file:
            for piece in _text(file, size):
                text += piece
                if len(text) >= size:
                    break
    except CutShort as error:
        if not text and "damaged" in str(error):
            raise UserError(f"{path} is {error}: copy or record it again") from error
    return text[:size]


def _text(file: BinaryIO, piece_bytes: int = _PIECE_BYTES) -> Iterator[bytes]:
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == _GZIP:
        return _gzip(file, piece_bytes)
    return _zstd(file, piece_bytes) if magic == _ZSTD else iter(lambda: file.read(piece_bytes), b"")


def _gzip(file: BinaryIO, piece_bytes: int) -> Iterator[bytes]:
    """Every member of a gzip file, one after the other; zeros after the last are padding."""
    packed = file.read(_PACKED_BYTES)
    try:
        while packed.strip(b"\0"):
            member = isal_zlib.decompressobj(wbits=31)
            while not member.eof:
                piece = member.decompress(packed, piece_bytes)
                if not piece and not packed:
                    raise CutShort("cut short: its gzip stream has no end")
                yield piece
                packed = member.unconsumed_tail or member.unused_data or file.read(_PACKED_BYTES)
    except _GZIP_DAMAGE as error:
        raise CutShort("damaged inside its gzip stream") from error


def _zstd(file: BinaryIO, piece_bytes: int) -> Iterator[bytes]:
    """Every frame of a zstd file."""
    import zstandard  # noqa: PLC0415 - 20 ms, and few traces need it

    reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).stream_reader(file, read_across_frames=True)
    try:
        yield from iter(lambda: reader.read(piece_bytes), b"")
    except zstandard.ZstdError as error:
        raise CutShort("damaged inside its zstd stream") from error
