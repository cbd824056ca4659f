"""A real HTTP server on loopback that behaves as badly as a test asks; it waits on an Event, never on a clock."""

import http.server
import threading
from collections.abc import Callable
from typing import TypeAlias

#: What a request is answered with: it writes to the handler whatever it likes.
Answer: TypeAlias = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection; ``server`` says what to answer."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.server.answer(self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the standard library
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    """Answers every request as it is told, until it is closed."""

    def __init__(self, answer: Answer, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.answer = answer
        self.paths: list[str] = []
        #: Set when the test is over: what hangs goes on then.
        self.over = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has given up is what these tests want."""

    def stop(self) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()
        self._thread.join()


def answering(body: bytes | str, status: int = 200, **headers: str) -> Answer:
    """A whole answer; headers are written with _ for -."""
    content = body.encode() if isinstance(body, str) else body

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(content)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)
        # One request a connection where a length was not kept to.
        handler.close_connection = headers.get("Content_Length") is not None

    return answer


def breaking_off(sent: bytes) -> Answer:
    """Some bytes, whatever they are, and the connection is closed."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(sent)
        handler.close_connection = True

    return answer


def hanging(handler: Handler) -> None:
    """Nothing, until the test is over."""
    handler.server.over.wait(30)


def dripping(start: bytes, drop: bytes) -> Answer:
    """A start, then a drop now and again for as long as somebody listens."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(start)
        while not handler.server.over.wait(0.01):
            handler.wfile.write(drop)

    return answer


def by_path(answers: dict[str, Answer]) -> Answer:
    """Another answer at each path; 404 elsewhere."""
    return lambda handler: answers.get(handler.path, answering("not found", 404))(handler)
