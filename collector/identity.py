"""Which engine, version, model and settings a server says it has: for ``run.json``, best effort and once."""

import json
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import TypeAlias

from collector import dialects
from collector._endpoint import Endpoint, UnansweredError
from collector._page import MalformedError, Page
from collector._pages import PLACES, Pages
from collector.engines import Plugin
from collector.errors import UserError
from collector.options import Options
from collector.schema import Engine

_Setting: TypeAlias = str | int | float | bool
#: Where OpenAI-compatible servers list their models.
_MODELS = "/v1/models"
_LONGEST = 200
_LARGEST = 2**63


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
