"""Show recordings in the web app."""

from inferometer import samples
from inferometer._extras import import_extra
from inferometer._options import Browser, Host, Paths, Port, Price, PricesFile


def run(
    paths: Paths,
    *,
    host: Host = "127.0.0.1",
    port: Port = 8050,
    browser: Browser = True,
    price: Price = None,
    prices: PricesFile = None,
) -> None:
    """Show runs and traces in the web app, beside the bundled reference workload.

    Examples:
    ```
    inferometer dashboard runs/
    inferometer dashboard runs/monday runs/tuesday --price 2.49
    ```
    """
    app = import_extra("dashboard.app", "dashboard")
    app.serve(
        paths,
        reference=samples.reference(),
        host=host,
        port=port,
        open_browser=browser,
        price_usd_per_gpu_hour=price,
        prices=prices,
    )
