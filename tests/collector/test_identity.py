"""What a server says it is."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector import _pages
from collector.errors import UserError
from collector.identity import identify
from collector.options import Options
from collector.schema import Engine
from tests.collector.servers import Answer, Server, answering, by_path

DATA = Path(__file__).parent / "data"
SETTINGS: dict[str, str | int | float | bool] = {
    "block_size": 16,
    "num_gpu_blocks": 34607,
    "cache_dtype": "auto",
    "enable_prefix_caching": False,
    "gpu_memory_utilization": 0.6,
}


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, Answer]], Engine | None]]:
    """Starts a server with an answer at each path and asks it what it is."""
    monkeypatch.setattr(_pages, "PLACES", _pages.PLACES[:3])
    servers: list[Server] = []

    def start(answers: dict[str, Answer]) -> Engine | None:
        servers.append(Server(by_path(answers)))
        return identify(Options(endpoint=servers[-1].url))

    yield start
    for server in servers:
        server.stop()


def page(engine: str) -> Answer:
    return answering((DATA / f"{engine}.prom").read_text())


def test_vllm_says_its_version_model_and_cache(ask: Callable[[dict[str, Answer]], Engine | None]) -> None:
    engine = ask({"/metrics": page("vllm_0_23"), "/version": answering('{"version": "0.23.1"}')})

    assert Engine(name="vllm", version="0.23.1", model="ref", settings=SETTINGS) == engine


def test_sglang_says_its_settings(ask: Callable[[dict[str, Answer]], Engine | None]) -> None:
    said = {
        "version": "0.5.23",
        "tp_size": 2,
        "mem_fraction_static": 0.88,
        "disable_radix_cache": False,
        "api_key": "x",
    }

    engine = ask({"/metrics": page("sglang"), "/get_server_info": answering(json.dumps(said))})

    assert engine == Engine(
        name="sglang",
        version="0.5.23",
        model="meta-llama/Llama-3.1-8B-Instruct",
        settings={"tp_size": 2, "mem_fraction_static": 0.88, "disable_radix_cache": False},
    )


def test_a_model_without_a_label_is_asked_for(ask: Callable[[dict[str, Answer]], Engine | None]) -> None:
    models = answering('{"data": [{"id": "tiny\\u001b[2J"}]}')

    assert Engine(name="tgi", model="tiny[2J") == ask({"/metrics": page("tgi"), "/v1/models": models})


@pytest.mark.parametrize(
    "answer",
    ["", "{", "[]", "null", '{"version": null}', '{"version": {}}', "[" * 100_000, '{"version": 1e999}', "9" * 5000],
)
def test_nonsense_is_no_version(ask: Callable[[dict[str, Answer]], Engine | None], answer: str) -> None:
    engine = ask({"/metrics": page("vllm_0_23"), "/version": answering(answer)})

    assert engine is not None
    assert ("vllm", None) == (engine.name, engine.version)


@pytest.mark.parametrize("models", ['{"data": []}', '{"data": 3}', '{"data": [1]}', '{"data": [{"id": 5}]}'])
def test_nonsense_is_no_model(ask: Callable[[dict[str, Answer]], Engine | None], models: str) -> None:
    assert Engine(name="tgi") == ask({"/metrics": page("tgi"), "/v1/models": answering(models)})


def test_a_server_without_metrics_is_nothing(ask: Callable[[dict[str, Answer]], Engine | None]) -> None:
    assert ask({}) is None


def test_no_endpoint_is_nothing() -> None:
    assert identify(Options()) is None


def test_an_endpoint_that_cannot_be_is_a_mistake() -> None:
    with pytest.raises(UserError, match="not an address"):
        identify(Options(endpoint="localhost"))
