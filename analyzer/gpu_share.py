"""How much of a GPU a server is charged for, where it has the GPU not to itself.

A MIG instance is charged for what it blocks: the larger of its shares of compute slices and of memory slices. With
the whole layout known, shares that sum to more than the GPU are scaled down to it, and what is missing to the GPU is
nobody's. Under MPS and time-slicing a server is charged its share of the SM time that processes had, an estimate.
"""

import re
from collections.abc import Sequence

import numpy as np

from analyzer.columns import RunData
from analyzer.schema import GpuShare
from analyzer.windows import subjects
from collector.errors import UserError

#: Compute and memory slices of a GPU: NVIDIA's MIG user guide, "MIG Device Profiles".
_SLICES, _SLICES_A30 = (7, 8), (4, 4)
_PROFILE = re.compile(r"(\d)g\.(\d{1,3})gb(?:\+\S+)?", re.IGNORECASE)
_PIDS = re.compile(r"pids?:(\d{1,10}(?:,\d{1,10})*)")
_SHOWN = "write a number such as 0.5, a MIG profile such as 3g.40gb, 3g.40gb/4g.40gb,3g.40gb, or pids:812,815"


def gpu_share(asked: str, data: RunData) -> GpuShare:
    """The share that a user asked for.

    Args:
        asked: A number 0–1; a MIG profile, alone or before ``/`` and all profiles on the GPU; or ``pids:`` and the
            processes of the server, whose share of the SM time is taken.
        data: The run, which knows the memory of the GPU and the SM time of processes.

    Raises:
        UserError: It is none of these, or the run lacks what it needs.
    """
    pids = _PIDS.fullmatch(asked)
    if pids:
        return GpuShare(ratio=_sm_share(data, set(pids[1].split(","))), origin="sm_time", estimated=True)
    mine, _, layout = asked.partition("/")
    if _PROFILE.fullmatch(mine):
        gpu = data.run.gpus[0] if data.run.gpus else None
        if gpu is None or gpu.memory_bytes is None:
            raise UserError("the run does not say how much memory its GPU has: give the share as a number")
        slices = _SLICES_A30 if re.search(r"\bA30\b", gpu.name) else _SLICES
        profiles = layout.split(",") if layout else [mine]
        if mine not in profiles:
            raise UserError(f"{mine} is not among the profiles on the GPU that follow the slash")
        shares, _ = mig_shares(profiles, gpu.memory_bytes / 2**30, slices)
        return GpuShare(ratio=shares[profiles.index(mine)], origin="mig")
    try:
        ratio = float(asked)
    except ValueError:
        ratio = -1.0
    if not 0 < ratio <= 1:
        raise UserError(f"“{asked[:40]}” is no share of a GPU: {_SHOWN}")
    return GpuShare(ratio=ratio, origin="given")


def mig_shares(
    profiles: Sequence[str], memory_gib: float, slices: tuple[int, int] = _SLICES
) -> tuple[tuple[float, ...], float]:
    """The share of each instance of a GPU, and what is left; they sum to 1.

    Raises:
        UserError: A name is no MIG profile, or one of them is larger than the GPU.
    """
    raw = []
    for profile in profiles:
        match = _PROFILE.fullmatch(profile)
        if match is None:
            raise UserError(f"“{profile[:40]}” is no MIG profile: {_SHOWN}")
        blocked = max(int(match[1]) / slices[0], round(int(match[2]) / memory_gib * slices[1]) / slices[1])
        if not 0 < blocked <= 1:
            raise UserError(f"{profile} does not fit a GPU of {memory_gib:.0f} GiB")
        raw.append(blocked)
    whole = max(1.0, sum(raw))
    shares = tuple(share / whole for share in raw)
    return shares, max(0.0, 1 - sum(shares))


def _sm_share(data: RunData, pids: set[str]) -> float:
    """SM time of these processes over that of all; a process has none where the driver shows none."""
    mine = everyone = 0.0
    for subject, frame in subjects(data, "nvml").items():
        _, slash, pid = subject.partition("/pid:")
        if not slash or "process_sm_utilization_ratio" not in frame:
            continue
        used = frame["process_sm_utilization_ratio"].to_numpy(np.float64)
        # Those who ran at every reading and those who ran at one are weighed by how long they ran.
        time = float(np.nansum(used))
        everyone += time
        mine += time if pid in pids else 0.0
    if not mine:
        raise UserError(f"the run has no SM time of the processes {', '.join(sorted(pids))[:80]}: give a number")
    return mine / everyone
