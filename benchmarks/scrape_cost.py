"""What one reading of an inference server's /metrics costs: ours beside prometheus_client parsing the whole page.

    python benchmarks/scrape_cost.py [--readings 300] [--page FILE]

The page is one that vLLM served. Three ways, in turn, in one process; CPU time of the reading thread only:

- *whole page*: ``prometheus_client`` parses every line. The peer, and the usual first idea.
- *our parse*: the page into the catalogue's words, as ``collector.scrape`` does it.
- *our reading*: the same with the HTTP request to a server on loopback, as the collector does it once a second.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from collector.options import Options
from collector.scrape import read
from collector.sources.serving import open_source

_PAGE = Path(__file__).parents[1] / "tests" / "collector" / "data" / "vllm_0_23.prom"
_ROUNDS = 5
#: Serves one page from a process of its own, whose CPU time is not ours.
_SERVER = """
import http.server, pathlib, sys
page = pathlib.Path(sys.argv[1]).read_bytes()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def cpu_ms(work: Callable[[], object], times: int) -> float:
    """CPU time of this thread for one call, milliseconds."""
    began = time.thread_time()
    for _ in range(times):
        work()
    return (time.thread_time() - began) / times * 1e3


def measure(ways: dict[str, Callable[[], object]], readings: int) -> dict[str, list[float]]:
    """Every way in turn, round after round, so that a busy machine is busy for all of them."""
    for work in ways.values():
        work()
    rounds = [{name: cpu_ms(work, readings) for name, work in ways.items()} for _ in range(_ROUNDS)]
    return {name: [each[name] for each in rounds] for name in ways}


def main() -> None:
    """Read the options, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", type=int, default=300, help="readings in each of five rounds (300)")
    parser.add_argument("--page", type=Path, default=_PAGE, help="a page of metrics; one of vLLM by default")
    options = parser.parse_args()
    page = options.page.read_text()
    with subprocess.Popen([sys.executable, "-c", _SERVER, options.page], stdout=subprocess.PIPE, text=True) as server:
        try:
            port = server.stdout.readline().strip() if server.stdout else ""
            source = open_source(Options(endpoint=f"http://127.0.0.1:{port}"))
            ways: dict[str, Callable[[], object]] = {
                "whole page": lambda: list(text_string_to_metric_families(page)),
                "our parse": lambda: read(page, 0),
                "our reading": lambda: source.read(0),
            }
            results = measure(ways, options.readings)
            source.close()
        finally:
            server.terminate()
    print(f"{len(page):,} bytes, {page.count(chr(10)):,} lines; {_ROUNDS} rounds of {options.readings} readings\n")
    print(f"{'':<14}{'CPU ms':>10}{'least':>10}{'most':>10}{'over whole page':>18}")
    whole = statistics.median(results["whole page"])
    for name, taken in results.items():
        middle = statistics.median(taken)
        print(f"{name:<14}{middle:>10.2f}{min(taken):>10.2f}{max(taken):>10.2f}{middle / whole:>18.2f}")


if __name__ == "__main__":
    main()
