"""A world for a check, and what it found."""

from collections.abc import Iterable
from pathlib import Path

from collector.checks import Finding
from collector.checks._world import ServerPage, Tree, World
from collector.dialects import plugins
from collector.options import Options
from collector.schema import Engine, Histogram, Sample
from collector.scrape import read
from collector.sources import Unavailable
from tests.collector.builders import NS
from tests.collector.fake_nvml import FakeClock

DATA = Path(__file__).parent / "data"
#: After the recorded servers started.
NOW_NS = 1_795_300_000 * NS


def world(
    page: ServerPage | str = "no server; give one",
    tree: Tree | str = "no tree; share the namespace",
    now_ns: int = NOW_NS,
    **options: object,
) -> World:
    """A world where waiting takes no time; a text is why something is not there."""
    clock = FakeClock()
    return World(
        options=Options(**options),  # type: ignore[arg-type]
        page=Unavailable(page) if isinstance(page, str) else page,
        tree=Unavailable(tree) if isinstance(tree, str) else tree,
        now_ns=now_ns,
        clock=clock,
        sleep=clock.sleep,
    )


def served(
    text: str, version: str | None = None, settings: dict[str, str | int | float | bool] | None = None
) -> ServerPage:
    scrape = read(text, 0)
    engine = Engine(name=scrape.engine, version=version, settings=settings or {})
    return ServerPage(text=text, scrape=scrape, plugin=plugins()[scrape.engine], engine=engine)


def recorded(engine: str, version: str | None = None) -> ServerPage:
    return served((DATA / f"{engine}.prom").read_text(), version)


def tree(*command: str, front: int = 10) -> Tree:
    return Tree(samples=(), roles={front: "api_server"}, front=front, command=command)


def timed(cumulative: tuple[float, ...], edges: tuple[float, ...], total: float = 1.0) -> Histogram:
    return Histogram(t_ns=0, subject="engine:0", quantity="itl_s", edges=edges, cumulative=cumulative, sum=total)


def findings(found: Iterable[Finding | Sample]) -> list[Finding]:
    return [each for each in found if isinstance(each, Finding)]


def states(found: Iterable[Finding | Sample]) -> dict[tuple[str, str], str]:
    """The state of each finding by name and subject."""
    return {(finding.name, finding.subject): finding.state for finding in findings(found)}


def only(found: Iterable[Finding | Sample], name: str) -> Finding:
    (finding,) = (each for each in findings(found) if each.name == name)
    return finding
