"""The address is taken first; what cannot be taken is said in one sentence."""

import re
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from collector.errors import UserError
from dashboard import server
from tests.dashboard import runs

_SERVE = """
import sys
from pathlib import Path
from dashboard.app import serve
serve([Path(sys.argv[1])], reference=None, host="127.0.0.1", port=0, open_browser=False, price_usd_per_gpu_hour=2.0)
"""


def test_a_port_in_use_is_named_with_the_remedy() -> None:
    with server.bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"^port {port} on 127\.0\.0\.1 is in use: choose another with --port$"):
            server.bind("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(UserError, match="--host"):
        server.bind("203.0.113.7", 0)
    with pytest.raises(UserError, match="--host"):
        server.bind("no such host", 0)


def test_port_zero_is_a_free_port() -> None:
    with server.bind("127.0.0.1", 0) as taken:
        assert taken.getsockname()[1] > 0


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("::", "http://[::1]:80"),
    ],
)
def test_the_address_that_is_shown_can_be_opened(host: str, url: str) -> None:
    assert server.address(host, 80) == url


def test_the_browser_is_opened_once_the_app_answers(capsys: pytest.CaptureFixture[str]) -> None:
    opened: list[str] = []
    with server.bind("127.0.0.1", 0) as taken:
        taken.listen()
        url = server.address(*taken.getsockname())
        thread = threading.Thread(target=server._announce, args=(url, url, True, opened.append))
        thread.start()
        assert opened == []
        connection, _ = taken.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        connection.close()
        thread.join()
    assert opened == [url]
    assert capsys.readouterr().out == f"Inferometer dashboard: {url}\n"


def test_it_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _SERVE, str(runs.finished(tmp_path / "a"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"Inferometer dashboard: (http://127\.0\.0\.1:\d+)\n", line)
        assert found, line
        with urllib.request.urlopen(found[1]) as answer:
            assert b"Inferometer" in answer.read()
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (0, "", "")
