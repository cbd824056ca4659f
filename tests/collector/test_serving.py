"""The serving source against a real server that plays every fault."""

import gzip
import math
import re
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, make_wsgi_app
from prometheus_client import Histogram as Histogram_

from collector import _endpoint, _pages
from collector._endpoint import Endpoint
from collector.options import Options
from collector.schema import Absent, Event, Histogram, Sample
from collector.scrape import read
from collector.sources import Unavailable, serving
from collector.sources.serving import Serving, open_source
from tests.collector.builders import NS
from tests.collector.servers import Answer, Handler, Server, answering, breaking_off, by_path, dripping, hanging

DATA = Path(__file__).parent / "data"
PAGE = (DATA / "vllm_0_23.prom").read_text()
WHOLE = read(PAGE, 0)
_OK = b"HTTP/1.1 200 OK\r\n"

Serve = Callable[..., Serving]


@pytest.fixture(autouse=True)
def no_port_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests ask no server but their own, and a busy machine is not a fault."""
    monkeypatch.setattr(_pages, "PLACES", _pages.PLACES[:3])
    monkeypatch.setattr(_endpoint, "TOTAL_S", 60.0)


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    """The servers of a test, closed after it."""
    running: list[Server] = []
    yield running
    for server in running:
        server.stop()


@pytest.fixture
def serve(servers: list[Server], monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts a server and opens the source on it; a whole page is due at every reading."""
    monkeypatch.setattr(serving, "WHOLE_S", 0.0)
    monkeypatch.setattr(serving, "RAREST_S", 0.0)
    opened: list[Serving] = []

    def start(answer: Answer, path: str = "", **options: object) -> Serving:
        servers.append(Server(answer))
        opened.append(open_source(Options(endpoint=servers[-1].url + path, **options)))  # type: ignore[arg-type]
        return opened[-1]

    yield start
    for source in opened:
        source.close()


def look(source: Serving, t_ns: int = 0) -> tuple[Sample, list[Histogram], list[Event]]:
    """One reading, by kind."""
    records = list(source.read(t_ns))
    (sample,) = (record for record in records if isinstance(record, Sample))
    histograms = [record for record in records if isinstance(record, Histogram)]
    return sample, histograms, [record for record in records if isinstance(record, Event)]


def lines(**changed: str) -> str:
    """A small page of vLLM."""
    values = {"vllm:num_requests_running": "1", "vllm:prompt_tokens_total": "100", **changed}
    kinds = {name: "counter" if name.endswith("_total") else "gauge" for name in values}
    return "".join(f"# TYPE {name} {kinds[name]}\n{name} {value}\n" for name, value in values.items())


def test_a_reading_is_one_sample_and_the_histograms(serve: Serve) -> None:
    source = serve(answering(PAGE))

    sample, histograms, events = look(source, 7)

    assert ("serving", "engine:0", 7) == (sample.source, sample.subject, sample.t_ns)
    assert {**WHOLE.values, "scrape_s": sample.values["scrape_s"]} == sample.values
    assert [histogram.quantity for histogram in WHOLE.histograms] == [each.quantity for each in histograms]
    assert [] == events


def test_one_connection_serves_every_reading(serve: Serve, servers: list[Server]) -> None:
    ports = []

    def answer(handler: Handler) -> None:
        ports.append(handler.client_address[1])
        answering(PAGE)(handler)

    source = serve(answer)
    for _ in range(3):
        look(source)

    assert 1 == len(set(ports))
    assert ["/metrics"] * 3 == servers[0].paths


def test_a_connection_that_the_server_closed_is_opened_again(serve: Serve) -> None:
    def answer(handler: Handler) -> None:
        answering(PAGE)(handler)
        handler.close_connection = True

    source = serve(answer)

    assert [256.0] * 3 == [look(source)[0].values["requests_running"] for _ in range(3)]


def _packed(page: bytes) -> bytes:
    return gzip.compress(page, mtime=0)


_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
FAULTS: dict[str, tuple[Answer, str]] = {
    "500": (answering("multiprocess directory is gone", 500), "status 500"),
    "401": (answering("", 401), "status 401"),
    "redirect": (answering("", 302, Location="http://192.0.2.1/metrics"), "redirects elsewhere"),
    "empty": (answering(""), "no whole page of metrics"),
    "html": (answering("<html>It works!</html>\n"), "not the metrics of an engine known here"),
    "json": (answering("[]"), "no whole page of metrics"),
    "binary": (answering(bytes(range(256)) * 100), "not text"),
    "cut off at a length": (answering(PAGE, Content_Length=str(len(PAGE) + 9)), "before its answer is whole"),
    "cut off in a line": (answering(PAGE[:20_000]), "no whole page of metrics"),
    "cut off in a chunk": (breaking_off(_CHUNKED + b"ff\r\nvllm"), "before its answer is whole"),
    "cut off in gzip": (answering(_packed(PAGE.encode())[:-20], Content_Encoding="gzip"), "before its answer is whole"),
    "no gzip": (answering(PAGE, Content_Encoding="gzip"), "not packed as it says"),
    "another packing": (answering(PAGE, Content_Encoding="br"), "not asked for"),
    "50 MB": (answering(PAGE + "# x\n" * 12_500_000), "larger than 16,000,000 bytes"),
    "20 MB that nobody announced": (
        breaking_off(_CHUNKED + (b"%x\r\n" % 1_000_000 + b"#" * 1_000_000 + b"\r\n") * 20),
        "larger than 16,000,000 bytes",
    ),
    "a bomb": (answering(_packed(bytes(200_000_000)), Content_Encoding="gzip"), "larger than 16,000,000 bytes"),
    "no HTTP": (breaking_off(b"+OK\r\n"), "does not speak HTTP"),
    "an endless header": (breaking_off(_OK + b"X: " + b"x" * 70_000 + b"\r\n\r\n"), "does not speak HTTP"),
    "closed at once": (breaking_off(b""), "before its answer is whole"),
    "malformed": (answering(lines() + "vllm:num_requests_waiting{ 1\n"), "malformed"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_a_reason_and_an_event_and_passes(serve: Serve, servers: list[Server], name: str) -> None:
    answer, reason = FAULTS[name]
    source = serve(answering(PAGE))
    look(source)

    servers[0].answer = answer
    sample, histograms, events = look(source, 2 * NS)
    again, _, silent = look(source, 3 * NS)
    servers[0].answer = answering(PAGE)
    after, back, recovered = look(source, 5 * NS)

    absent = {quantity: value for quantity, value in sample.values.items() if quantity != "scrape_s"}
    assert WHOLE.values.keys() == absent.keys()
    (only,) = set(absent.values())
    assert isinstance(only, Absent)
    assert only == again.values["requests_running"]
    assert re.search(reason, only.reason)
    assert [("endpoint_down", "vllm", only.reason)] == [
        (each.kind, each.name, each.detail["reason"]) for each in events
    ]
    assert ([], []) == (histograms, silent)
    assert [("endpoint_up", 3.0)] == [(each.kind, each.detail["down_s"]) for each in recovered]
    assert 256.0 == after.values["requests_running"]
    assert len(WHOLE.histograms) == len(back)


@pytest.mark.parametrize(
    "answer",
    [
        hanging,
        dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        dripping(b"HTTP/1.1 200 OK\r\n", b"X: x\r\n"),
        dripping(_OK + b"Content-Length: 1000000\r\n\r\n", b"#"),
        dripping(_CHUNKED, b"1\r\n#\r\n"),
    ],
    ids=["hangs", "drips a header", "drips headers", "drips a body", "drips chunks"],
)
def test_a_server_that_never_ends_is_given_up_on(serve: Serve, monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    monkeypatch.setattr(_endpoint, "TOTAL_S", 0.1)

    sample, _, events = look(serve(answer))

    reason = sample.values["requests_running"]
    assert isinstance(reason, Absent)
    assert "does not answer within 0.1 s" in reason.reason or "does not speak HTTP" in reason.reason
    assert ["endpoint_down"] == [event.kind for event in events]


@pytest.mark.parametrize("pack", [_packed, zlib.compress], ids=["gzip", "deflate"])
def test_a_packed_page_is_read(serve: Serve, pack: Callable[[bytes], bytes]) -> None:
    source = serve(answering(pack(PAGE.encode()), Content_Encoding="gzip"))

    assert 256.0 == look(source)[0].values["requests_running"]


def test_a_chunked_page_is_read(serve: Serve) -> None:
    page = PAGE.encode()
    chunks = _CHUNKED + b"%x\r\n" % len(page) + page + b"\r\n0\r\n\r\n"
    source = serve(breaking_off(chunks))

    assert [256.0] * 2 == [look(source)[0].values["requests_running"] for _ in range(2)]


def test_a_server_that_is_not_there_is_a_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    source = open_source(Options(endpoint=f"http://127.0.0.1:{port}"))

    (sample, _, events), (_, _, silent) = look(source), look(source)
    source.close()

    reason = sample.values["requests_running"]
    assert isinstance(reason, Absent)
    assert f"127.0.0.1:{port} refuses connections" in reason.reason
    assert [("endpoint_down", "server")] == [(event.kind, event.name) for event in events]
    assert [] == silent


def test_a_server_without_tls_says_so(servers: list[Server]) -> None:
    servers.append(Server(answering(PAGE)))
    source = open_source(Options(endpoint=servers[0].url.replace("http:", "https:")))

    reason = look(source)[0].values["requests_running"]
    source.close()

    assert isinstance(reason, Absent)
    assert "TLS handshake" in reason.reason


@pytest.mark.parametrize("environment", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_no_proxy_is_taken_from_the_environment(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, environment: str
) -> None:
    monkeypatch.setenv(environment, "http://192.0.2.1:1")

    assert 256.0 == look(serve(answering(PAGE)))[0].values["requests_running"]


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ({"process_start_time_seconds": "1000"}, {"process_start_time_seconds": "2000"}, "its process started anew"),
        ({}, {"vllm:prompt_tokens_total": "99"}, "input_tokens_total fell"),
    ],
)
def test_a_restart_is_an_event_once(
    serve: Serve, servers: list[Server], first: dict[str, str], second: dict[str, str], reason: str
) -> None:
    source = serve(answering(lines(**first)))
    look(source)
    servers[0].answer = answering(lines(**second))

    (_, _, events), (_, _, silent) = look(source, 5), look(source, 6)

    assert [("restart", "vllm", 5, reason)] == [
        (event.kind, event.name, event.t_ns, event.detail["reason"]) for event in events
    ]
    assert [] == silent


def test_a_restart_that_nobody_saw_happen_is_noticed(serve: Serve, servers: list[Server]) -> None:
    source = serve(answering(lines()))
    look(source)
    servers[0].answer = answering("", 503)
    look(source)
    servers[0].answer = answering(lines(**{"vllm:prompt_tokens_total": "3"}))

    assert ["endpoint_up", "restart"] == [event.kind for event in look(source)[2]]


def test_a_counter_that_a_restart_took_away_may_come_back(serve: Serve, servers: list[Server]) -> None:
    source = serve(answering(lines(**{"vllm:num_preemptions_total": "50"})))
    look(source)
    servers[0].answer = answering(lines(**{"vllm:prompt_tokens_total": "1"}))
    look(source)
    servers[0].answer = answering(lines(**{"vllm:prompt_tokens_total": "2", "vllm:num_preemptions_total": "1"}))

    assert [] == look(source)[2]


def test_another_engine_at_the_address_is_a_restart(serve: Serve, servers: list[Server]) -> None:
    source = serve(answering(PAGE))
    look(source)
    servers[0].answer = answering((DATA / "tgi.prom").read_text())

    sample, _, events = look(source)

    assert [("restart", "tgi", "vllm was there before")] == [
        (event.kind, event.name, event.detail["reason"]) for event in events
    ]
    assert 32.0 == sample.values["requests_running"]


def test_processes_that_share_a_page_are_told_once(serve: Serve) -> None:
    usage, running = "vllm:kv_cache_usage_perc", "vllm:num_requests_running"
    page = (
        lines()
        + f"# TYPE {usage} gauge\n"
        + "".join(
            f'{name}{{engine="0",pid="{pid}"}} {value if pid == 3 else 0}\n'
            for name, value in ((usage, 0.8), (running, 5))
            for pid in range(8)
        )
    )
    source = serve(answering(page.replace(f"{running} 1\n", "")))

    (sample, _, events), (_, _, silent) = look(source), look(source)

    assert (0.8, 5.0) == (sample.values["kv_cache_usage_ratio"], sample.values["requests_running"])
    assert [("multiprocess", 8)] == [(event.kind, event.detail["processes"]) for event in events]
    assert [] == silent


@pytest.mark.parametrize(("path", "at"), [("", "/v1/metrics"), ("", "/prometheus/metrics"), ("/a/b/", "/a/b/metrics")])
def test_the_page_is_found_where_servers_keep_it(serve: Serve, servers: list[Server], path: str, at: str) -> None:
    source = serve(by_path({at: answering(PAGE), "/metrics": answering("[]")}), path)

    for _ in range(2):
        assert 256.0 == look(source)[0].values["requests_running"]
    assert at == servers[0].paths[-1]
    assert 1 == servers[0].paths.count("/metrics") or path


def test_an_address_of_a_page_is_taken_as_it_is(serve: Serve, servers: list[Server]) -> None:
    source = serve(by_path({}), "/elsewhere/metrics")

    assert isinstance(look(source)[0].values["requests_running"], Absent)
    assert ["/elsewhere/metrics"] == servers[0].paths


def test_tritons_page_is_at_another_port(serve: Serve, servers: list[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    servers.append(Server(answering((DATA / "triton.prom").read_text())))
    port = servers[0].server_address[1]
    monkeypatch.setattr(_pages, "PLACES", (("/metrics", None), ("/metrics", port)))

    source = serve(by_path({}))

    assert [64.0] * 2 == [look(source)[0].values["requests_running"] for _ in range(2)]
    assert ["/metrics"] == servers[1].paths


def test_a_server_without_a_page_is_searched_now_and_then(
    serve: Serve, servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pages, "SEARCH_EVERY", 4)
    source = serve(by_path({}))

    for _ in range(5):
        look(source)

    search = [path for path, _ in _pages.PLACES]
    assert [*search, *["/metrics"] * 3, *search] == servers[0].paths


def test_a_page_of_a_server_no_plugin_knows_is_mapped(serve: Serve) -> None:
    page = "# TYPE my_active gauge\nmy_active 3\n# TYPE my_done counter\nmy_done_total 9\n"
    source = serve(
        answering(page), generic={"my_active": "requests_running", "my_done_total": "requests_ok_total", "x": "ttft_s"}
    )

    sample, _, _ = look(source)

    assert {"requests_running": 3.0, "requests_ok_total": 9.0} == {
        quantity: value for quantity, value in sample.values.items() if quantity != "scrape_s"
    }


def test_an_engine_that_is_named_must_be_there(serve: Serve) -> None:
    reason = look(serve(answering(PAGE), engine="sglang"))[0].values["requests_running"]

    assert reason == Absent("the page shows none of the metrics of sglang; check the address of the server")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(), "no --endpoint was given"),
        (Options(endpoint="ftp://a"), "not an address such as http://127.0.0.1:8000"),
        (Options(endpoint="127.0.0.1:8000"), "not an address such as"),
        (Options(endpoint="http://:80"), "not an address such as"),
        (Options(endpoint="http://a:99999"), "not an address: "),
        (Options(endpoint="http://[::1"), "not an address: "),
        (Options(endpoint="http://me:secret@a"), "without user, password or query"),
        (Options(endpoint="http://a", engine="vlm"), "no engine is called vlm; there are nim, sglang, tgi, "),
        (Options(endpoint="http://a", engine="generic"), "needs a mapping"),
        (Options(endpoint="http://a", generic={"x": "speed"}), "names speed, which the catalogue does not have"),
    ],
)
def test_what_cannot_be_read_says_why(options: Options, message: str) -> None:
    with pytest.raises(Unavailable, match=message) as caught:
        open_source(options)

    assert "secret" not in str(caught.value)


class _Canned(Endpoint):
    """An endpoint that has a page without a network."""

    def __init__(self, page: str) -> None:
        super().__init__("http://127.0.0.1")
        self.page = page

    def get(self, path: str, port: int | None = None) -> str:  # noqa: ARG002 - one page everywhere
        return self.page


#: Sums of several series, of which a page that ends early may show some only.
_SUMS = {"requests_ok_total", "requests_failed_total"}


@given(st.integers(0, len(PAGE)))
def test_a_page_that_ends_early_shows_what_it_has(end: int) -> None:
    sample, histograms, _ = look(Serving(_Canned(PAGE[:end]), 1.0, None))

    for quantity, value in sample.values.items():
        if not isinstance(value, Absent) and quantity not in {*_SUMS, "scrape_s"}:
            assert WHOLE.values[quantity] == value
    assert set(histograms) <= set(WHOLE.histograms)


_EDITS = st.tuples(st.integers(0, len(PAGE)), st.integers(0, 200), st.text(max_size=20) | st.just("\nNaN"))


@given(st.lists(_EDITS, max_size=30))
def test_no_page_makes_a_reading_raise_or_show_what_is_no_number(edits: list[tuple[int, int, str]]) -> None:
    page = PAGE
    for start, length, text in edits:
        page = page[:start] + text + page[start + length :]
    clock = Seconds()
    source = Serving(_Canned(page + "\n"), 1.0, None, clock)

    for _ in range(2):
        clock.now += serving.RAREST_S
        sample, histograms, _ = look(source)
        assert "scrape_s" in sample.values
        assert all(isinstance(value, Absent) or math.isfinite(value) for value in sample.values.values())
        assert all(list(each.cumulative) == sorted(each.cumulative) for each in histograms)


@given(st.text(), st.sampled_from(["", "sglang", "tgi", "triton", "nim", "trtllm"]))
def test_no_text_is_taken_for_values(text: str, engine: str) -> None:
    page = (DATA / f"{engine}.prom").read_text() if engine else ""
    sample, _, _ = look(Serving(_Canned(f"{text}\n{page}"), 1.0, None))
    expected = dict(read(page, 0).values) if page else {}

    for quantity, value in sample.values.items():
        if not isinstance(value, Absent) and quantity != "scrape_s":
            assert expected[quantity] == value


# ------------------------------------------------------------------------------------------ what it costs a server


class Seconds:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def vllm() -> CollectorRegistry:
    """Metrics of vLLM in a registry of the client library that it uses."""
    registry = CollectorRegistry()
    Gauge("vllm:num_requests_running", "", ["engine"], registry=registry).labels("0").set(3)
    Counter("vllm:generation_tokens", "", ["engine"], registry=registry).labels("0").inc(70)
    Histogram_("vllm:time_to_first_token_seconds", "", ["engine"], registry=registry).labels("0").observe(0.2)
    return registry


@pytest.fixture
def busy() -> Iterator[tuple[Serving, Seconds, list[str]]]:
    """A source, its clock, and what it asked of a server of that library."""
    asked: list[str] = []
    app = make_wsgi_app(vllm())

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        clock = Seconds()
        source = Serving(Endpoint(f"http://127.0.0.1:{server.server_port}"), 1.0, None, clock)
        yield source, clock, asked
        source.close()
        server.shutdown()
        thread.join()


def test_between_two_whole_pages_only_single_numbers_are_asked_for(busy: tuple[Serving, Seconds, list[str]]) -> None:
    source, clock, asked = busy
    seen = []
    for _ in range(11):
        seen.append(look(source))
        clock.now += 1

    assert [place for place, path in enumerate(asked) if path == "/metrics"] == [0, 5, 10]
    assert all(path.startswith("/metrics/?name%5B%5D=vllm%3Anum_requests_running&") for path in asked if "?" in path)
    assert [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1] == [len(histograms) for _, histograms, _ in seen]
    assert {(3.0, 70.0)} == {
        (number(sample.values["requests_running"]), number(sample.values["output_tokens_total"]))
        for sample, _, _ in seen
    }
    assert [] == [event for _, _, events in seen for event in events]
    whole, glanced = seen[0][0].values, seen[1][0].values
    assert whole.keys() == glanced.keys(), "what was not there is said to be absent each time"


def number(value: float | Absent) -> float:
    assert not isinstance(value, Absent)
    return value


def test_a_server_that_writes_only_whole_pages_is_asked_for_them_at_every_tick(servers: list[Server]) -> None:
    servers.append(Server(by_path({"/metrics": answering(PAGE)})))
    clock = Seconds()
    source = Serving(Endpoint(servers[-1].url), 1.0, None, clock)
    for _ in range(8):
        list(source.read(0))
        clock.now += 1
    source.close()

    assert 8 == servers[-1].paths.count("/metrics")
    assert 1 == len([path for path in servers[-1].paths if "?" in path])


def test_a_page_that_takes_long_is_asked_for_seldom(servers: list[Server]) -> None:
    clock = Seconds()

    def answer(handler: Handler) -> None:
        clock.now += 0.05
        answering(PAGE)(handler)

    servers.append(Server(by_path({"/metrics": answer})))
    source = Serving(Endpoint(servers[-1].url), 1.0, None, clock)
    for _ in range(30):
        list(source.read(0))
        clock.now += 1
    source.close()

    # The second follows at once, when it turns out that there is no shorter page.
    assert 7 == servers[-1].paths.count("/metrics")


def test_a_server_that_went_away_is_noticed_at_once(servers: list[Server]) -> None:
    servers.append(Server(answering(PAGE)))
    source = Serving(Endpoint(servers[-1].url), 1.0, None, Seconds())
    look(source)
    servers[-1].answer = breaking_off(b"")

    sample, _, events = look(source)

    assert isinstance(sample.values["requests_running"], Absent)
    assert ["endpoint_down"] == [event.kind for event in events]
    source.close()
