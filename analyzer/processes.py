"""Work in processes of its own, so that what one of them does to itself costs no other."""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

from analyzer.importers import _kineto_helpers

_T = TypeVar("_T")
_R = TypeVar("_R")


def apart(items: Sequence[_T], work: Callable[[_T], _R], killed: Callable[[_T], _R], jobs: int) -> Iterator[_R]:
    """The result of each item, as they come.

    When a process dies all that were under way are lost with it; they are tried again one by one.

    Args:
        items: What to work on.
        work: Is sent to a process with each item.
        killed: The result of an item on which its process dies.
        jobs: Processes at a time.
    """
    left = dict.fromkeys(range(len(items)))
    with _processes(jobs) as pool:
        asked = {pool.submit(work, item): number for number, item in enumerate(items)}
        for future in as_completed(asked):
            if not isinstance(future.exception(), BrokenProcessPool):
                del left[asked[future]]
                yield future.result()
    for number in left:
        with _processes(1) as pool:
            try:
                result = pool.submit(work, items[number]).result()
            except BrokenProcessPool:
                result = killed(items[number])
        yield result


@contextmanager
def _processes(jobs: int) -> Iterator[Executor]:
    """Processes that have nothing of this one, and that go when it is told to stop."""
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin)
    try:
        yield pool
    except BaseException:
        # What still runs would be waited for.
        for process in list(pool._processes.values()):  # noqa: SLF001 - public from Python 3.14 on: terminate_workers
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Set a process up: Ctrl-C ends it without a word, and it leaves the other cores to the other processes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _kineto_helpers.MAX_HELPERS = 0
