"""Serve an app to browsers: take the address first, say where it is once it answers, end quietly on Ctrl-C."""

import errno
import logging
import socket
import threading
import urllib.request
import webbrowser
from collections.abc import Callable
from typing import Any

import waitress

from collector.errors import UserError

#: A page asks for several things at once; more wait in line.
_THREADS = 8
_PATIENCE_S = 30.0


def bind(host: str, port: int) -> socket.socket:
    """Take an address, before anything slow is done.

    Raises:
        UserError: Somebody else has it, or it is not ours to take.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise UserError(f"{host} is no address of this machine: choose another with --host") from error
    taken = socket.socket(family, kind, protocol)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(address)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} on {host} is in use: choose another with --port") from error
        reason = error.strerror or error
        raise UserError(f"cannot listen on {host} port {port} ({reason}): choose others with --host, --port") from error
    return taken


def address(host: str, port: int) -> str:
    """The URL of an address; an address that stands for all of them is reached through this machine's own."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not listened on
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def run(wsgi: Any, taken: socket.socket, health: str, *, open_browser: bool) -> None:  # noqa: ANN401 - a WSGI app
    """Serve until the process is interrupted."""
    # A page that asks for more at once than there are threads waits; that is no news.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    server = waitress.create_server(wsgi, sockets=[taken], threads=_THREADS, ident="inferometer")
    host, port = taken.getsockname()[:2]
    url = address(host, port)
    threading.Thread(target=_announce, args=(url, f"{url}/{health}", open_browser), daemon=True).start()
    server.run()


def _announce(url: str, health: str, open_browser: bool, opener: Callable[[str], Any] = webbrowser.open) -> None:  # noqa: FBT001
    """Say where the app is, once it answers."""
    with urllib.request.urlopen(health, timeout=_PATIENCE_S) as answer:  # noqa: S310 - our own address
        answer.read()
    print(f"Inferometer dashboard: {url}", flush=True)  # noqa: T201 - the one line of the command
    if open_browser:
        opener(url)
