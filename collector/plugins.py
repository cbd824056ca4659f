"""Find plugins: one module, one plugin, for every kind of plugin in the house.

A folder's ``__init__.py`` is the contract of its plugins: it says, in ``CONTRACT``, which names a module must
define and of which type. Adding a plugin is adding one file; no list is edited anywhere.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType


class PluginError(Exception):
    """A module in a plugin folder lacks its contract: a fault of its author, never skipped in silence."""


def discover(package: ModuleType) -> dict[str, ModuleType]:
    """Import every plugin of a folder and check it against the folder's contract.

    Args:
        package: The plugin folder, an imported package that defines ``CONTRACT``: a mapping from the name
            every plugin must define to its type (``object`` accepts any, functions are ``Callable``).

    Returns:
        Modules by their name, in the order of that name. Modules with a leading underscore are private.

    Raises:
        PluginError: A module lacks a name of the contract, defines it with another type, or has no docstring;
            the message names its file.
    """
    contract: Mapping[str, type] = package.CONTRACT
    found: dict[str, ModuleType] = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        if info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        if not (module.__doc__ or "").strip():
            raise PluginError(f"{module.__file__}: a plugin's docstring is its page, and this one has none")
        for name, kind in contract.items():
            if not hasattr(module, name):
                raise PluginError(f"{module.__file__}: lacks {name}, which {package.__name__} asks of each plugin")
            if not isinstance(getattr(module, name), kind):
                raise PluginError(
                    f"{module.__file__}: {name} is a {type(getattr(module, name)).__name__}, "
                    f"but {package.__name__} asks for a {kind.__name__}",
                )
        found[info.name] = module
    return found
