"""The HTTP side: ``/metrics``, ``/healthz`` and ``/readyz``. It answers scrapes and changes nothing."""

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from collector.errors import UserError

#: A probe: whether it is well, and a sentence that says so or why not.
Probe = Callable[[], tuple[bool, str]]


class MetricsServer:
    """Serves a registry and two probes on its own threads until closed."""

    def __init__(self, listen: str, registry: CollectorRegistry, probes: dict[str, Probe]) -> None:
        """Bind and start to answer.

        Args:
            listen: ``HOST:PORT``; port 0 is any free one.
            registry: What ``/metrics`` shows.
            probes: Path, such as ``/healthz``, → its probe.

        Raises:
            UserError: The address is malformed, or cannot be bound.
        """
        host, port = _address(listen)
        handler = type("Handler", (_Handler,), {"registry": registry, "probes": probes})
        try:
            self._server = _Server((host, port), handler)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"cannot listen on {listen} ({reason}): choose another address with --listen") from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = self._server.server_address[:2]
        text = host.decode() if isinstance(host, bytes | bytearray) else host
        return f"http://{f'[{text}]' if ':' in text else text}:{port}"

    def close(self) -> None:
        """Stop answering and let the port go."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _address(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - the largest port
        raise UserError(f"{listen!r} is no address: write HOST:PORT, such as 127.0.0.1:9464")
    return host.strip("[]"), int(port)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)


class _Handler(BaseHTTPRequestHandler):
    registry: CollectorRegistry
    probes: dict[str, Probe]
    #: A client that says nothing for so long is let go.
    timeout = 10

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, kind = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, kind, encode(self.registry))
        elif path in self.probes:
            well, words = self.probes[path]()
            self._answer(200 if well else 503, "text/plain; charset=utf-8", f"{words}\n".encode())
        else:
            known = ", ".join(("/metrics", *self.probes))
            self._answer(404, "text/plain; charset=utf-8", f"not here; there is {known}\n".encode())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name for it
        """Say nothing: a scrape a second is no news."""
