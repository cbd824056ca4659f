"""How a name is written for a person: measures by their meaning, kernels without their templates.

Names come from files that nobody vouches for. ``plain`` makes any text safe to print on a terminal; escaping
for HTML or for markup is left to whoever writes those.
"""

import re
import unicodedata
from collections.abc import Callable

from analyzer.formatting import MISSING, duration, money, number, percent, scaled

#: No name needs more, and reading one takes time that grows with its length.
_LONGEST = 400
_LONGEST_KERNEL = 2000

#: Templates are written out down to this level of nesting.
_TEMPLATE_LEVELS = 2

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?", re.DOTALL)
_NAMESPACE = re.compile(r"\(anonymous namespace\)::|\b\w+::")
_QUALIFIER = re.compile(r"^(?:(?:static|inline|void|auto) )+")

#: The words of the field that a measure's name spells differently.
_WORDS = {
    "ttft": "TTFT",
    "tpot": "TPOT",
    "itl": "ITL",
    "gpu": "GPU",
    "sm": "SM",
    "dram": "DRAM",
    "kv": "KV",
    "cpu": "CPU",
    "nvlink": "NVLink",
    "pcie": "PCIe",
    "fp16": "FP16",
    "fp32": "FP32",
    "fp64": "FP64",
}

#: Measures that have a name of their own.
_NAMES = {"e2e_latency_s": "end-to-end"}

#: What a measure's name ends in → how its value is written. The first that fits is taken.
_UNITS: tuple[tuple[str, Callable[[float | None, str], str]], ...] = (
    ("_bytes_per_s", lambda value, missing: scaled(value, "B/s", missing)),
    ("_per_s", lambda value, missing: number(value, "/s", missing)),
    ("_ratio", percent),
    ("_bytes", lambda value, missing: scaled(value, "B", missing)),
    ("_watts", lambda value, missing: scaled(value, "W", missing)),
    ("_joules", lambda value, missing: scaled(value, "J", missing)),
    ("_celsius", lambda value, missing: number(value, "°C", missing)),
    ("_usd", money),
    ("_hz", lambda value, missing: scaled(value, "Hz", missing)),
    ("_s", duration),
)


def plain(text: str, limit: int = _LONGEST) -> str:
    r"""Text from a file, safe to print: no control or direction characters, one line, at most ``limit`` long.

    >>> plain("\x1b[31mred\x1b[0m\nline")
    'red line'
    """
    spaced = re.sub(r"\s+", " ", _ESCAPE.sub("", text[: 4 * limit]))
    safe = "".join(char for char in spaced if unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn"})
    return safe if len(safe) <= limit and len(text) <= 4 * limit else f"{safe[: limit - 1]}…"


def kernel_name(name: str, limit: int = 60) -> str:
    """A kernel's name without namespaces, return type, arguments and the deepest templates.

    >>> kernel_name("void at::native::elementwise_kernel<4, at::Fill<float> >(int, float*)")
    'elementwise_kernel<4, Fill<float>>'
    >>> kernel_name("void cutlass::device_kernel<flash::sm90<flash::Forward<flash::Mainloop<2>>>>(Params)")
    'device_kernel<sm90<Forward<…>>>'
    """
    short = _QUALIFIER.sub("", _NAMESPACE.sub("", plain(name, _LONGEST_KERNEL)))
    short = _outline(short).replace(" >", ">")
    return short if len(short) <= limit else f"{short[: limit - 1]}…"


def _outline(name: str) -> str:
    """Drop what stands in parentheses outside the templates, and fold templates below the first level."""
    kept: list[str] = []
    depth = 0
    for char in name:
        if char == "(" and depth == 0 and kept:
            break
        depth -= char == ">" and depth > 0
        if depth <= _TEMPLATE_LEVELS:
            kept.append(char)
        if char == "<":
            depth += 1
            kept.append("…" * (depth == _TEMPLATE_LEVELS + 1))
    return "".join(kept)


def label(measure: str) -> str:
    """A measure's name in words, its unit left to the value.

    >>> label("dram_active_ratio"), label("ttft_s"), label("requests_per_s")
    ('DRAM active', 'TTFT', 'requests')
    """
    name = _NAMES.get(measure, plain(measure))
    stem = next((name.removesuffix(suffix) for suffix, _ in _UNITS if name.endswith(suffix)), name)
    return " ".join(_WORDS.get(word, word) for word in stem.split("_"))


def quantity(measure: str, value: float | None, missing: str = MISSING) -> str:
    """A measure's value with the unit that the measure's name ends in.

    >>> quantity("dram_active_ratio", 0.637), quantity("ttft_s", 0.0431), quantity("requests_waiting", 92)
    ('64 %', '43.1 ms', '92')
    """
    for suffix, write in _UNITS:
        if measure.endswith(suffix):
            return write(value, missing)
    return number(value, missing=missing)


def figure(value: float | None, unit: str, missing: str = MISSING) -> str:
    """A value with its unit, written as the unit asks for.

    >>> figure(0.42, "ratio"), figure(18.2e-6, "s"), figure(92, "requests")
    ('42 %', '18.2 µs', '92 requests')
    """
    writers = {"ratio": percent, "s": duration, "usd": money}
    if unit in writers:
        return writers[unit](value, missing)
    return number(value, plain(unit, 20), missing)
