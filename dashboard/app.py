"""The web app: built by ``create_app``, served by ``serve``. It reads and draws; it never measures or concludes."""

from collections.abc import Sequence
from pathlib import Path

import flask
from dash import Dash

from analyzer import panels, theme
from analyzer.prices import load_prices
from collector.plugins import discover
from dashboard import pages
from dashboard.callbacks import register
from dashboard.data import Library
from dashboard.layout import app_layout
from dashboard.server import bind, run

#: Everything comes from this server, so that nothing else needs to be trusted, or reached.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
#: Where a server says that it is up.
HEALTH = "health"

_INDEX = f"""<!DOCTYPE html>
<html lang="en">
<head>
{{%metas%}}
<meta name="color-scheme" content="light dark">
<title>{{%title%}}</title>
{{%favicon%}}
{{%css%}}
<style>{theme.STYLE}</style>
</head>
<body>
{{%app_entry%}}
<footer>{{%config%}}{{%scripts%}}{{%renderer%}}</footer>
</body>
</html>
"""


def create_app(library: Library) -> Dash:
    """The app over a library of sources; nothing is global, so there may be several."""
    found, tabs = discover(panels), discover(pages)
    app = Dash(
        "inferometer",
        assets_folder=str(Path(__file__).parent / "assets"),
        title="Inferometer",
        update_title="Inferometer",
        index_string=_INDEX,
        health_endpoint=HEALTH,
        serve_locally=True,
        suppress_callback_exceptions=True,
        add_log_handler=False,
    )
    app.layout = app_layout(library.entries, found, tabs)
    register(app, library, found, tabs)
    app.server.after_request(_guard)
    return app


def _guard(response: flask.Response) -> flask.Response:
    response.headers.update(_HEADERS)
    return response


def serve(
    paths: Sequence[Path],
    *,
    reference: Path | None,
    host: str,
    port: int,
    open_browser: bool,
    price_usd_per_gpu_hour: float | None,
    prices: Path | None = None,
) -> None:
    """Show what lies at the paths until the process is interrupted.

    Args:
        paths: Run folders, traces, or folders of them.
        reference: The run folder of the reference workload.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        open_browser: Open the page in the user's browser.
        price_usd_per_gpu_hour: The user's price; without it the list price of the GPU.
        prices: A file of the user's prices, which stand before the list.

    Raises:
        UserError: Nothing can be shown at a path, the file is no list of prices, or the address cannot be listened on.
    """
    library = Library(
        paths, reference=reference, price_usd_per_gpu_hour=price_usd_per_gpu_hour, prices=load_prices(prices)
    )
    socket = bind(host, port)
    run(create_app(library).server, socket, HEALTH, open_browser=open_browser)
