"""The tolerant way through a piece of a damaged document: event by event, each as it is, repaired, or dropped.

A reader that lost its way finds it at the next place where one event ends and another begins. Nested lists of
objects can look like such a place, so an event that does not decode is tried together with what follows it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from analyzer.importers._kineto_events import DEVICE, USED, Args, Block, Event, Losses, columns

#: An event that ends where another begins; the comma between them may be missing.
BOUNDARY = re.compile(rb'\}\s*+(?:,\s*+)?(?=\{\s*+"(?:ph|cat|name|pid|tid|ts|dur|args|id)"\s*+:)')
#: Where the list of events may end; chrome://tracing takes a comma before it.
_END = re.compile(rb"\}\s*+(?:,\s*+)?\]")
_NOTHING = re.compile(rb"\s*+(?:,\s*+)?\]")
#: An event that a boundary seemed to cut is put together again from up to this many parts.
_PARTS = 8
#: With more events dropped than this, and than kept, a document is no damaged trace but something else.
MAX_DROPPED = 20_000

_EVENT = msgspec.json.Decoder(Event)
_DAMAGE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_CATEGORY = re.compile(rb'"cat"\s*:\s*"(\w+)"')
_SPACES = bytes.maketrans(bytes(range(32)), b" " * 32)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)|[^\s",:\[\]{}"]++')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]{0,4000})(?:\.[0-9]{1,4000})?(?:[eE][+-]?[0-9]{1,2})?|true|false|null")
_ESCAPE = re.compile(
    rb'\\(?:(["\\/bfnrt]|u(?!d[89a-f])[0-9a-f]{4}|ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})|)', re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class Salvaged:
    """What a piece of a document gave."""

    block: Block
    #: What may be the beginning of an event whose end is yet to come.
    rest: bytes
    #: What follows the list of events; None while its end has not come.
    tail: bytes | None
    kept: int = 0
    dropped: int = 0


def salvage(text: bytes, *, last: bool) -> Salvaged:
    """The events in a piece of text that begins where an event does; nothing comes after the last piece.

    What cannot be used and might have been is counted as ``unreadable``, what had to be mended as ``repaired``.
    """
    if empty := _NOTHING.match(text):
        return Salvaged(block=columns(()), rest=b"", tail=text[empty.end() :])
    boundaries = list(BOUNDARY.finditer(text))
    starts = [0, *(match.end() for match in boundaries)]
    ends = [*(match.start() + 1 for match in boundaries), len(text)]
    events: list[Event] = []
    losses: Losses = Counter()
    at, dropped, tail = 0, 0, None
    while at < len(starts) and tail is None and dropped <= max(MAX_DROPPED, len(events)):
        found, end = _first_event(text, starts[at], ends[at : at + _PARTS])
        if found is not None:
            events.append(found.event)
            if found.repaired:
                losses["repaired", found.event.cat in DEVICE] += 1
            tail = None if found.tail is None else found.tail + text[ends[at + end] :]
            at += end + 1
        elif len(starts) - at <= (1 if last else _PARTS):
            break
        else:
            _count_lost(text[starts[at] : ends[at]], losses)
            dropped += 1
            at += 1
    block = columns(events)
    block.losses.update(losses)
    rest = text[starts[at] :] if at < len(starts) else b""
    return Salvaged(block=block, rest=rest, tail=tail, kept=len(events), dropped=dropped)


def _first_event(text: bytes, start: int, ends: Sequence[int]) -> "tuple[_Found | None, int]":
    """The event that begins somewhere, and at which of some boundaries it ends.

    A boundary inside an event leaves braces open; only then is it read together with what follows.
    """
    for number, end in enumerate(ends):
        piece = text[start:end]
        if (found := _event(piece)) or piece.count(b"{") <= piece.count(b"}"):
            return found, number
    return None, 0


def _count_lost(text: bytes, losses: Losses) -> None:
    """Count an event that cannot be read, unless its category says that it would not have been used."""
    found = _CATEGORY.search(text)
    category = found[1].decode() if found else None
    if category is None or category in USED:
        losses["unreadable", category in DEVICE] += 1


@dataclass(frozen=True)
class _Found:
    event: Event
    repaired: bool
    tail: bytes | None


def _event(text: bytes) -> _Found | None:
    """The one event of a text, which may be damaged and may be followed by the end of the list."""
    for repaired in (False, True):
        candidate = _repair(text) if repaired else text
        for end, tail in _ends(candidate):
            event = _decoded(candidate[:end])
            if event is not None:
                return _Found(event, repaired, tail)
    return None


def _ends(text: bytes) -> Iterator[tuple[int, bytes | None]]:
    yield len(text), None
    for match, _ in zip(_END.finditer(text), range(_PARTS), strict=False):
        yield match.start() + 1, text[match.end() :]


def _decoded(text: bytes) -> Event | None:
    """An event whose fields need not have the types they should; None where it is no JSON."""
    try:
        return _EVENT.decode(text)
    except msgspec.ValidationError:
        return _loose(text)
    except _DAMAGE:
        return None


def _loose(text: bytes) -> Event | None:
    try:
        fields = msgspec.json.decode(text)
    except _DAMAGE:
        return None
    if not isinstance(fields, dict):
        return None
    args = fields.get("args")
    phase, category = fields.get("ph"), fields.get("cat")
    return Event(
        ph=phase if isinstance(phase, str) else "",
        cat=category if isinstance(category, str) else None,
        **{name: _scalar(fields.get(name)) for name in ("name", "pid", "tid", "ts", "dur")},
        args=_args(args) if isinstance(args, dict) else None,
    )


def _args(fields: dict[str, object]) -> Args:
    args = Args()
    for field, name in zip(Args.__struct_fields__, Args.__struct_encode_fields__, strict=True):
        if name in fields and not isinstance(getattr(args, field), msgspec.Raw):
            setattr(args, field, _scalar(fields[name]))
    return args


def _scalar(value: object) -> int | float | str | None:
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else None


def _repair(text: bytes) -> bytes:
    """Mend what writers are known to get wrong.

    Control characters become spaces, bytes that are no UTF-8 the replacement character, bare words that JSON does not
    know (``NaN``, ``inf``, ``N/A``) null, and backslashes that escape nothing are doubled.
    """
    text = text.translate(_SPACES).decode("utf-8", "replace").encode()
    return _TOKEN.sub(lambda token: _mended(token[0]), text)


def _mended(token: bytes) -> bytes:
    if token.startswith(b'"'):
        return _ESCAPE.sub(lambda escape: escape[0] if escape[1] else rb"\\", token) if b"\\" in token else token
    return token if _NUMBER.fullmatch(token) else b"null"
