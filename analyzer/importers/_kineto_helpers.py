"""Decode the pieces of a large document on several cores.

A helper is a process of its own that reads pieces from its standard input and answers with columns. It is no fork,
since the caller may hold threads, and no ``multiprocessing``, which would run the caller's own script again.
"""

import os
import pickle
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, islice
from queue import SimpleQueue
from typing import BinaryIO, TypeAlias, cast

from analyzer.importers._kineto_events import Block, decode

#: Pieces that are decoded here before helpers are worth their start.
ALONE = 192
#: More cores than this wait for the one that inflates.
MAX_HELPERS = 3

_LENGTH = struct.Struct("<q")

Text: TypeAlias = bytes | memoryview


def decoded(chunks: Iterable[Text], helpers: int | None = None) -> Iterator[tuple[Text, Block | None]]:
    """Each piece with its columns, in order; None where it is no faultless list of events.

    Args:
        chunks: Texts of whole events.
        helpers: Processes beside this one; as many as there are cores to spare where it is None.
    """
    chunks = iter(chunks)
    if helpers is None:
        helpers = min(MAX_HELPERS, len(os.sched_getaffinity(0)) - 1 if hasattr(os, "sched_getaffinity") else 1)
        yield from ((chunk, decode(chunk)) for chunk in islice(chunks, ALONE))
    first = next(chunks, None)
    if first is None:
        return
    chunks = chain([first], chunks)
    if helpers:
        yield from _shared(chunks, helpers)
    else:
        yield from ((chunk, decode(chunk)) for chunk in chunks)


def _shared(chunks: Iterator[Text], helpers: int) -> Iterator[tuple[Text, Block | None]]:
    """Give each piece to an idle helper, and decode it here where none is idle."""
    waiting: deque[tuple[Text, Future[Block | None]]] = deque()
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(helpers))
        idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        for helper in _started(helpers):
            stack.callback(_stop, helper)
            idle.put(helper)
        for chunk in chunks:
            if idle.empty():
                here: Future[Block | None] = Future()
                here.set_result(decode(chunk))
                waiting.append((chunk, here))
            else:
                waiting.append((chunk, threads.submit(_ask, idle, idle.get(), chunk)))
            while waiting and (waiting[0][1].done() or len(waiting) > 2 * helpers):
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()


#: ``-P``: nothing is imported from the folder that the caller happens to be in.
_COMMAND = (sys.executable, "-P", "-c", f"from {__name__} import serve; serve()")


def _started(helpers: int) -> "Iterator[subprocess.Popen[bytes]]":
    """As many helpers as the system lets start; without one, everything is decoded here."""
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    for _ in range(helpers):
        try:
            yield subprocess.Popen(_COMMAND, stdin=pipe, stdout=pipe, stderr=nowhere)  # noqa: S603 - ourselves
        except OSError:
            return


def _ask(idle: "SimpleQueue[subprocess.Popen[bytes]]", helper: "subprocess.Popen[bytes]", chunk: Text) -> Block | None:
    """A helper's answer; one that died is not asked again, and its piece is decoded here."""
    try:
        _send(cast("BinaryIO", helper.stdin), chunk)
        answer: Block | None = pickle.loads(_receive(cast("BinaryIO", helper.stdout)))  # noqa: S301 - our own process
    except (OSError, EOFError):
        return decode(chunk)
    idle.put(helper)
    return answer


def _stop(helper: "subprocess.Popen[bytes]") -> None:
    helper.kill()
    helper.communicate()


def _send(pipe: BinaryIO, message: Text) -> None:
    pipe.write(_LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


def _receive(pipe: BinaryIO) -> bytes:
    header = pipe.read(_LENGTH.size)
    length = _LENGTH.unpack(header)[0] if len(header) == _LENGTH.size else -1
    message = pipe.read(length)
    if len(message) != length:
        raise EOFError
    return message


def serve() -> None:
    """Be a helper, until there is nothing more to read."""
    try:
        while True:
            block = decode(_receive(sys.stdin.buffer))
            _send(sys.stdout.buffer, pickle.dumps(block, pickle.HIGHEST_PROTOCOL))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
