"""What a server says it is."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from collector import _pages
from collector.errors import UserError
from collector.identity import Identifier, identify
from collector.options import Options
from collector.schema import Absent, Engine, Event, Sample
from tests.collector.clocks import FakeClock
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


# ------------------------------------------------------------------------------------------- while it is watched

VLLM = Engine(name="vllm", version="0.23.1", model="ref", settings={"block_size": 16})
HERE = Options(endpoint="http://127.0.0.1:8000")


class Watch:
    """An identifier whose server says what a test puts into its mouth."""

    def __init__(self, known: Engine | None, *answers: Engine | Exception | None) -> None:
        self.time = FakeClock()
        self.answers = list(answers)
        self.asked = 0
        self.identifier = Identifier(HERE, known, self.time.clock, self.ask)

    def ask(self, _: Options) -> Engine | None:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def second(self, *kinds: str, up: bool = True) -> tuple[Engine, Event] | None:
        """One second in which the server answers, or does not; what was learnt in it."""
        value = 1.0 if up else Absent("refuses connections")
        sample = Sample(t_ns=0, source="serving", subject="engine:0", values={"requests_running": value, "scrape_s": 1})
        self.time.move(1.0)
        events = [Event(t_ns=0, kind=kind, name="vllm") for kind in kinds]
        found = self.identifier.look([sample, *events])
        for thread in threading.enumerate():
            if thread.name == "identity":
                thread.join()
        return found


def test_a_server_that_was_not_there_is_asked_once_it_answers() -> None:
    watch = Watch(None, VLLM)
    assert [None] * 3 == [watch.second(up=False) for _ in range(3)]
    assert watch.asked == 0
    watch.second()
    found = watch.second()
    assert [None] * 20 == [watch.second() for _ in range(20)]

    assert watch.asked == 1
    assert found is not None
    assert found[0] == VLLM
    assert (found[1].kind, found[1].name, found[1].detail["version"]) == ("engine", "vllm", "0.23.1")
    assert found[1].detail["reason"] == "it did not answer when the recording began"


@pytest.mark.parametrize("answer", [None, OSError("gone again")])
def test_a_server_that_did_not_say_is_asked_again_now_and_then(answer: Exception | None) -> None:
    watch = Watch(None, answer, answer, VLLM)

    found = [watch.second() for _ in range(30)]

    assert [VLLM] == [each[0] for each in found if each is not None]
    assert watch.asked == 3


@pytest.mark.parametrize("kind", ["restart", "endpoint_up"])
def test_a_server_that_may_be_another_one_is_asked_and_only_a_change_is_told(kind: str) -> None:
    other = replace(VLLM, version="0.24.0", settings={"block_size": 32, "tp_size": 2})
    watch = Watch(VLLM, VLLM, other)
    assert [None] * 3 == [watch.second(), watch.second(kind), watch.second()]
    watch.second(kind)
    found = watch.second()

    assert watch.asked == 2
    assert found is not None
    assert found[0] == other
    assert found[1].detail["changed"] == "block_size 16 → 32, tp_size None → 2, version 0.23.1 → 0.24.0"


def test_without_an_endpoint_nobody_is_asked() -> None:
    watch = Watch(None)
    watch.identifier.options = Options()

    assert [None] * 3 == [watch.second() for _ in range(3)]
    assert watch.asked == 0
