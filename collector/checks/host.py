"""The host: what ``/proc`` and ``/sys/fs/cgroup`` show, and whether the collector sees the host's processes.

Reads the source ``host`` once. Nothing here is needed for a verdict; it explains one.
"""

from contextlib import closing, suppress

from collector.checks import Finding, Found, Topic
from collector.checks._figures import figures
from collector.checks._world import World
from collector.sources import Unavailable
from collector.sources import host as source

TITLE = "Host"

#: The inode of the first process namespace of a kernel, PROC_PID_INIT_INO in its include/linux/proc_ns.h.
_FIRST_NAMESPACE = "pid:[4026531836]"


def check(world: World) -> Found:
    """A finding for each subject whose figures are whole, or for each reason why they are not."""
    yield _namespace(world)
    try:
        with closing(source.open_source(world.options)) as opened:
            samples = opened.read(world.now_ns)
    except Unavailable as error:
        yield Topic("figures", "host").missing(str(error))
        return
    yield from samples
    # The cores come from the file that the host's own figures come from.
    yield from figures(sample for sample in samples if not sample.subject.startswith("cpu:"))


def _namespace(world: World) -> Finding:
    """Whether pids are the host's, by which the driver names processes."""
    topic = Topic("pid_namespace", "collector")
    namespace = None
    with suppress(OSError):
        namespace = str((world.options.proc / "self" / "ns" / "pid").readlink())
    if namespace == _FIRST_NAMESPACE:
        return topic.ok("pids are the host's, as the driver gives them", namespace=namespace)
    grant = "--pid=host in Docker, hostPID: true in a pod"
    if namespace is None:
        return topic.degraded("which process namespace this is cannot be read", grant, namespace=None)
    own = "this process namespace is not the host's, so the pids that the driver gives match no process here"
    return topic.degraded(own, grant, namespace=namespace)
