"""Sampled stacks in speedscope's format, as ``py-spy record --format speedscope`` writes them (0.3 and later).

One profile a thread; a sample is a list of frames, root first, and the time it stands for. It has no date, and no gaps:
a thread that is idle is not sampled unless py-spy is told ``--idle``, so the times are active time, fit for shares and
for nothing else. Schema: https://www.speedscope.app/file-format-schema.json.
"""

from itertools import chain
from pathlib import Path

import msgspec
import numpy as np

from analyzer.columns import Loss, Stacks, Trace
from analyzer.importers import Progress
from analyzer.importers._documents import MAX_NS, NO_SPANS, Names, read
from collector.errors import UserError

FORMAT = "stacks that py-spy sampled (--format speedscope)"

#: Units of time; a profile of bytes or of plain counts says nothing about time.
_SECONDS = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6, "nanoseconds": 1e-9}
#: No program has more threads, or stacks that are deeper on the whole.
MAX_THREADS = 1 << 12
MAX_FRAMES = 1 << 26
_NO_VERDICT = (
    "sampled stacks show what host threads did, not what the device waited for: "
    "read them beside a trace, or beside a run of the same server"
)
_NOTES = (
    "The file has no date, and idle threads are not sampled unless py-spy is told --idle: shares are of active time.",
)


class _Frame(msgspec.Struct, gc=False):
    name: str
    file: str | None = None


class _Shared(msgspec.Struct):
    frames: list[_Frame]


class _Profile(msgspec.Struct):
    type: str
    name: str = ""
    unit: str = "none"
    samples: list[list[int]] = []
    weights: list[float] = []


class _Document(msgspec.Struct):
    shared: _Shared
    profiles: list[_Profile]


def claims(path: Path, head: bytes) -> bool:
    """A document that names speedscope's schema."""
    del path
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return text.startswith(b"{") and b"speedscope.app/file-format-schema" in text[:4096]


def load(path: Path, progress: Progress | None = None) -> Trace:
    """Read the stacks.

    Raises:
        UserError: They cannot be read, break off, or are samples of something else than time.
    """
    text = read(path, progress)
    try:
        document = msgspec.json.decode(text.content, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = text.damage or str(error)[:200]
        raise UserError(f"{path} is no whole speedscope document ({why}): copy or record it again") from error
    sampled = [profile for profile in document.profiles if profile.type == "sampled" and profile.unit in _SECONDS]
    if not sampled or len(sampled) > MAX_THREADS:
        raise UserError(f"{path} holds {len(sampled)} profiles that sample time: record it with py-spy")
    names = Names()
    frames = [names.index(_title(frame)) for frame in document.shared.frames]
    stacks, lost = _stacks(path, sampled, np.array(frames, np.int32))
    longest_s = max(np.bincount(stacks.thread, stacks.seconds, 1), default=0.0)
    return Trace(
        name=path.name, devices={}, names=tuple(names), device=NO_SPANS, host=NO_SPANS, host_marks=NO_SPANS,
        device_marks=NO_SPANS, products=(), window_ns=(0, int(longest_s * 1e9)), overhead_ns=0, losses=_losses(lost),
        stacks=stacks, no_verdict=_NO_VERDICT, notes=_NOTES,
    )  # fmt: skip


def _title(frame: _Frame) -> str:
    """A function and the end of its file's path: two files of one name are told apart by their folder."""
    where = "/".join((frame.file or "").replace("\\", "/").split("/")[-2:])
    return f"{frame.name} ({where})" if where else frame.name


def _stacks(path: Path, profiles: list[_Profile], names: "np.typing.NDArray[np.int32]") -> tuple[Stacks, int]:
    """The samples of all threads as columns, and how many were dropped: no frames, an unknown one, or no time."""
    thread, seconds, samples = [], [], []
    lost = 0
    for number, profile in enumerate(profiles):
        scale = _SECONDS[profile.unit]
        lost += abs(len(profile.samples) - len(profile.weights))
        for sample, weight in zip(profile.samples, profile.weights, strict=False):
            known = bool(sample) and min(sample) >= 0 and max(sample) < len(names)
            if not known or not 0 <= weight * scale < MAX_NS / 1e9:
                lost += 1
                continue
            thread.append(number)
            seconds.append(weight * scale)
            samples.append(sample)
    depth = [len(sample) for sample in samples]
    if not samples or sum(depth) > MAX_FRAMES:
        raise UserError(f"{path} holds {len(samples)} samples that can be used: record it again, for a few minutes")
    flat = np.fromiter(chain.from_iterable(samples), np.int64, sum(depth))
    stacks = Stacks(
        threads=tuple(profile.name[:200] for profile in profiles),
        thread=np.array(thread, np.int32),
        seconds=np.array(seconds, np.float64),
        frame=names[flat],
        first=np.r_[0, np.cumsum(depth)].astype(np.int64),
    )
    return stacks, lost


def _losses(lost: int) -> tuple[Loss, ...]:
    note = "samples without frames, with frames that are not listed, or without a time were dropped"
    return (Loss(kind="unreadable", count=lost, note=note),) if lost else ()
