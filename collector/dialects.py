"""Which engine a page of metrics is from: recognised, named by the user, or mapped by the user."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import cast

from collector import engines
from collector._page import Page
from collector.catalogue import CATALOGUE
from collector.engines import Part, Plugin
from collector.errors import UserError
from collector.plugins import discover

#: The engine of a server that no plugin knows, read by a mapping of the user.
GENERIC = "generic"


def chosen(engine: str | None, generic: Mapping[str, str]) -> tuple[str, Plugin] | None:
    """The engine that the user names or maps; None where it is to be recognised.

    Raises:
        UserError: There is no such engine, or the mapping speaks of a quantity that is not in the catalogue.
    """
    if engine not in {None, GENERIC, *plugins()}:
        raise UserError(f"no engine is called {engine}; there are {', '.join(plugins())} and {GENERIC}")
    if unknown := [quantity for quantity in generic.values() if quantity not in CATALOGUE]:
        raise UserError(f"the mapping of metrics names {', '.join(unknown)}, which the catalogue does not have")
    if engine == GENERIC and not generic:
        raise UserError(f"the engine {GENERIC} needs a mapping from its metrics to quantities")
    if engine == GENERIC or (engine is None and generic):
        return GENERIC, Mapped(FAMILIES=generic)
    return (engine, plugins()[engine]) if engine else None


@dataclass(eq=False)
class Mapped:
    """A plugin made of a user's mapping."""

    FAMILIES: Mapping[str, str | tuple[Part, ...]]
    RECOGNISED_BY: str = ""
    INFERENCE: str = "One inference is whatever the server counts as one."
    LACKS: Mapping[str, str] = field(default_factory=dict)
    COPIES: tuple[str, ...] = ()
    ABOUT: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    SETTINGS: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@cache
def plugins() -> dict[str, Plugin]:
    """The engines known here."""
    return {name: cast("Plugin", module) for name, module in discover(engines).items()}


def quantities(plugin: Plugin | None) -> tuple[str, ...]:
    """The sampled quantities that an engine maps; those of every engine for None."""
    known = plugins().values() if plugin is None else [plugin]
    named = {part.quantity for each in known for _, part in parts(each)}
    return tuple(name for name, quantity in CATALOGUE.items() if name in named and quantity.kind != "histogram")


def recognised(page: Page) -> tuple[str, Plugin]:
    """The engine whose families a page shows.

    Raises:
        UserError: No engine known here has such a page.
    """
    for name, plugin in plugins().items():
        if page.shows(plugin.RECOGNISED_BY):
            return name, plugin
    known = ", ".join(plugins())
    raise UserError(f"these are not the metrics of an engine known here ({known}); check the address of the server")


@lru_cache(maxsize=16)
def parts(plugin: Plugin) -> tuple[tuple[str, Part], ...]:
    """Families and what is read from them, in the order of the plugin."""
    return tuple(
        (family, part)
        for family, named in plugin.FAMILIES.items()
        for part in ((Part(named),) if isinstance(named, str) else named)
    )


@lru_cache(maxsize=16)
def single(plugin: Plugin) -> tuple[tuple[str, ...], frozenset[str]]:
    """Families that have one number a series, which a server writes quickly, and the quantities read from them.

    Buckets are what makes a page long, so what is read from the sum or the count of a histogram is left out.
    """
    found = [each for each in parts(plugin) if not each[1].of and CATALOGUE[each[1].quantity].kind != "histogram"]
    return tuple(dict.fromkeys(family for family, _ in found)), frozenset(part.quantity for _, part in found)
