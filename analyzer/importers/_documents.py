"""What importers of small formats share: a file read whole within a bound, lists saved by line, columns of spans."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from analyzer.columns import CATEGORIES, Int64, Loss, Spans
from analyzer.importers import Progress, _inflate
from collector.errors import UserError

#: Refuse more text, more lists and objects, or more values than this: a document is read whole, and one of nothing but
#: brackets takes fifty times its size. ONNX Runtime stops at a million events, ten objects and sixty values each.
MAX_BYTES = 1 << 30
MAX_BRACKETS = 1 << 24
MAX_COMMAS = 1 << 26
#: No recording lasts a day, and no name is longer.
MAX_NS = 24 * 3600 * 10**9
MAX_NAME = 2000

T = TypeVar("T")


@dataclass(frozen=True)
class Text:
    """What a file says, and why it ends before it should; None where it does not."""

    content: bytes
    damage: str | None


def read(path: Path, progress: Progress | None) -> Text:
    """The whole text of a file, inflated.

    Raises:
        UserError: It cannot be read, or is larger than any file of its kind.
    """
    held, size, damage = [], 0, None
    try:
        for piece in _inflate.pieces(path, progress):
            size += len(piece)
            if size > MAX_BYTES:
                raise UserError(f"{path} holds more than {MAX_BYTES >> 20} MiB of text: record a shorter window")
            held.append(piece)
    except _inflate.CutShort as error:
        damage = str(error)
    content = b"".join(held).removeprefix(b"\xef\xbb\xbf")
    if content.count(b"{") + content.count(b"[") > MAX_BRACKETS or content.count(b",") > MAX_COMMAS:
        raise UserError(f"{path} holds more entries than any file of its kind: record a shorter window")
    return Text(content, damage)


def entries(path: Path, text: Text, kind: type[T]) -> tuple[list[T], tuple[Loss, ...]]:
    """The entries of a JSON list; of one that breaks off or is damaged those that stand whole on a line of their own.

    Raises:
        UserError: Not one entry can be read.
    """
    try:
        return msgspec.json.decode(text.content, type=list[kind]), ()  # type: ignore[valid-type]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = text.damage or str(error)
    decoder, found, lost = msgspec.json.Decoder(kind), [], 0
    for line in text.content.splitlines():
        entry = line.strip(b" \t,[]")
        if not entry:
            continue
        try:
            found.append(decoder.decode(entry))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            lost += 1
    if not found:
        raise UserError(f"{path} is damaged, and no entry of it can be read ({why[:200]}): copy or record it again")
    lost = max(lost, 1)
    note = "entries were dropped because they break off or are damaged; whatever followed the end is missing"
    return found, (Loss(kind="unreadable", count=lost, note=note),)


def one_line(*words: object) -> str:
    """Why a request failed, in one line; something even where the file does not say."""
    return " ".join(" ".join(str(word).split()) for word in words if word)[:400] or "failed"


class Names(dict[str, int]):
    """Names by their index, in the order they were seen."""

    def index(self, name: str) -> int:
        """The index of a name, a new one where it was not seen."""
        return self.setdefault(name[:MAX_NAME], len(self))


def spans(columns: Mapping[str, Int64 | list[int]]) -> Spans:
    """Columns of spans, sorted by their start; columns that are not given are 0.

    Args:
        columns: By the names of ``Spans``; ``start_ns``, ``end_ns``, ``name`` and ``category`` at the least.
    """
    start_ns = np.asarray(columns["start_ns"], np.int64)
    order = np.argsort(start_ns, kind="stable")

    def column(name: str) -> Int64:
        found: Int64 = np.asarray(columns.get(name, np.zeros(len(start_ns))), np.int64)[order]
        return found

    return Spans(
        name=column("name").astype(np.int32),
        start_ns=start_ns[order],
        end_ns=column("end_ns"),
        row=column("row"),
        stream=column("stream"),
        correlation=column("correlation"),
        external_id=column("external_id"),
        category=column("category").astype(np.int32),
    )


def spans_of(rows: Iterable[tuple[int, int, int, int, int, int]]) -> Spans:
    """The same from rows of name, start, end, row, correlation and category."""
    table = np.array(list(rows), np.int64).reshape(-1, 6).T
    return spans(dict(zip(("name", "start_ns", "end_ns", "row", "correlation", "category"), table, strict=True)))


NO_SPANS = spans_of(())
KERNEL, MEMCPY, MEMSET, RUNTIME, OPERATOR, MARK = range(len(CATEGORIES))


def window(groups: Iterable[Spans]) -> tuple[int, int]:
    """From the first to the last instant of all spans."""
    held = [group for group in groups if len(group)]
    if not held:
        return 0, 0
    return min(int(group.start_ns[0]) for group in held), max(int(group.end_ns.max()) for group in held)


def dropped(count: int, *, on_device: int = 0) -> tuple[Loss, ...]:
    """The loss of spans whose times cannot be."""
    note = "entries without a usable time, or longer than a day, were dropped"
    return (Loss(kind="no_duration", count=count, device_count=on_device, note=note),) if count else ()
