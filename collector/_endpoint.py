"""One inference server's HTTP, as far as reading its pages goes: GET, bounded in time and in bytes. Private.

On the standard library alone, for three reasons that a collector has: it costs a third of httpx's CPU time and
nothing of its 9 MB; one deadline holds for everything, so that a server that sends a byte now and then is given up
on; and what is unpacked is counted while it is unpacked, so that a small answer cannot become a large one. No
redirect is followed, no proxy and nothing else is taken from the environment.
"""

import http.client
import socket
import ssl
import time
import zlib
from http import HTTPStatus
from typing import cast
from urllib.parse import urlsplit

from collector.errors import UserError

CONNECT_S = 1.0
TOTAL_S = 2.0
LARGEST = 16_000_000
_CHUNK = 1 << 18
_TOO_LARGE = f"the server's answer is larger than {LARGEST:,} bytes; check its labels"
_HEADERS = {"User-Agent": "inferometer", "Accept": "text/plain;version=0.0.4, */*;q=0.1", "Accept-Encoding": "identity"}
#: Both gzip's and zlib's headers are understood.
_ANY_HEADER = zlib.MAX_WBITS + 32
_PORTS = {"http": 80, "https": 443}


class UnansweredError(Exception):
    """A page could not be had; the message says why, in words that stay the same while the fault does."""


class NotHereError(UnansweredError):
    """The server answered, but not with a page: another path may have it."""


class _Deadline:
    """The instant at which every wait ends."""

    def __init__(self) -> None:
        self.ends = 0.0

    def left(self) -> float:
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Plain(socket.socket):
    deadline: _Deadline

    def recv_into(self, *arguments: object) -> int:
        self.settimeout(self.deadline.left())
        return super().recv_into(*arguments)  # type: ignore[arg-type]


class _Tls(ssl.SSLSocket):
    deadline: _Deadline

    def recv_into(self, *arguments: object) -> int:
        self.settimeout(self.deadline.left())
        return super().recv_into(*arguments)  # type: ignore[arg-type]


class _Connection(http.client.HTTPConnection):
    """A connection that keeps one deadline, over TLS where a context is given."""

    def __init__(self, host: str, port: int, deadline: _Deadline, tls: ssl.SSLContext | None) -> None:
        super().__init__(host, port)
        self._deadline, self._tls = deadline, tls

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), min(CONNECT_S, self._deadline.left()))
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock = (
                cast("_Tls", self._tls.wrap_socket(plain, server_hostname=self.host))
                if self._tls
                else _Plain(fileno=plain.detach())
            )
        except (OSError, ValueError):
            plain.close()
            raise
        sock.deadline = self._deadline
        self.sock = sock

    def answer(self, path: str) -> http.client.HTTPResponse:
        """Ask for a path. A server may have closed a connection that it kept: then ask again over a new one."""
        for reused in (self.sock is not None, False):
            try:
                if self.sock is not None:
                    self.sock.settimeout(self._deadline.left())
                self.request("GET", path, headers=_HEADERS)
                return self.getresponse()
            except ConnectionError:
                self.close()
                if not reused:
                    raise
        raise AssertionError


class Endpoint:
    """A server at an address; used by one thread. Connections are kept between calls."""

    def __init__(self, url: str) -> None:
        """Take an address apart; connects to nothing.

        Raises:
            UserError: It is not a plain http or https address.
        """
        try:
            address = urlsplit(url)
            port = address.port
        except ValueError as error:
            raise UserError(f"the endpoint {url!r} is not an address: {error}") from error
        if address.scheme not in _PORTS or not address.hostname:
            raise UserError(f"the endpoint {url!r} is not an address such as http://127.0.0.1:8000")
        if "@" in address.netloc or address.query or address.fragment:
            raise UserError("an endpoint is only a scheme, a host, a port and a path, without user, password or query")
        self.host, self.port = address.hostname, port or _PORTS[address.scheme]
        self.path = address.path.rstrip("/")
        self._tls = ssl.create_default_context() if address.scheme == "https" else None
        if self._tls:
            self._tls.sslsocket_class = _Tls
        self._deadline = _Deadline()
        self._connections: dict[int, _Connection] = {}

    def start(self) -> None:
        """Begin a reading: what is asked from here on is done in ``TOTAL_S``, or given up."""
        self._deadline.ends = time.monotonic() + TOTAL_S

    def get(self, path: str, port: int | None = None) -> str:
        """The text at a path, of another port of the same host if one is given.

        Raises:
            NotHereError: There is no text there.
            UnansweredError: It could not be had.
        """
        port = port or self.port
        if port not in self._connections:
            self._connections[port] = _Connection(self.host, port, self._deadline, self._tls)
        connection = self._connections[port]
        try:
            with connection.answer(path) as response:
                return _text(response)
        except BaseException as error:
            # What is left of an answer must not be taken for the next one.
            connection.close()
            if isinstance(error, UnansweredError) or not isinstance(error, Exception):
                raise
            raise UnansweredError(f"{self.host}:{port} {_reason(error)}") from error

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections.values():
            connection.close()


def _text(response: http.client.HTTPResponse) -> str:
    if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
        raise NotHereError(f"the server redirects elsewhere (status {response.status}); give the address it leads to")
    if response.status != HTTPStatus.OK:
        raise NotHereError(f"the server answers with status {response.status}")
    body = _body(response)
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise NotHereError("the server answers with something that is not text") from error


def _body(response: http.client.HTTPResponse) -> bytes:
    """What was answered, unpacked; never more than ``LARGEST`` bytes in memory, packed or not."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"identity", "", "gzip", "x-gzip", "deflate"}:
        raise NotHereError("the server compresses its answer in a way that was not asked for")
    unpacker = None if encoding in {"identity", ""} else zlib.decompressobj(_ANY_HEADER)
    body = bytearray()
    received = 0
    if response.length and response.length > LARGEST:
        raise UnansweredError(_TOO_LARGE)
    while chunk := response.read(_CHUNK):
        received += len(chunk)
        body += unpacker.decompress(chunk, LARGEST + 1 - len(body)) if unpacker else chunk
        if max(received, len(body)) > LARGEST:
            raise UnansweredError(_TOO_LARGE)
    # A length that was announced and not reached, or a packed answer without its end.
    if response.length or (unpacker and not unpacker.eof):
        raise http.client.IncompleteRead(b"")
    return bytes(body)


def _reason(error: Exception) -> str:
    """A fault of the network in plain words, without anything that changes from one time to the next."""
    reasons: dict[type[Exception], str] = {
        TimeoutError: f"does not answer within {TOTAL_S:g} s",
        ConnectionRefusedError: "refuses connections: nothing listens there; is the server running?",
        socket.gaierror: "is not known by that name here; check the endpoint",
        ssl.SSLError: "does not complete a TLS handshake; check the scheme and the certificate",
        ConnectionError: "closes the connection before its answer is whole",
        http.client.IncompleteRead: "closes the connection before its answer is whole",
        http.client.HTTPException: "does not speak HTTP there; check the port",
        zlib.error: "answers with something that is not packed as it says",
    }
    known = next((reason for kind, reason in reasons.items() if isinstance(error, kind)), None)
    return known or f"cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}"
