"""The ranks of one job beside each other: who comes late to the collectives, and what of them is transfer.

A collective begins on each rank when that rank arrives, and ends on all of them together, when the last has arrived
and the data has moved. So its shortest time over the ranks is the transfer, what a rank spent beyond that it waited,
and the rank with the shortest time came last: none of which needs clocks that agree. (Ends differ by the last hop of a
ring or tree, some microseconds; sends and receives are left out, for they have no common end.)

Collectives are matched by the stream, which is one process group's, the name of the kernel and their order. Profilers
do not begin at one instant and clocks differ, so the order is shifted until the ends agree best; by how much the
clocks then differ, and how far the ends still scatter, is part of the answer.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from analyzer.columns import Int64, Trace
from analyzer.kernels import family
from analyzer.schema import CollectiveTime, RankTime

#: Stream and name.
_Key: TypeAlias = tuple[int, str]
#: Starts and ends of the collectives of one key, by time.
_Times: TypeAlias = tuple[Int64, Int64]

#: Clocks of the hosts of one job may differ by this much.
_CLOCKS_NS = 10**9
#: No common end: two ranks of many take part.
_POINT_TO_POINT = re.compile(r"send|recv|p2p", re.IGNORECASE)
#: Shifts of the order that are tried, and how many collectives decide between them.
_SHIFTS, _SAMPLE = 500, 2000
#: A shift whose ends scatter by no more than this times the best one's, and this, is as good: then the clocks decide.
_ALIKE, _ALIKE_NS = 1.5, 1000
#: Ends that are further apart than so many times the usual scatter, and this, are not of one collective.
_REACH, _REACH_NS = 8, 20_000
#: With ends that scatter by more than this share of the time between two collectives, the match is chance.
_LOOSE = 0.1


@dataclass(frozen=True, kw_only=True)
class Member:
    """What one trace brings to the comparison of its job's ranks."""

    rank: int
    world_size: int | None
    window_ns: tuple[int, int]
    collectives: Mapping[_Key, _Times]


def member(trace: Trace) -> Member | None:
    """A trace's part in its job; None where it names no rank or is of several devices."""
    if trace.rank is None or len(np.unique(trace.device.row)) != 1:
        return None
    work = trace.device
    found: dict[_Key, _Times] = {}
    for name in np.unique(work.name).tolist():
        title = trace.names[name]
        if family(title) != "communication" or _POINT_TO_POINT.search(title):
            continue
        for stream in np.unique(work.stream[work.name == name]).tolist():
            rows = (work.name == name) & (work.stream == stream)
            found[stream, title] = work.start_ns[rows], work.end_ns[rows]
    return Member(rank=trace.rank, world_size=trace.world_size, window_ns=trace.window_ns, collectives=found)


def jobs(members: Sequence[Member]) -> list[list[int]]:
    """Which members recorded one job at one time: other ranks, windows that overlap, or nearly. Indices, by rank."""
    groups: list[list[int]] = []
    for index in sorted(range(len(members)), key=lambda index: members[index].window_ns):
        for group in groups:
            others = [members[other] for other in group]
            begin = max(each.window_ns[0] for each in (*others, members[index]))
            end = min(each.window_ns[1] for each in (*others, members[index]))
            if begin < end + _CLOCKS_NS and members[index].rank not in {each.rank for each in others}:
                group.append(index)
                break
        else:
            groups.append([index])
    return [sorted(group, key=lambda index: members[index].rank) for group in groups if len(group) > 1]


def compare(members: Sequence[Member], job: str) -> tuple[RankTime, ...]:
    """Each rank of one job against the others, in the order given."""
    by_name = _by_common_keys(members)
    keys = sorted(set.intersection(*(set(each) for each in by_name)))
    if not keys:
        return _cannot(members, job, "the ranks have no collective in common")
    matches, clocks = [], []
    for each in by_name:
        found = _match(by_name[0], each, keys)
        if found is None:
            return _cannot(members, job, "the ends of the collectives do not agree under any shift of their order")
        matches.append(found[0])
        clocks.append(found[1])
    return _times(members, by_name, keys, matches, clocks, job)


def _by_common_keys(members: Sequence[Member]) -> list[dict[_Key, _Times]]:
    """Collectives by stream and name; by name alone where the ranks number their streams differently."""
    if len({frozenset(stream for stream, _ in each.collectives) for each in members}) == 1:
        return [dict(each.collectives) for each in members]
    merged = []
    for each in members:
        names = sorted({name for _, name in each.collectives})
        parts = {name: [times for (_, title), times in each.collectives.items() if title == name] for name in names}
        merged.append(
            {(0, name): _sorted(*map(np.concatenate, zip(*found, strict=True))) for name, found in parts.items()}
        )
    return merged


def _sorted(start: Int64, end: Int64) -> _Times:
    order = np.argsort(start, kind="stable")
    return start[order], end[order]


@dataclass(frozen=True)
class _Clock:
    """How far a rank's clock is ahead of the first one's, and how far ends scatter about that, nanoseconds."""

    ahead_ns: int
    scatter_ns: int


def _match(
    first: Mapping[_Key, _Times], other: Mapping[_Key, _Times], keys: Sequence[_Key]
) -> tuple[dict[_Key, Int64], _Clock] | None:
    """The row of the other rank for each collective of the first, −1 where it has none; None where it is chance."""
    most = max(keys, key=lambda key: min(len(first[key][1]), len(other[key][1])))
    ahead_ns, scatter_ns = _shift(first[most][1], other[most][1])
    matched, apart = {}, []
    reach = max(_REACH_NS, _REACH * scatter_ns)
    for key in keys:
        ends, theirs = first[key][1] + ahead_ns, other[key][1]
        rows = _nearest(theirs, ends)
        mutual = _nearest(ends, theirs)[rows] == np.arange(len(ends))
        near = mutual & (np.abs(theirs[rows] - ends) <= reach)
        matched[key] = np.where(near, rows, -1).astype(np.int64)
        apart.append((theirs[rows] - ends)[near])
    residual = np.concatenate(apart)
    every = np.sort(np.concatenate([first[key][1] for key in keys]))
    between_ns = float(np.median(np.diff(every))) if len(every) > 1 else np.inf
    if not len(residual) or scatter_ns > _LOOSE * between_ns:
        return None
    return matched, _Clock(
        ahead_ns + int(np.median(residual)), int(np.quantile(np.abs(residual - np.median(residual)), 0.95))
    )


def _shift(ends: Int64, theirs: Int64) -> tuple[int, int]:
    """By how much the other clock is ahead under the best shift of the order, and how far ends scatter then."""
    ends, theirs = ends[: 2 * _SAMPLE], theirs[: 2 * _SAMPLE]
    least = min(len(ends), len(theirs), _SAMPLE) // 2
    found = []
    for shift in range(-min(_SHIFTS, len(ends) - 1), min(_SHIFTS, len(theirs) - 1) + 1):
        first, second = max(0, -shift), max(0, shift)
        both = min(len(ends) - first, len(theirs) - second, _SAMPLE)
        if both >= max(1, least):
            apart = theirs[second : second + both] - ends[first : first + both]
            middle = int(np.median(apart))
            found.append((float(np.median(np.abs(apart - middle))), middle))
    good = _ALIKE * min(scatter for scatter, _ in found) + _ALIKE_NS
    scatter, middle = min((each for each in found if each[0] <= good), key=lambda each: abs(each[1]))
    return middle, int(scatter)


def _nearest(among: Int64, to: Int64) -> npt.NDArray[np.intp]:
    """Row of the nearest instant for each of ``to``."""
    after = np.clip(np.searchsorted(among, to), 1, max(1, len(among) - 1))
    if len(among) == 1:
        return np.zeros(len(to), np.intp)
    return after - (to - among[after - 1] < among[after] - to)


def _times(
    members: Sequence[Member],
    collectives: Sequence[Mapping[_Key, _Times]],
    keys: Sequence[_Key],
    matches: Sequence[Mapping[_Key, Int64]],
    clocks: Sequence[_Clock],
    job: str,
) -> tuple[RankTime, ...]:
    lengths, names = [], []
    for key in keys:
        rows = np.stack([match[key] for match in matches])
        rows = rows[:, (rows >= 0).all(axis=0)]
        lengths.append(
            np.stack([times[key][1][row] - times[key][0][row] for times, row in zip(collectives, rows, strict=True)])
        )
        names += [key[1]] * rows.shape[1]
    length = np.concatenate(lengths, axis=1)
    if not length.shape[1]:
        return _cannot(members, job, "no collective was recorded on all ranks")
    title = np.array(names)
    ordered = np.sort(length, axis=0)
    transfer, last = ordered[0], np.argmin(length, axis=0)
    late = ordered[1] - ordered[0]
    # Of ranks that came at the same instant none was late.
    came_last = np.where(late > 0, last, -1)
    delay = ordered[-1] - length
    return tuple(
        RankTime(
            job=job,
            rank=each.rank,
            world_size=each.world_size,
            ranks=tuple(other.rank for other in members),
            clock_ahead_s=clock.ahead_ns / 1e9,
            clock_uncertainty_s=clock.scatter_ns / 1e9,
            matched=length.shape[1],
            unmatched=sum(len(start) for start, _ in each.collectives.values()) - length.shape[1],
            transfer_s=int(transfer.sum()) / 1e9,
            wait_s=int((length[row] - transfer).sum()) / 1e9,
            last_count=int((came_last == row).sum()),
            late_s=int(late[came_last == row].sum()) / 1e9,
            delay_p50_s=float(np.median(delay[row])) / 1e9,
            delay_p99_s=float(np.quantile(delay[row], 0.99)) / 1e9,
            collectives=tuple(
                _collective(name, transfer[title == name], (length[row] - transfer)[title == name])
                for name in sorted(set(names))
            ),
        )
        for row, (each, clock) in enumerate(zip(members, clocks, strict=True))
    )


def _collective(name: str, transfer: Int64, wait: Int64) -> CollectiveTime:
    p50, p99 = (float(value) / 1e9 for value in np.quantile(transfer, (0.5, 0.99)))
    return CollectiveTime(
        name=name, count=len(transfer), transfer_p50_s=p50, transfer_p99_s=p99, wait_s=int(wait.sum()) / 1e9
    )


def _cannot(members: Sequence[Member], job: str, reason: str) -> tuple[RankTime, ...]:
    """The ranks where nothing can be told of them together."""
    return tuple(
        RankTime(
            job=job,
            rank=each.rank,
            world_size=each.world_size,
            ranks=tuple(other.rank for other in members),
            reason=reason,
            unmatched=sum(len(start) for start, _ in each.collectives.values()),
        )
        for each in members
    )
