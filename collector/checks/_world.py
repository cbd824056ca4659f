"""What several checks look at, read once for all of them: the server's page, its processes, the time. Private."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, field

from collector import dialects
from collector._endpoint import Endpoint, UnansweredError
from collector._pages import Pages
from collector.engines import Plugin
from collector.errors import UserError
from collector.identity import identify
from collector.options import Options
from collector.schema import Engine, Sample
from collector.scrape import Scrape
from collector.sources import Unavailable, processes
from collector.sources._procfs import FAULTS, read_bytes

#: What is not done after so long hangs: the slowest wakes GPUs whose driver sleeps, in a few seconds.
PATIENCE_S = 15.0

_LARGEST_BYTES = 1 << 17
_LONGEST_WORD = 2000


@dataclass(frozen=True, kw_only=True)
class ServerPage:
    """The server's page of metrics, and what the server says it is."""

    text: str
    scrape: Scrape
    plugin: Plugin
    engine: Engine


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The server's processes, parents before children."""

    samples: tuple[Sample, ...]
    #: Roles by pid.
    roles: dict[int, str]
    #: The process that was given the server's flags: the children of some servers hide theirs.
    front: int
    #: Its command line, word by word; empty where it cannot be read.
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class World:
    """What a check is given; where there is no page or no tree, why."""

    options: Options
    page: ServerPage | Unavailable
    tree: Tree | Unavailable
    now_ns: int
    #: Nanoseconds that never go back, and how to wait for seconds.
    clock: Callable[[], int] = field(default=time.monotonic_ns)
    sleep: Callable[[float], None] = field(default=time.sleep)


def look(options: Options) -> World:
    """Ask the server and ``/proc``, two seconds at most.

    Raises:
        UserError: The endpoint or the engine cannot be one.
    """
    return World(options=options, page=_page(options), tree=_tree(options), now_ns=time.time_ns())


def _page(options: Options) -> ServerPage | Unavailable:
    chosen = dialects.chosen(options.engine, options.generic)
    if options.endpoint is None:
        return Unavailable("no --endpoint was given; name the server's address, such as http://127.0.0.1:8000")
    with closing(Endpoint(options.endpoint)) as endpoint:
        try:
            text, scrape = Pages(endpoint, chosen).read(0)
        except (UnansweredError, UserError) as error:
            return Unavailable(str(error))
    plugin = chosen[1] if chosen else dialects.plugins()[scrape.engine]
    engine = identify(options) or Engine(name=scrape.engine)
    return ServerPage(text=text, scrape=scrape, plugin=plugin, engine=engine)


def _tree(options: Options) -> Tree | Unavailable:
    """Looked for on a thread of its own: where all else fails the driver is asked, which may hang."""
    found: Future[Tree | Unavailable] = Future()

    def seek() -> None:
        try:
            found.set_result(_found(options))
        except Exception as fault:  # noqa: BLE001 - raised where it is waited for
            found.set_exception(fault)

    threading.Thread(target=seek, name="look", daemon=True).start()
    try:
        return found.result(PATIENCE_S)
    except TimeoutError:
        return Unavailable(f"looking for the server's processes did not come back within {PATIENCE_S:g} s")


def _found(options: Options) -> Tree | Unavailable:
    try:
        with closing(processes.open_source(options)) as source:
            samples = tuple(record for record in source.read(0) if isinstance(record, Sample))
    except Unavailable as error:
        return error
    roles: dict[int, str] = {}
    for sample in samples:
        kind, _, rest = sample.subject.partition(":")
        pid, _, role = rest.partition("/role:")
        if kind == "process" and pid.isdecimal() and "/" not in role:
            roles[int(pid)] = role
    if not roles:
        return Unavailable("the server's processes ended while they were read; ask again")
    front = next((pid for pid, role in roles.items() if role == "api_server"), next(iter(roles)))
    return Tree(samples=samples, roles=roles, front=front, command=words(options, front, "cmdline"))


def words(options: Options, pid: int, name: str) -> tuple[str, ...]:
    """What ``/proc/<pid>/cmdline`` or ``environ`` holds, word by word; nothing where it cannot be read."""
    with suppress(*FAULTS):
        text = read_bytes(options.proc / str(pid) / name, _LARGEST_BYTES).decode("utf-8", "replace")
        return tuple(word[:_LONGEST_WORD] for word in text.split("\0") if word)
    return ()
