"""The flags on a server's command line against the settings that it says it has. Private.

A flag and the setting it sets share their name in every engine known here, but for the few in ``_NAMES``.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

#: vLLM's flags that set something of another name (its CacheConfig).
_NAMES = {
    "kv_cache_dtype": "cache_dtype",
    "num_gpu_blocks_override": "num_gpu_blocks",
    "device_memory_utilization": "gpu_memory_utilization",
    "no_enable_prefix_caching": "enable_prefix_caching",
}
#: Values that leave the choice to the server, or are another word for one that it shows.
_CHOSEN = {"auto", "none", "-1"}
_SAME = {"fp8_e4m3": "fp8"}

Setting = str | int | float | bool


def contradicted(command: Sequence[str], settings: Mapping[str, Setting]) -> Iterator[tuple[str, str, Setting]]:
    """Each flag that was given and did not take effect: the flag, what was given, what the server has."""
    for flag, given in _given(command).items():
        name = flag.removeprefix("--").replace("-", "_")
        has = settings.get(_NAMES.get(name, name))
        if has is None or (given or "").lower() in _CHOSEN:
            continue
        # A flag alone switches on, or off where it says no.
        wanted = str(not name.startswith("no_")) if given is None else given
        if not _alike(wanted, has):
            yield flag, "" if given is None else given, has


def _given(command: Sequence[str]) -> dict[str, str | None]:
    """Flags with their values, None where none follows; the last one counts, as for the server."""
    found: dict[str, str | None] = {}
    for place, word in enumerate(command):
        if not word.startswith("--"):
            continue
        flag, equals, value = word.partition("=")
        following = command[place + 1] if place + 1 < len(command) else "--"
        found[flag.replace("_", "-")] = value if equals else None if following.startswith("--") else following
    return found


def _alike(given: str, has: Setting) -> bool:
    if isinstance(has, bool):
        return given.lower() == str(has).lower()
    with suppress(ValueError):
        return float(given) == float(has)
    given, has = given.lower(), str(has).lower()
    return _SAME.get(given, given) == _SAME.get(has, has)
