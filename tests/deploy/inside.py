"""Runs inside the sandbox: a server to watch, the collector as its manifest starts it, and what is seen of both.

Takes one JSON argument, prints one JSON object. It imports nothing but the standard library, so that everything else
is what the image holds.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PATIENCE_S = 60
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main() -> None:
    told = json.loads(sys.argv[1])
    page = Path(told["page"]).read_bytes()

    class Vllm(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page if self.path == "/metrics" else b""
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", told["server_port"]), Vllm)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    seen = {
        "uid": status["Uid"].split()[0],
        "capabilities": [status["CapEff"], status["CapBnd"], status["CapAmb"]],
        "no_new_privileges": status["NoNewPrivs"],
        "writes": {path: _written(path) for path in told["paths"]},
        "starts": [_start(told) for _ in range(told["starts"])],
    }
    sys.stdout.write(json.dumps(seen))


def _written(path: str) -> str:
    """How the attempt to write a file there ends."""
    try:
        (Path(path) / "attempt").write_text("")
        (Path(path) / "attempt").unlink()
    except OSError as error:
        return error.strerror or str(error)
    return "written"


def _start(told: dict[str, Any]) -> dict[str, Any]:
    """Run the collector until its metrics hold what is wanted, and end it as Kubernetes does."""
    with subprocess.Popen(told["command"], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + PATIENCE_S
        answers: dict[str, tuple[int, str]] = {}
        missing = told["wanted"]
        while missing and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
            answers = {path: _get(f"{told['url']}{path}") for path in ("/healthz", "/readyz", "/metrics")}
            missing = [text for text in told["wanted"] if text not in answers["/metrics"][1]]
        healthcheck = subprocess.run(told["healthcheck"], check=False).returncode
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE_S)
    statuses = {path: status for path, (status, _) in answers.items()}
    return {
        "statuses": statuses,
        "missing": missing,
        "healthcheck": healthcheck,
        "said": said,
        "code": process.returncode,
    }


def _get(url: str) -> tuple[int, str]:
    try:
        with _OPENER.open(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:
        return 0, ""


if __name__ == "__main__":
    os.chdir("/runs")
    main()
