"""The app is whole, serves itself, and names nothing outside of itself."""

import re
from pathlib import Path

import pytest
from dash import Dash
from flask.testing import FlaskClient

from dashboard.app import HEALTH, create_app
from dashboard.data import Library
from tests.dashboard import runs


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Dash:
    return create_app(Library([runs.finished(tmp_path / "a")]))


@pytest.fixture(name="client")
def _client(app: Dash) -> FlaskClient:
    client: FlaskClient = app.server.test_client()
    return client


def test_the_page_loads_everything_from_its_own_server(client: FlaskClient) -> None:
    page = client.get("/").text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert addresses
    assert all(address.startswith("/") and not address.startswith("//") for address in addresses)
    for address in addresses:
        with client.get(address) as answer:
            assert answer.status_code == 200, address


def test_a_browser_is_told_to_fetch_nothing_from_elsewhere(client: FlaskClient) -> None:
    headers = client.get("/").headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "http" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_it_says_that_it_is_up(client: FlaskClient) -> None:
    assert client.get(f"/{HEALTH}").status_code == 200


def test_the_layout_and_the_callbacks_are_served(client: FlaskClient) -> None:
    assert "Inferometer" in client.get("/_dash-layout").text
    outputs = [callback["output"] for callback in client.get("/_dash-dependencies").get_json()]
    assert len(outputs) > 20


def test_there_is_no_debugger(app: Dash) -> None:
    assert not app.server.debug
    assert not app._dev_tools.ui


def test_two_apps_do_not_know_each_other(tmp_path: Path) -> None:
    first, second = (create_app(Library([runs.finished(tmp_path / name)])) for name in "ab")
    assert first.server is not second.server
    assert '"a"' not in second.server.test_client().get("/_dash-layout").text
