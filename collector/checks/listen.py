"""The address on which the collector would serve its metrics: whether it can be bound."""

from prometheus_client import CollectorRegistry

from collector.checks import Found, Topic
from collector.checks._world import World
from collector.errors import UserError
from collector.server import MetricsServer

TITLE = "Listen address"


def check(world: World) -> Found:
    """One finding; the address is let go at once."""
    topic = Topic("listen", world.options.listen)
    try:
        MetricsServer(world.options.listen, CollectorRegistry(), {}).close()
    except UserError as error:
        reason, _, remedy = str(error).partition("): ")
        yield topic.missing(f"{reason})" if remedy else reason, remedy or None)
    else:
        yield topic.ok("it can be bound")
