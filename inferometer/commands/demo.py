"""Show the dashboard on the bundled recording."""

from inferometer import samples
from inferometer._extras import import_extra
from inferometer._options import Browser, Host, Port


def run(host: Host = "127.0.0.1", port: Port = 8050, *, browser: Browser = True) -> None:
    """Show the dashboard on a real recording of vLLM on an H200: no GPU, no network.

    Examples:
    ```
    inferometer demo
    inferometer demo --no-browser --port 0
    ```
    """
    app = import_extra("dashboard.app", "dashboard")
    path = samples.reference()
    app.serve(
        [path],
        reference=path,
        host=host,
        port=port,
        open_browser=browser,
        price_usd_per_gpu_hour=None,
    )
