"""Which engine, version, model and settings a server says it has: for ``run.json``, best effort.

``identify`` asks once. ``Identifier`` asks again while nothing is known, and when the server comes back or was started
anew, for it may be another one then.
"""

import json
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from collector import dialects, scrape
from collector._endpoint import Endpoint, UnansweredError
from collector._page import MalformedError, Page
from collector._pages import PLACES, Pages
from collector.engines import Plugin
from collector.errors import UserError
from collector.health import Clock
from collector.options import Options
from collector.schema import Absent, Engine, Event, Sample
from collector.store import Record

_Setting: TypeAlias = str | int | float | bool
#: Where OpenAI-compatible servers list their models.
_MODELS = "/v1/models"
_LONGEST = 200
_LARGEST = 2**63
#: Events of the serving source after which another server may be there.
_MAYBE_ANOTHER = frozenset({"endpoint_up", "restart"})
#: A server that did not say what it is, is asked again after this long.
_ASK_AGAIN_S = 10.0


def check(options: Options) -> None:
    """Raise ``UserError`` where the endpoint or the engine that was asked for cannot be one; asks nobody."""
    dialects.chosen(options.engine, options.generic)
    if options.endpoint is not None:
        Endpoint(options.endpoint).close()


def identify(options: Options) -> Engine | None:
    """What the server at the endpoint is; None where there is none, or it does not answer now.

    Raises:
        UserError: The endpoint or the engine that was asked for cannot be one.
    """
    chosen = dialects.chosen(options.engine, options.generic)
    if options.endpoint is None:
        return None
    with closing(Endpoint(options.endpoint)) as endpoint:
        try:
            text, page = Pages(endpoint, chosen).read(0)
        except (UnansweredError, UserError):
            return None
        plugin = chosen[1] if chosen else dialects.plugins()[page.engine]
        said = {**_on_page(text, plugin), **_asked(endpoint, plugin)}
        if "model" not in said:
            said |= _model(_json(endpoint, _MODELS))
    version, model = said.pop("version", None), said.pop("model", None)
    return Engine(
        name=page.engine,
        version=None if version is None else str(version),
        model=None if model is None else str(model),
        settings=said,
    )


@dataclass
class Identifier:
    """Asks the server what it is, beside the loop, when its own metrics show that the answer may be new."""

    options: Options
    known: Engine | None
    clock: Clock = field(default_factory=Clock)
    ask: Callable[[Options], Engine | None] = identify
    _answers: "queue.SimpleQueue[Engine | None]" = field(default_factory=queue.SimpleQueue)
    _asking: bool = False
    _ask_at: float = 0.0
    _asked: Options | None = None

    def __post_init__(self) -> None:
        """What is known is not asked for again."""
        self._asked = self.options if self.known is not None else None

    def look(self, records: Sequence[Record]) -> tuple[Engine, Event] | None:
        """Take the records of a second; the engine, where it turned out to be another one than was known."""
        if any(isinstance(record, Event) and record.kind in _MAYBE_ANOTHER for record in records):
            self._asked = None
        found = self._answer()
        answers = any(isinstance(record, Sample) and _answered(record) for record in records)
        due = self._asked != self.options and self.clock.monotonic() >= self._ask_at
        if self.options.endpoint and answers and due and not self._asking:
            self._asking, self._asked = True, self.options
            threading.Thread(target=self._run, args=(self.options,), name="identity", daemon=True).start()
        if found is None or found == self.known:
            return None
        event = Event(t_ns=self.clock.now_ns(), kind="engine", name=found.name, detail=_changed(self.known, found))
        self.known = found
        return found, event

    def _answer(self) -> Engine | None:
        if self._answers.empty():
            return None
        self._asking = False
        found = self._answers.get()
        if found is None:
            self._asked, self._ask_at = None, self.clock.monotonic() + _ASK_AGAIN_S
        return found

    def _run(self, options: Options) -> None:
        found = None
        with suppress(Exception):
            found = self.ask(options)
        self._answers.put(found)


def _answered(sample: Sample) -> bool:
    """Whether a sample shows that the server was there."""
    said = (value for name, value in sample.values.items() if name != "scrape_s")
    return sample.source == scrape.SOURCE and any(not isinstance(value, Absent) for value in said)


def _changed(before: Engine | None, after: Engine) -> dict[str, _Setting | None]:
    """What an engine is, and what of it is new."""
    said: dict[str, _Setting | None] = {"version": after.version, "model": after.model}
    if before is None:
        return {**said, "reason": "it did not answer when the recording began"}
    old, new = (
        {"engine": each.name, "version": each.version, "model": each.model, **each.settings} for each in (before, after)
    )
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return {**said, "changed": ", ".join(f"{name} {old.get(name)} → {new.get(name)}" for name in names)}


def _on_page(text: str, plugin: Plugin) -> dict[str, _Setting]:
    """The model that labels name, and the settings that are labels of an info family."""
    try:
        families = Page(text).families({*plugin.SETTINGS, plugin.RECOGNISED_BY})
    except MalformedError:
        return {}
    series = {name: dict(labels) for name, family in families.items() for labels in family.values[""]}
    said: dict[str, _Setting] = {}
    for name, labels in series.items():
        said |= {key: _typed(labels[key]) for key in plugin.SETTINGS.get(name, ()) if labels.get(key, "None") != "None"}
        if model := labels.get("model_name") or labels.get("model"):
            said["model"] = _cut(model)
    return said


def _asked(endpoint: Endpoint, plugin: Plugin) -> dict[str, _Setting]:
    """What the engine answers at the paths that its plugin names."""
    said: dict[str, _Setting] = {}
    for path, keys in plugin.ABOUT.items():
        answer = _json(endpoint, path)
        for key, name in keys.items():
            value = answer.get(key)
            if isinstance(value, str):
                said[name] = _cut(value)
            elif isinstance(value, int | float) and _sane(value):
                said[name] = value
    return said


def _model(answer: Mapping[str, object]) -> dict[str, _Setting]:
    models = answer.get("data")
    first = models[0] if isinstance(models, list) and models else None
    name = first.get("id") if isinstance(first, dict) else None
    return {"model": _cut(name)} if isinstance(name, str) else {}


def _json(endpoint: Endpoint, path: str) -> Mapping[str, object]:
    """The object at a path beside the page of metrics; an empty one where there is none."""
    base = endpoint.path
    for place in sorted((place for place, _ in PLACES), key=len, reverse=True):
        base = base.removesuffix(place)
    endpoint.start()
    with suppress(UnansweredError, ValueError, RecursionError):
        answer = json.loads(endpoint.get(base + path))
        if isinstance(answer, dict):
            return answer
    return {}


def _typed(text: str) -> _Setting:
    """A label as the number or flag that it writes."""
    if text in {"True", "False"}:
        return text == "True"
    for kind in (int, float):
        with suppress(ValueError):
            number = kind(text)
            return number if _sane(number) else _cut(text)
    return _cut(text)


def _sane(number: float) -> bool:
    """Whether a number is one, and no integer of a hundred digits."""
    return -_LARGEST < number < _LARGEST


def _cut(text: str) -> str:
    return "".join(character for character in text[:_LONGEST] if character.isprintable())
