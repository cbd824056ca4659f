"""``inferometer collect``: the sidecar."""

import os
from pathlib import Path
from typing import Annotated

import typer

from inferometer._extras import import_extra


def run(  # noqa: PLR0913 - one parameter an option
    *,
    run: Annotated[Path | None, typer.Option(help="Record a run folder here; it must be new or empty.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Base URL of the inference server.", metavar="URL")] = None,
    engine: Annotated[
        str | None, typer.Option(help="Its engine: vllm, sglang, …; by default it is recognised.")
    ] = None,
    pid: Annotated[
        int | None, typer.Option(help="A process of the server; by default found from the endpoint, or the GPUs.")
    ] = None,
    listen: Annotated[str | None, typer.Option(help="Serve metrics here.  [default: 127.0.0.1:9464]")] = None,
    interval: Annotated[str | None, typer.Option(help="Between two readings: 500ms, 2s, …  [default: 1s]")] = None,
    gpu_interval: Annotated[str | None, typer.Option(help="The same for the GPU, down to 100ms.")] = None,
    duration: Annotated[str | None, typer.Option(help="Stop after: 30s, 10m, 2h, …")] = None,
    sources: Annotated[
        str | None, typer.Option(help="Which of host, nvml, processes, serving; with commas.  [default: all]")
    ] = None,
    max_cpu: Annotated[float | None, typer.Option(help="Share of one core to stay under.  [default: 0.01]")] = None,
    keep_for: Annotated[
        str | None, typer.Option(help="Drop from the run folder what is older: 12h, 7d, …  [default: no limit]")
    ] = None,
    keep_size: Annotated[
        str | None, typer.Option(help="Drop the oldest before the run folder takes more; 0: no limit.  [default: 10GB]")
    ] = None,
    keep_free: Annotated[
        str | None,
        typer.Option(help="Pause recording while the disk has less left.  [default: 500MB, or 2 % of the disk]"),
    ] = None,
    price_per_gpu_hour: Annotated[
        float | None, typer.Option(help="Export what the server costs at this price.", metavar="USD")
    ] = None,
    billed_gpus: Annotated[
        float | None, typer.Option(help="GPUs it is billed for, 0.5 for half of one.  [default: all that are seen]")
    ] = None,
    compat: Annotated[str | None, typer.Option(help="'dcgm' adds the names of dcgm-exporter.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with the same options.")] = None,
) -> None:
    """Measure a server and its GPUs on one clock: serve /metrics, and record a run folder.

    Needs no GPU, no root and no change to the server. A full disk, a hung driver or a server that goes away ends
    nothing: what could not be read or recorded is said in the run. SIGTERM ends it in order; SIGHUP reads the options
    again, but for --run and --listen.

    Every option may also be set in the environment (INFEROMETER_GPU_INTERVAL=100ms) or in the TOML file
    (gpu_interval = "100ms"), where a table [generic] also tells which metric of a server that is not known here is
    which quantity.

    Examples:
    ```
    inferometer collect --endpoint http://127.0.0.1:8000 --run runs/monday
    inferometer collect --endpoint http://127.0.0.1:8000 --gpu-interval 100ms --duration 10m --run runs/burst
    inferometer collect --config collector.toml --run runs/always --keep-for 7d --keep-size 2GB
    ```
    """
    collecting = import_extra("inferometer._collecting", "collector")
    flags = {
        "run": run, "endpoint": endpoint, "engine": engine, "pid": pid, "listen": listen, "interval": interval,
        "gpu_interval": gpu_interval, "duration": duration, "sources": sources, "max_cpu": max_cpu,
        "keep_for": keep_for, "keep_size": keep_size, "keep_free": keep_free, "compat": compat,
        "price_per_gpu_hour": price_per_gpu_hour, "billed_gpus": billed_gpus,
    }  # fmt: skip

    # What is asked for is checked here, where a mistake costs nothing yet.
    import_extra("collector.config", "collector").load_options(flags, os.environ, config)
    collecting.become(flags, config)
