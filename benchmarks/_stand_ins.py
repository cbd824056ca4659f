"""What the benchmarks of the collector share: a server to read, GPUs that are not there, and a look at a process.

- ``server()``: a process that answers like vLLM, with the page that one served, whose counters grow, and with as many
  child processes and threads that once were busy as a small vLLM has, for the collector to follow.
- ``collector``: ``inferometer collect`` as a process, on the real GPUs, or on fake ones which answer as an H200 did and
  spin on the CPU for as long as each call took there.
- ``Cost``: CPU time and memory of any process, as the kernel counts them.
"""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[1]
_PAGE = ROOT / "tests" / "collector" / "data" / "vllm_0_23.prom"

#: Two children with eight threads each, all of which used some CPU, and a page whose counters grow by 1 % a reading;
#: with ?name[]= only the families that are asked for, as Prometheus' client for Python answers.
_SERVER = """
import http.server, itertools, multiprocessing, pathlib, sys, threading, time, urllib.parse

def burn():
    began = time.thread_time()
    while time.thread_time() - began < 0.03: pass
    threading.Event().wait()

def child():
    for _ in range(7): threading.Thread(target=burn, daemon=True).start()
    burn()

def family(line):
    return line.split()[2] if line.startswith("# TYPE ") else line.partition("{")[0].partition(" ")[0]

def grown(line, kinds, factor):
    name = line.partition("{")[0].partition(" ")[0]
    if name.startswith("#") or kinds.get(name) != "counter" and not name.endswith(("_bucket", "_sum", "_count")):
        return line
    labels, _, value = line.rpartition(" ")
    return f"{labels} {float(value) * factor}"

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        factor = 1 + next(readings) / 100
        path, _, query = self.path.partition("?")
        asked = {name for _, name in urllib.parse.parse_qsl(query)}
        shown = [line for line in lines if not asked or family(line) in asked]
        page = "".join(grown(line, kinds, factor) + "\\n" for line in shown).encode() if "metrics" in path else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)
    def log_message(self, *_): pass

lines = pathlib.Path(sys.argv[1]).read_text().strip().split("\\n")
kinds = dict(line.split()[2:4] for line in lines if line.startswith("# TYPE "))
readings = itertools.count()
context = multiprocessing.get_context("fork")
for _ in range(2): context.Process(target=child, daemon=True).start()
time.sleep(0.5)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def with_gpus(gpus: int | None) -> dict[str, str]:
    """An environment in which Python sees so many fake GPUs; None is the real ones."""
    path = [str(ROOT / "benchmarks" / "fake_gpus")] if gpus is not None else []
    found = os.pathsep.join([*path, str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": found, "FAKE_GPUS": str(gpus)}


_CLI = "import sys; from inferometer.cli import main; sys.exit(main())"


@contextmanager
def server() -> Iterator[str]:
    """Something that looks like vLLM to the collector; its URL."""
    command = [sys.executable, "-c", _SERVER, _PAGE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            port = process.stdout.readline().strip() if process.stdout else ""
            yield f"http://127.0.0.1:{port}"
        finally:
            # Its children, too: they would outlive it.
            os.killpg(process.pid, signal.SIGTERM)


@dataclass(frozen=True)
class Collector:
    """A collector at work."""

    pid: int
    url: str
    run: Path

    def metrics(self) -> dict[str, float]:
        """What it exports, by name and labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:  # noqa: S310 - our own collector
            lines = answer.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name.removeprefix("inferometer_"): float(value) for name, _, value in pairs}


@contextmanager
def collector(gpus: int | None, *options: str, folder: Path | None = None) -> Iterator[Collector]:
    """``inferometer collect`` as a process, which records a run folder; it is ended in order at the end."""
    with tempfile.TemporaryDirectory() as temporary:
        run = (folder or Path(temporary)) / "run"
        command = [sys.executable, "-c", _CLI, "collect", "--listen", "127.0.0.1:0", "--run", str(run), *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=with_gpus(gpus)) as process:
            try:
                said = iter(process.stderr.readline, "") if process.stderr else iter(())
                url = next((line.split()[1] for line in said if line.startswith("metrics: ")), None)
                if url is None:
                    raise SystemExit(f"the collector ended with {process.wait()}")
                yield Collector(process.pid, url.removesuffix("/metrics"), run)
            finally:
                process.terminate()
                process.communicate()


@dataclass(frozen=True)
class Cost:
    """What a process has used until an instant."""

    at_s: float
    cpu_s: float
    memory_bytes: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """Ask the kernel."""
        clock = ctypes.c_int()
        if ctypes.CDLL(None, use_errno=True).clock_getcpuclockid(pid, ctypes.byref(clock)):
            raise ProcessLookupError(pid)
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
        return cls(time.monotonic(), time.clock_gettime(clock.value), pages * os.sysconf("SC_PAGE_SIZE"))

    def cores_since(self, before: "Cost") -> float:
        """Share of one core that was used since another look."""
        return (self.cpu_s - before.cpu_s) / (self.at_s - before.at_s)
