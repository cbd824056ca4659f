"""The document around the events: where their list begins, how it is cut, and what else the document says.

Chrome's format lets the list stand alone; Kineto puts it between keys that describe the devices and the clock. Those
few are looked for by name, so that damage elsewhere among them does no harm.
"""

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from analyzer.importers._inflate import CutShort
from analyzer.importers._kineto_salvage import BOUNDARY
from collector.errors import UserError

#: Text is decoded in pieces of about this size: small enough for a core's cache, large enough to cost nothing apiece.
CHUNK_BYTES = 1 << 20
#: Refuse documents whose list of events begins later, and events that are longer: real ones take kilobytes.
MAX_HEAD_BYTES = MAX_EVENT_BYTES = 16 << 20

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_OPENING = re.compile(rb'(?<!\\)"traceEvents"\s*+:\s*+\[')
#: How far an opening may reach back into text that was already searched.
_OPENING_BYTES = 1 << 12


class Document:
    """A document on its way in: first its head, then its events in pieces, then what is left."""

    def __init__(self, path: Path, pieces: Iterable[bytes]) -> None:
        """Read up to the first event.

        Raises:
            UserError: The text does not begin like a trace.
        """
        self.path = path
        #: Why the text ends before the document does, where the stream says so.
        self.damage: str | None = None
        self._pieces = self._until_damage(_ahead(iter(pieces)))
        self.head, self.rest = self._open()

    def _until_damage(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from pieces
        except CutShort as error:
            self.damage = str(error)

    def _open(self) -> tuple[bytes, bytes]:
        head = b""
        for piece in self._pieces:
            searched = max(0, len(head) - _OPENING_BYTES)
            head = (head + piece) if head else piece.removeprefix(_BYTE_ORDER_MARK)
            if head.lstrip()[:1] == b"[":
                return b"", head.lstrip()[1:]
            if found := _OPENING.search(head, searched):
                return head[: found.start()], head[found.end() :]
            if len(head) > MAX_HEAD_BYTES:
                raise UserError(f"{self.path} lists no events in its first {MAX_HEAD_BYTES >> 20} MiB: {_ASK}")
        if self.damage:
            raise UserError(f"{self.path} is {self.damage}, before its first event: copy or record it again")
        try:
            msgspec.json.decode(head)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UserError(f"{self.path} is not whole JSON ({error}): copy or record it again") from error
        raise UserError(f"{self.path} is JSON but not a profiler trace (it has no list “traceEvents”): {_ASK}")

    def chunks(self) -> Iterator[memoryview]:
        """The text of whole events, as far as that can be told; what follows the last cut stays in ``rest``.

        Raises:
            UserError: An event is longer than ``MAX_EVENT_BYTES``.
        """
        for piece in self._pieces:
            self.rest += piece
            if len(self.rest) < CHUNK_BYTES:
                continue
            if cut := _last_boundary(self.rest):
                whole, self.rest = memoryview(self.rest)[: cut.start() + 1], self.rest[cut.end() :]
                yield whole
            elif len(self.rest) > MAX_EVENT_BYTES:
                raise UserError(f"{self.path} holds an event of more than {MAX_EVENT_BYTES >> 20} MiB: {_ASK}")


_ASK = "give it a torch profiler trace"


def _last_boundary(text: bytes) -> re.Match[bytes] | None:
    """The last place where one event ends and another begins."""
    for window in (1 << 13, 1 << 17, len(text)):
        if found := deque(BOUNDARY.finditer(text, max(0, len(text) - window)), maxlen=1):
            return found[0]
    return None


def _ahead(items: Iterator[bytes]) -> Iterator[bytes]:
    """The same items, each made on another thread while the one before it is in use: inflating needs no interpreter."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item


class _DeviceProperties(msgspec.Struct):
    id: int = 0
    name: str = ""
    num_sms: int | None = msgspec.field(default=None, name="numSms")
    memory_bytes: int | None = msgspec.field(default=None, name="totalGlobalMem")

    @property
    def title(self) -> str:
        """Its name; ROCm may write an empty one, so then what it can be told by."""
        if self.name or self.num_sms is None or self.memory_bytes is None:
            return self.name
        return f"GPU of {self.num_sms} multiprocessors and {self.memory_bytes / 1e9:.0f} GB"


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What the document says beside its events."""

    base_ns: int
    devices: tuple[_DeviceProperties, ...]
    rank: int | None
    world_size: int | None


def metadata(head: bytes, tail: bytes) -> Metadata:
    """Read the keys that are used, from before and after the events; of a key that comes twice the last counts."""
    text = (head + b"\n" + tail).decode("utf-8", "replace")
    base_ns = _value(text, "baseTimeNanoseconds")
    found = _value(text, "deviceProperties")
    distributed = _value(text, "distributedInfo")
    rank, world_size = map((distributed if isinstance(distributed, dict) else {}).get, ("rank", "world_size"))
    return Metadata(
        base_ns=base_ns if isinstance(base_ns, int) and 0 <= base_ns < _MAX_BASE_NS else 0,
        devices=tuple(filter(None, map(_device, found if isinstance(found, list) else ()))),
        rank=rank if isinstance(rank, int) and rank >= 0 else None,
        world_size=world_size if isinstance(world_size, int) and world_size > 0 else None,
    )


#: The year 2116, as for the times of events.
_MAX_BASE_NS = 1 << 62


def _device(found: object) -> _DeviceProperties | None:
    try:
        return msgspec.convert(found, _DeviceProperties)
    except msgspec.ValidationError:
        return None


def _value(text: str, key: str) -> object:
    """The last value of a key, or None where it is absent or no JSON."""
    value: object = None
    for match in re.finditer(rf'"{key}"\s*+:\s*+', text):
        try:
            value = json.JSONDecoder().raw_decode(text, match.end())[0]
        except (ValueError, RecursionError):
            continue
    return value
