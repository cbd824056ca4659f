"""What reading GPUs costs any Python at all, for ``collector_overhead.py`` to put beside the collector.

    python benchmarks/_nvml_floor.py bare            open NVML, and wait: the least memory
    python benchmarks/_nvml_floor.py calls SECONDS   also make the calls that the collector makes, so far apart

The calls are those of the collector's own source, noted while it reads two minutes on a clock that is not waited for;
they are then made again, tick by tick, and what they answer is thrown away.
"""

import sys
import time
from collections.abc import Callable
from itertools import cycle
from types import ModuleType
from typing import Any, TypeAlias

from collector.sources.nvml import Nvml

_PERIOD_S = 120
#: One thread waits for errors all the while, in the source and in here.
_WAITS = "nvmlEventSetWait_v2"

_Call: TypeAlias = tuple[Callable[..., object], tuple[object, ...]]


class Noting(ModuleType):
    """The binding, which notes what is called."""

    def __init__(self, nv: ModuleType) -> None:
        super().__init__("pynvml")
        self._nv = nv
        self.noted: list[_Call] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the binding has
        value = getattr(self._nv, name)
        if not name.startswith("nvml") or isinstance(value, type) or not callable(value) or name == _WAITS:
            return value

        def call(*arguments: object) -> object:
            self.noted.append((value, arguments))
            return value(*arguments)

        return call


def ticks(noting: Noting, interval_s: float) -> tuple[object, list[list[_Call]]]:
    """The source, which keeps what the calls need, and the calls of each tick of two minutes."""
    now_ns = time.monotonic_ns()
    source = Nvml(interval_s, clock=lambda: now_ns, sleep=lambda _: None)
    found = []
    for _ in range(round(_PERIOD_S / interval_s)):
        noting.noted = []
        now_ns += round(interval_s * 1e9)
        source.read(now_ns)
        found.append(noting.noted)
    return source, found


def main() -> None:
    """Say so when everything is ready, then go on until killed."""
    import pynvml

    pynvml.nvmlInit()
    if sys.argv[1] == "bare":
        print("ready", flush=True)
        time.sleep(1e6)
    sys.modules["pynvml"] = noting = Noting(pynvml)
    interval_s = float(sys.argv[2])
    _source, found = ticks(noting, interval_s)
    print("ready", flush=True)
    due = time.monotonic()
    for calls in cycle(found):
        time.sleep(max(0.0, due - time.monotonic()))
        due += interval_s
        for call, arguments in calls:
            try:
                call(*arguments)
            except pynvml.NVMLError:
                continue


if __name__ == "__main__":
    main()
