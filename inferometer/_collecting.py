"""``inferometer collect`` once it is under way: the collector in a Python of its own, without the command line.

What reads the command line takes 14 MB, which a process that stays for weeks would hold for nothing. So ``collect``
checks its options and then becomes this program: same process, same streams, same signals.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from analyzer.wording import plain
from collector import config, identity, service
from collector.errors import UserError
from collector.options import Options
from collector.sources import nvml

_MISTAKE, _INTERRUPTED = 2, 130


def become(flags: Mapping[str, object], file: Path | None) -> NoReturn:
    """Replace this process by the collector.

    Args:
        flags: Options given on the command line, as ``load_options`` takes them.
        file: A TOML file with more, or None.
    """
    told = json.dumps({"flags": flags, "file": file}, default=str)
    # The same modules as here, also where they are found through the folder that the command was started in.
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "inferometer._collecting", told])  # noqa: S606 - no shell is wanted


def main() -> int:
    """Collect until told to stop; the exit code is that of ``inferometer``."""
    told = json.loads(sys.argv[1])
    file = None if told["file"] is None else Path(told["file"])

    def options() -> Options:
        return config.load_options(told["flags"], os.environ, file)

    try:
        _collect(options(), options)
    except UserError as mistake:
        say(f"inferometer: {plain(str(mistake), 1000)}")
        return _MISTAKE
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def say(sentence: str) -> None:
    """A line on stderr."""
    print(sentence, file=sys.stderr, flush=True)  # noqa: T201


def _collect(told: Options, options: Callable[[], Options]) -> None:
    _give_way()
    collecting = service.Service(told, say, gpus=nvml.gpus(), engine=identity.identify(told), read_options=options)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: collecting.stop())
    signal.signal(signal.SIGHUP, lambda *_: collecting.reload())
    collecting.run()


def _give_way() -> None:
    """Be a batch process, which the kernel lets interrupt no other when it wakes up (sched(7)).

    A thread that wakes ten times a second on the core of a server's thread would otherwise run in its place.
    """
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


if __name__ == "__main__":
    sys.exit(main())
