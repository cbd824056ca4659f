"""Where a server is: who listens on its port, or uses a GPU, and who started that.

Only ``/proc`` is read. What a person must change when nothing is found is in the message of ``Unavailable``.
"""

import os
import re
import sys
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from collector.sources import Unavailable
from collector.sources._procfs import FAULTS, read_lines
from collector.sources._roles import OTHER, is_launcher, role_of
from collector.sources._tasks import Process, own_pid, title_of, tree

_LARGEST_TABLE_BYTES = 16 << 20
_DEEPEST = 64
_LISTENS = "0A"
_PORTS = {"http": 80, "https": 443}
#: Roles that only a server's processes have.
_SERVING = {"api_server", "engine_core", "worker"}


@dataclass(frozen=True)
class Server:
    """Where a server is."""

    #: Its topmost processes.
    roots: frozenset[int]
    #: Those that hold its listening socket.
    listening: frozenset[int]


def find_server(proc: Path, endpoint: str, processes: dict[int, Process]) -> Server:
    """The server that answers at an endpoint.

    Raises:
        Unavailable: It is not on this machine, not listening, or hidden; the message says what would grant it.
    """
    port = _own_port(endpoint)
    listeners = _listeners(proc, port)
    if not listeners:
        raise Unavailable(f"nothing listens on port {port} in this network namespace; is the server up?")
    own = own_pid(proc)
    if own is not None and _owners(proc, set(listeners), {own})[0]:
        raise Unavailable(f"port {port} is the collector's own: --endpoint is the server's address")
    owners, closed = _owners(proc, set(listeners), processes.keys())
    owners = owners or _likely(proc, port, closed, set(listeners.values()))
    if not owners:
        raise Unavailable(_why_hidden(port, closed=bool(closed)))
    return Server(frozenset(top_of(proc, pid, owners, processes) for pid in owners), frozenset(owners))


def server_on_gpus(proc: Path, pids: set[int], processes: dict[int, Process], *, by_title: bool) -> Server:
    """The server whose processes use the GPUs.

    Args:
        proc: The tree of ``/proc``.
        pids: Processes that use a GPU.
        processes: Every process that is seen.
        by_title: Whether a job with no title of a server may not be taken for one.

    Raises:
        Unavailable: There is none, or more than one.
    """
    tops = {top_of(proc, pid, set(), processes) for pid in pids if pid in processes}
    servers = {
        top for top in tops if any(role_of(title_of(proc / str(pid))) in _SERVING for pid in tree({top}, processes))
    }
    if not servers and not by_title:
        servers = tops
    if len(servers) > 1:
        raise Unavailable(f"several use the GPUs (processes {', '.join(map(str, sorted(servers)))}): --pid names one")
    if not servers:
        raise Unavailable("no process that the driver sees on a GPU is known for a server")
    return Server(frozenset(servers), frozenset())


def _own_port(endpoint: str) -> int:
    """The port of an endpoint on this machine."""
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80)
    except ValueError as error:
        raise Unavailable(f"the endpoint is no URL: {error}") from error
    with suppress(ValueError):
        address = ip_address("127.0.0.1" if host == "localhost" else host)
        if address.is_loopback or address.is_unspecified:
            return port
    raise Unavailable(f"{host} is not localhost: whether its processes run here is unknown; --pid names one")


def _listeners(proc: Path, port: int) -> dict[str, int]:
    """Sockets that accept local connections on a port: inode to user id."""
    found = {}
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in read_lines(proc / "net" / name, _LARGEST_TABLE_BYTES)[1:]:
                with suppress(ValueError, LookupError):
                    _, local, _, state, _, _, _, uid, _, inode, *_ = line.split()
                    address, _, hex_port = local.partition(":")
                    if state == _LISTENS and int(hex_port, 16) == port and _accepts_local(address):
                        found[inode] = int(uid)
    return found


def _accepts_local(hex_address: str) -> bool:
    """Whether an address, printed as words in the byte order of the machine, is a loopback one or any."""
    words = (bytes.fromhex(hex_address[at : at + 8]) for at in range(0, len(hex_address), 8))
    packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    address = ip_address(packed)
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def _owners(proc: Path, inodes: set[str], processes: Collection[int]) -> tuple[set[int], set[int]]:
    """Processes that hold one of the sockets, and those whose files may not be seen."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    owners, closed = set(), set()
    for pid in processes:
        try:
            with os.scandir(proc / str(pid) / "fd") as files:
                if any(_target(Path(file.path)) in wanted for file in files):
                    owners.add(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
        except OSError:
            closed.add(pid)
    return owners, closed


def _target(link: Path) -> str:
    """What an open file is; "" if it was closed meanwhile.

    Raises:
        PermissionError: It may not be seen, which happens where the folder may: same user, other capabilities.
    """
    try:
        return str(link.readlink())
    except PermissionError:
        raise
    except OSError:
        return ""


def _likely(proc: Path, port: int, pids: set[int], uids: set[int]) -> set[int]:
    """Of the processes whose files may not be seen, those that by user and title are the server; none if in doubt."""
    titles = {pid: title_of(proc / str(pid)) for pid in pids if _uid(proc / str(pid)) in uids}
    servers = {pid: title for pid, title in titles.items() if role_of(title) == "api_server"}
    named = {pid for pid, title in servers.items() if re.search(rf"[= :]{port}\b", title)}
    return named or (set(servers) if len(servers) == 1 else set())


def _uid(folder: Path) -> int | None:
    """The effective user id of a process."""
    with suppress(*FAULTS):
        return next(int(line.split()[2]) for line in read_lines(folder / "status") if line.startswith("Uid:"))
    return None


def _why_hidden(port: int, *, closed: bool) -> str:
    if closed:
        return (
            f"a process listens on port {port}, but it belongs to another user and no title tells which it is; "
            "running as the server's user, CAP_SYS_PTRACE or --pid grants it"
        )
    return (
        f"a process listens on port {port}, but it is in another process namespace; "
        "in a pod shareProcessNamespace: true grants it, in Docker --pid=container:<server>"
    )


def top_of(proc: Path, pid: int, owners: set[int], processes: dict[int, Process]) -> int:
    """Climb to the process that started the server's parts."""
    for _ in range(_DEEPEST):
        parent = processes[pid].parent
        title = title_of(proc / str(parent))
        if parent not in processes or not (parent in owners or is_launcher(title) or role_of(title) != OTHER):
            break
        pid = parent
    return pid
