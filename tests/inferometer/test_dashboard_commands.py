"""``dashboard`` and ``demo``: options in, one call."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from collector.errors import UserError
from inferometer import samples
from inferometer.cli import main
from inferometer.commands import dashboard, demo


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the web app was asked to show."""
    calls: list[dict[str, Any]] = []

    def serve(paths: Sequence[Path], **options: Any) -> None:
        calls.append({"paths": list(paths), **options})

    for command in (dashboard, demo):
        monkeypatch.setattr(command, "import_extra", lambda _module, _extra: SimpleNamespace(serve=serve))
    return calls


def test_the_dashboard_shows_what_it_is_given_beside_the_reference(served: list[dict[str, Any]]) -> None:
    assert main(["dashboard", "a", "b", "--port", "0", "--no-browser", "--price", "2.5", "--prices", "p"]) == 0
    assert served == [
        {
            "paths": [Path("a"), Path("b")],
            "reference": samples.REFERENCE,
            "host": "127.0.0.1",
            "port": 0,
            "open_browser": False,
            "price_usd_per_gpu_hour": 2.5,
            "prices": Path("p"),
        }
    ]


def test_the_demo_shows_the_bundled_recording(served: list[dict[str, Any]]) -> None:
    assert main(["demo", "--host", "::1"]) == 0
    assert served == [
        {
            "paths": [samples.REFERENCE],
            "reference": samples.REFERENCE,
            "host": "::1",
            "port": 8050,
            "open_browser": True,
            "price_usd_per_gpu_hour": None,
        }
    ]


def test_the_bundled_recording_is_there() -> None:
    assert (samples.reference() / "run.json").is_file()


def test_an_installation_without_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="reinstall"):
        samples.reference(tmp_path / "nothing")
