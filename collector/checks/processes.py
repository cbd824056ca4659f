"""The server's processes: whether its tree is found, and what of it may not be read.

Reads the source ``processes`` once. A verdict does without; which process waits for a core is told by nothing else.
"""

from collector.checks import Found, Topic
from collector.checks._figures import figures
from collector.checks._world import World
from collector.sources import Unavailable

TITLE = "Server processes"


def check(world: World) -> Found:
    """A finding for the tree, and one for whatever it hides."""
    topic, tree = Topic("tree", "server"), world.tree
    if isinstance(tree, Unavailable):
        yield topic.missing(str(tree))
        return
    yield from tree.samples
    named = ", ".join(f"{role} {pid}" for pid, role in tree.roles.items())
    yield topic.ok(f"{len(tree.roles)} processes: {named}", roles={str(pid): role for pid, role in tree.roles.items()})
    yield from (finding for finding in figures(tree.samples) if finding.state != "ok")
    for pid, role in tree.roles.items():
        folder = world.options.proc / str(pid) / "task"
        try:
            next(folder.iterdir())
        except (OSError, StopIteration):
            yield Topic("threads", f"process:{pid}/role:{role}").degraded(
                f"{folder} cannot be listed, so its threads are not told apart",
                "run the collector as the server's user, or with CAP_SYS_PTRACE",
            )
