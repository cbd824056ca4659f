"""Options from flags, environment and a TOML file, in that order of precedence; one schema for all three.

A key is a field of ``Options`` in any of them: ``--interval`` and ``interval = "500ms"`` and
``INFEROMETER_INTERVAL=500ms`` set ``interval_s``. Units are written, or seconds are meant.
"""

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import msgspec

from collector.errors import UserError
from collector.options import Options

PREFIX = "INFEROMETER_"

_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
_DURATION = re.compile(r"\s*(\d{1,12}(?:\.\d{1,9})?)\s*(ms|s|m|h|d|)\s*")
_UNITS_BYTES = {"": 1, "B": 1} | {
    f"{letter}{binary}B": (1024 if binary else 1000) ** power
    for power, letter in enumerate("KMGT", 1)
    for binary in ("", "i")
}
_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([KMGT]?i?B?)\s*", re.IGNORECASE)
#: What a user calls an option → the field of ``Options``: the same without its unit.
_FIELDS = {re.sub("_(?:s|ratio|bytes|usd)$", "", field.name): field.name for field in fields(Options)}
_SHORTEST_INTERVAL_S = 0.1
#: A run folder drops spans of ten minutes, and always keeps the newest.
_SHORTEST_KEPT_S, _SMALLEST_KEPT_BYTES = 600.0, 100_000_000


def duration_s(text: str | float) -> float:
    """Seconds of ``300ms``, ``2s``, ``10m``, ``1.5h``, ``3d`` or a bare number of seconds.

    Raises:
        UserError: It is none of these.
    """
    match = _DURATION.fullmatch(str(text))
    if match is None:
        raise UserError(f"{text!r} is no duration: write 300ms, 2s, 10m, 1.5h or 3d")
    return float(match[1]) * _UNITS_S[match[2]]


def size_bytes(text: str | float) -> int:
    """Bytes of ``500MB``, ``10GB``, ``2GiB`` or a bare number of bytes.

    Raises:
        UserError: It is none of these.
    """
    match = _SIZE.fullmatch(str(text))
    unit = match and next((unit for unit in _UNITS_BYTES if unit.upper() == match[2].upper()), None)
    if match is None or unit is None:
        raise UserError(f"{text!r} is no size: write 500MB, 10GB or 2GiB")
    return int(float(match[1]) * _UNITS_BYTES[unit])


def load_options(flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None) -> Options:
    """Put the three together.

    Args:
        flags: Options given on the command line; None is not given.
        environ: The environment; only names that begin with ``INFEROMETER_`` are read.
        file: A TOML file, or None.

    Raises:
        UserError: An option does not exist or has a value it cannot have, or the file cannot be read.
    """
    given = _from_file(file) if file else {}
    given |= {
        name.removeprefix(PREFIX).lower(): value for name, value in environ.items() if name.startswith(PREFIX) and value
    }
    given |= {name: value for name, value in flags.items() if value is not None}
    given.pop("config", None)
    if "prices" not in flags:
        # Of the analyzer's own: the file of prices that its commands read.
        given.pop("prices", None)
    try:
        options = msgspec.convert(dict(map(_field, given.items())), Options, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise UserError(f"{file or 'the options'}: {error}") from error
    for name in ("interval_s", "gpu_interval_s"):
        seconds = getattr(options, name)
        if seconds is not None and seconds < _SHORTEST_INTERVAL_S:
            raise UserError(f"{name.removesuffix('_s')} of {seconds:g} s: the GPU's counters refresh every 100 ms")
    if options.keep_for_s is not None and options.keep_for_s < _SHORTEST_KEPT_S:
        raise UserError(f"keep_for of {options.keep_for_s:g} s: the shortest is 10m, because ten minutes go at a time")
    price = options.price_per_gpu_hour_usd
    if price is not None and not 0 <= price < math.inf:
        raise UserError(f"price_per_gpu_hour of {price:g}: a price is zero dollars or more")
    if options.billed_gpus is not None and not 0 < options.billed_gpus < math.inf:
        raise UserError(f"billed_gpus of {options.billed_gpus:g}: a server is billed for more than no GPU")
    if 0 < options.keep_size_bytes < _SMALLEST_KEPT_BYTES:
        raise UserError(f"keep_size of {options.keep_size_bytes:,} bytes: the smallest is 100MB, and 0 is no limit")
    return options


def _from_file(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not TOML: {error}") from error


def _path(kind: type, value: object) -> object:
    """A path, which a file and the environment give as text; msgspec checks what comes back."""
    return Path(value) if kind is Path and isinstance(value, str) else value


def _field(item: tuple[str, object]) -> tuple[str, object]:
    """The field an option sets, and its value with the unit taken off."""
    name, value = item[0].replace("-", "_"), item[1]
    if name not in _FIELDS:
        raise UserError(f"no option is called {name!r}; there are {', '.join(sorted(_FIELDS))}")
    field = _FIELDS[name]
    if field.endswith("_s") and isinstance(value, str | int | float):
        return field, duration_s(value)
    if field.endswith("_bytes") and isinstance(value, str | int | float):
        return field, size_bytes(value)
    if field == "sources" and isinstance(value, str):
        return field, tuple(value.replace(",", " ").split())
    return field, value
