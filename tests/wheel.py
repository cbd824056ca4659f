"""Prove the wheel in an environment of its own, where the checkout cannot be imported by accident.

Builds the wheel, installs it bare, then with every extra, and uses it as its README says: from an empty folder.
Called by ``make wheel-test``; prints how many checks passed, or the first that failed, and exits accordingly.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 60
#: Folders that travel in the wheel.
SHIPPED = ("inferometer", "collector", "analyzer", "dashboard", "sample_traces")

_passed = 0


def check(claim: str, holds: object, detail: object = "") -> None:
    """Count a claim that holds; end the program at the first that does not."""
    global _passed  # noqa: PLW0603 - a script's one counter
    if not holds:
        sys.exit(f"FAILED: {claim}\n{detail}")
    _passed += 1


def build(folder: Path) -> Path:
    """Build the wheel into a folder."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT], check=True, stdout=subprocess.DEVNULL
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def files_of_checkout() -> set[str]:
    """Every file that git keeps in the folders that travel, by its path in the wheel."""
    listed = subprocess.run(["git", "ls-files", *SHIPPED], check=True, cwd=ROOT, capture_output=True, text=True)
    return set(listed.stdout.split())


class Installed:
    """The wheel in a fresh environment, used from an empty folder."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.wheel = wheel
        self.bin = folder / "env" / "bin"
        self.empty = folder / "empty"
        self.empty.mkdir()
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        venv.create(folder / "env", with_pip=True)

    def install(self, extras: str = "") -> None:
        """Install the wheel, from the index, with the named extras."""
        pip = [str(self.bin / "python"), "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"{self.wheel}{extras}"], check=True, cwd=self.empty, env=self.environment)

    def command(self, *arguments: str) -> list[str]:
        """The command line, in Python's isolated mode: nothing beside the environment is imported."""
        return [str(self.bin / "python"), "-I", str(self.bin / "inferometer"), *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line to its end."""
        return subprocess.run(
            self.command(*arguments),
            check=False,
            capture_output=True,
            text=True,
            cwd=self.empty,
            env=self.environment,
            timeout=PATIENCE_S,
        )

    def sample(self) -> Path:
        """The bundled recording, as the wheel laid it down."""
        (site,) = self.bin.parent.glob("lib/python*/site-packages")
        return site / "sample_traces" / "vllm_h200"


def check_contents(wheel: Path) -> None:
    """Everything that git keeps in the packages is in the wheel, with the licence."""
    names = set(zipfile.ZipFile(wheel).namelist())
    check("every file of the packages travels", not files_of_checkout() - names, files_of_checkout() - names)
    check("the licence travels", [name for name in names if name.endswith("licenses/LICENSE")])


def check_bare(installed: Installed) -> None:
    """With the base dependencies alone there is help, and a sentence for the rest."""
    for arguments in (["--help"], ["--version"], ["explain"]):
        done = installed.run(*arguments)
        check(f"{arguments} works bare", done.returncode == 0 and not done.stderr, done)
    for arguments, extra in ((["analyze", "x"], "analyzer"), (["demo"], "dashboard")):
        done = installed.run(*arguments)
        said = done.returncode == 2 and done.stderr.endswith(f"pip install 'inferometer[{extra}]'\n")
        check(f"{arguments} names its extra", said and done.stderr.count("\n") == 1, done)


def check_whole(installed: Installed) -> None:
    """With every extra the README's commands work on the bundled recording."""
    sample = installed.sample()
    done = installed.run("analyze", str(sample), "--format", "json")
    check("the bundled run is analysed", done.returncode == 0, done)
    check("it is a run", json.loads(done.stdout)["source"]["kind"] == "run")
    traces = sorted((sample / "traces").glob("*.json.gz"))
    check("traces are bundled", traces)
    done = installed.run("analyze", str(traces[0]), "--format", "json")
    check("a bundled trace is analysed", done.returncode in {0, 3}, done)
    check("it is a trace", json.loads(done.stdout)["source"]["kind"] == "trace")
    done = installed.run("analyze", str(sample), "--format", "html", "-o", "report.html")
    check("a page is written", done.returncode == 0 and (installed.empty / "report.html").stat().st_size > 1e6, done)
    done = installed.run("explain", "batching")
    check("a rule explains itself", done.returncode == 0 and "What to try" in done.stdout, done)


def where(server: subprocess.Popen[str]) -> str:
    """The address that a server prints."""
    said = ""
    for line in server.stdout or ():
        said += line
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return found[0]
    sys.exit(f"FAILED: the demo says where it serves\n{said}")


def check_demo(installed: Installed) -> None:
    """The demo serves its page on a free port, and goes quietly."""
    command = installed.command("demo", "--no-browser", "--port", "0")
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=installed.empty,
        env=installed.environment,
    ) as server:
        watchdog = threading.Timer(PATIENCE_S, server.kill)
        watchdog.start()
        try:
            url = where(server)
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as page:
                check("the demo serves a page", page.status == 200)
            server.send_signal(signal.SIGINT)
            check("Ctrl-C ends it quietly", server.wait(PATIENCE_S) in {0, 130}, server.returncode)
        finally:
            watchdog.cancel()
            server.kill()


def main() -> None:
    """Build, install, use."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        check_contents(wheel)
        installed = Installed(Path(folder), wheel)
        installed.install()
        check_bare(installed)
        installed.install("[all]")
        check_whole(installed)
        check_demo(installed)
    print(f"{_passed} checks passed")  # noqa: T201


if __name__ == "__main__":
    main()
