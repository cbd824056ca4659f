"""XID errors: the driver's own words that something went wrong on a GPU. Private to the ``nvml`` source.

They come when GPUs are least well, so they are waited for on a thread of their own, apart from every reading.
"""

import ctypes
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

from collector.schema import Absent, Event
from collector.sources._nvml_errors import Code, absent, code_of, errors

#: How long one wait lasts, and so how long closing may take.
_WAIT_MS = 400
_NO_INSTANCE = 0xFFFFFFFF

#: What to do about a code; source: the documentation of nvidia_gpu_exporter, docs/METRICS.md.
_CLASSES = {
    **dict.fromkeys((48, 62, 64, 74, 79, 95, 119, 120), "reset the GPU"),
    **dict.fromkeys((13, 31, 43), "usually a fault of the application"),
    **dict.fromkeys((63, 92), "informational"),
}


class XidWatch:
    """Waits for the XID errors of all GPUs."""

    def __init__(
        self,
        nv: ModuleType,
        handles: Mapping[int, object],
        counts: Mapping[int, int] | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Register the GPUs and begin to wait.

        Args:
            nv: The module ``pynvml``.
            handles: The GPUs by index.
            counts: Errors of each GPU so far.
            clock: Nanoseconds that never go back.
        """
        self._nv, self._clock = nv, clock
        self._indexes = {_address(handle): index for index, handle in handles.items()}
        #: Errors so far, by the index of their GPU.
        self.counts = Counter(counts)
        #: Why a GPU is not watched.
        self.absent: dict[int, Absent] = {}
        self._seen: list[tuple[int, Event]] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._set = self._register(handles)
        if self._set is not None:
            self._thread = threading.Thread(target=self._loop, name="nvml-xid", daemon=True)
            self._thread.start()

    def drain(self, t_ns: int) -> list[Event]:
        """Events since the last call, on the clock on which it is now ``t_ns``."""
        now = self._clock()
        with self._lock:
            seen, self._seen = self._seen, []
        return [
            Event(t_ns=t_ns - (now - arrived_ns), kind=event.kind, name=event.name, detail=event.detail)
            for arrived_ns, event in seen
        ]

    def close(self) -> bool:
        """Stop waiting; returns whether that succeeded. It does not where the driver hangs: what it uses is left."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2 * _WAIT_MS / 1000)
            if self._thread.is_alive():
                return False
        if self._set is not None:
            self._free(self._set)
            self._set = None
        return True

    def _register(self, handles: Mapping[int, object]) -> object | None:
        nv = self._nv
        try:
            events: object = nv.nvmlEventSetCreate()
        except errors(nv) as error:
            self.absent = dict.fromkeys(handles, absent(code_of(error), error))
            return None
        for index, handle in handles.items():
            try:
                nv.nvmlDeviceRegisterEvents(handle, nv.nvmlEventTypeXidCriticalError, events)
            except errors(nv) as error:
                if code_of(error) == Code.UNKNOWN:
                    # nvml.h: the set is not to be used any more after this error.
                    self._free(events)
                    self.absent = dict.fromkeys(handles, Absent(f"the driver refuses to report XID errors ({error})"))
                    return None
                self.absent[index] = Absent(f"the driver does not report this GPU's XID errors ({error})")
        if len(self.absent) < len(handles):
            return events
        self._free(events)
        return None

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                data = self._nv.nvmlEventSetWait_v2(self._set, _WAIT_MS)
            except errors(self._nv) as error:
                if code_of(error) != Code.TIMEOUT:
                    self._stop.wait(_WAIT_MS / 1000)
            else:
                self._note(data)

    def _note(self, data: Any) -> None:  # noqa: ANN401 - a struct of a binding without types
        index = self._indexes.get(_address(data.device))
        if index is None:
            with suppress(*errors(self._nv)):
                index = self._nv.nvmlDeviceGetIndex(data.device)
        detail: dict[str, str | int | float | bool | None] = {"gpu": index, "advice": _CLASSES.get(data.eventData)}
        if data.gpuInstanceId != _NO_INSTANCE:
            detail["mig"] = data.gpuInstanceId
        with self._lock:
            self._seen.append((self._clock(), Event(t_ns=0, kind="xid", name=str(data.eventData), detail=detail)))
            if index is not None:
                self.counts[index] += 1

    def _free(self, events: object) -> None:
        with suppress(*errors(self._nv)):
            self._nv.nvmlEventSetFree(events)


def _address(handle: Any) -> int | None:  # noqa: ANN401 - a pointer of a binding without types
    """What tells GPUs apart even when they no longer answer to their index."""
    return ctypes.cast(handle, ctypes.c_void_p).value
