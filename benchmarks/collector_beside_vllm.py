"""What does the collector cost a serving vLLM?

Runs vLLM's own load generator against a server that is already up, with and without ``inferometer collect`` beside it,
in turns (off, on, on, off, …, so that a drift of the machine falls on both alike), in one run; prints throughput, TTFT
and ITL of each turn, the ratio of the medians, whether the turns with it can be told from those without, and what the
collector itself used::

    python benchmarks/collector_beside_vllm.py --endpoint http://127.0.0.1:8000 --model MODEL --out FOLDER
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from itertools import combinations
from pathlib import Path

FIGURES = ("request_throughput", "output_throughput", "median_ttft_ms", "p99_ttft_ms", "median_itl_ms", "p99_itl_ms")
LISTEN = "127.0.0.1:9464"


def main() -> None:
    """Alternate, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--model", required=True, help="name or path of the served model")
    parser.add_argument("--out", type=Path, required=True, help="where the last recorded run and the figures go")
    parser.add_argument("--alternations", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--gpu-interval", default="100ms", help="'1s' for the default rate")
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
    load(options)  # warms the server up
    turns: list[dict[str, float | bool]] = []
    costs: list[dict[str, float]] = []
    for number in range(options.alternations):
        for beside in (False, True) if number % 2 == 0 else (True, False):
            if beside:
                figures, cost = load_beside(options, options.out / f"run{number}")
                costs.append(cost)
            else:
                figures = load(options)
            turns.append({"collector": beside, **figures})
            print(json.dumps(turns[-1]), flush=True)
            # After each turn: whoever ends this early keeps what was measured.
            found = {"turns": turns, "costs": costs}
            (options.out / "collector_beside_vllm.json").write_text(json.dumps(found, indent=1))
    cost = {name: statistics.median(each[name] for each in costs) for name in costs[-1]}
    report(turns, cost)


def load_beside(options: argparse.Namespace, run: Path) -> tuple[dict[str, float], dict[str, float]]:
    """One turn with the collector beside the server; the load's figures, and what the collector used."""
    with subprocess.Popen(collector(options, run), stderr=subprocess.DEVNULL) as process:
        wait_until_scraped()
        before, began = own_cost(), time.monotonic()
        figures = load(options)
        after, took = own_cost(), time.monotonic() - began
        process.terminate()
    grown = {name: (value - before.get(name, 0.0)) / took for name, value in after.items()}
    cost = {
        "cores": grown["collector_cpu_seconds_total"],
        "memory_mb": after["collector_memory_bytes"] / 1e6,
        "written_kb_per_s": grown["collector_written_bytes_total"] / 1e3,
        **{name: value for name, value in grown.items() if name.startswith("source_cpu_seconds_total")},
    }
    return figures, cost


def collector(options: argparse.Namespace, run: Path) -> list[str]:
    """The collector, every source on, at the rate asked for, with no limit on itself."""
    return [
        sys.executable, "-c", "from inferometer.cli import main; main()", "collect", "--endpoint", options.endpoint,
        "--run", str(run), "--listen", LISTEN, "--gpu-interval", options.gpu_interval, "--max-cpu", "0",
    ]  # fmt: skip


def load(options: argparse.Namespace) -> dict[str, float]:
    """One turn of vLLM's own load generator; the figures it reports."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "vllm.entrypoints.cli.main", "bench", "serve", "--backend", "openai",
            "--base-url", options.endpoint, "--model", options.model, "--served-model-name", "ref",
            "--endpoint", "/v1/completions", "--dataset-name", "random", "--random-input-len", "256",
            "--random-output-len", "256", "--ignore-eos", "--num-prompts", str(options.prompts),
            "--max-concurrency", str(options.concurrency), "--percentile-metrics", "ttft,tpot,itl,e2el",
            "--save-result", "--result-dir", folder, "--result-filename", "result.json", "--disable-tqdm",
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        result = json.loads((Path(folder) / "result.json").read_text())
    return {name: result[name] for name in FIGURES}


def wait_until_scraped() -> None:
    """Until the collector has read everything at least once."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{LISTEN}/readyz", timeout=1) as answer:
                if answer.status == 200:  # noqa: PLR2004 - HTTP's OK
                    time.sleep(2)
                    return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the collector does not answer")


def own_cost() -> dict[str, float]:
    """What the collector says of itself."""
    with urllib.request.urlopen(f"http://{LISTEN}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    prefix = "inferometer_"
    pairs = (line.removeprefix(prefix).rpartition(" ") for line in lines if line.startswith(prefix))
    return {name: float(value) for name, _, value in pairs if name.startswith(("collector_", "source_cpu_"))}


def report(turns: list[dict[str, float | bool]], cost: dict[str, float]) -> None:
    """Medians without and with, their ratio, and how likely chance alone parts them so far."""
    print(f"{'':>18}  {'without':>9}  {'with':>9}  {'ratio':>6}  chance alone")
    for name in FIGURES:
        without, beside = ([turn[name] for turn in turns if turn["collector"] is on] for on in (False, True))
        low, high = statistics.median(without), statistics.median(beside)
        print(f"{name:>18}  {low:9.2f}  {high:9.2f}  {high / low:6.3f}  {chance(without, beside):.0%}")
    print("collector: " + ", ".join(f"{name} {value:.4g}" for name, value in cost.items()))


def chance(without: list[float], beside: list[float]) -> float:
    """Share of all ways to label the turns that part their ranks at least as far (exact rank-sum test)."""
    ranks = {value: rank for rank, value in enumerate(sorted([*without, *beside]))}
    every, even = [ranks[value] for value in (*without, *beside)], sum(ranks.values()) * len(without) / len(ranks)
    seen = abs(sum(every[: len(without)]) - even)
    sums = [sum(chosen) for chosen in combinations(every, len(without))]
    return sum(abs(total - even) >= seen for total in sums) / len(sums)


if __name__ == "__main__":
    main()
