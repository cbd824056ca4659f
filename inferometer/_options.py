"""The options that several commands share."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Paths: TypeAlias = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH", help="Run folders, trace files, results of benchmarks, or folders of them.", show_default=False
    ),
]
Host: TypeAlias = Annotated[str, typer.Option(help="Address to listen on.")]
Port: TypeAlias = Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)]
Browser: TypeAlias = Annotated[bool, typer.Option(help="Open the page in a browser.")]
Price: TypeAlias = Annotated[
    float | None,
    typer.Option(help="Dollars per GPU-hour, in place of the list price.", min=0, metavar="USD", show_default=False),
]
PricesFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Your own prices, before those that come along: see inferometer prices.",
        metavar="FILE",
        envvar="INFEROMETER_PRICES",
        show_default=False,
    ),
]
