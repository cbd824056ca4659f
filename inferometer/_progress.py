"""How far long work has come: a bar on a terminal, a line now and then elsewhere, nothing for short work."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

#: Called with what is done and the whole, in any unit.
Report: TypeAlias = Callable[[int, int], None]

#: Work that takes less is not worth a line.
_PATIENCE_S = 2.0


@contextmanager
def progress(title: str, console: Console, clock: Callable[[], float] = time.monotonic) -> Iterator[Report]:
    """Show how far one piece of work has come while the block runs.

    Args:
        title: What is being worked on.
        console: Where to show it; stderr, so that the output stays clean.
        clock: Seconds.
    """
    if not console.is_terminal:
        yield _lines(title, console, clock)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(title: str, console: Console, clock: Callable[[], float]) -> Report:
    last_s = clock()

    def report(done: int, total: int) -> None:
        nonlocal last_s
        if clock() - last_s >= _PATIENCE_S:
            last_s = clock()
            share = f": {100 * done / total:.0f} %" if total else ""
            console.print(f"{title}{share} …", markup=False, highlight=False)

    return report
