"""What traces and stacks would need: the right to read stacks, a torch process that listens, profile endpoints.

Nothing is traced and nothing is asked of the server: permissions, its command line and environment, and the sockets
that torch's profiler (Kineto) opens are all that is read. A verdict on a run does without.
"""

from collections.abc import Iterator
from contextlib import suppress

from collector.checks import Finding, Found, Topic
from collector.checks._world import ServerPage, World, words
from collector.sources import Unavailable
from collector.sources._procfs import FAULTS, read_lines

TITLE = "Traces and stacks"

#: CAP_SYS_PTRACE of include/uapi/linux/capability.h.
_PTRACE_BIT = 1 << 19
_GRANT = "--cap-add SYS_PTRACE in Docker, capabilities.add: [SYS_PTRACE] in a pod"
#: Of ptrace_scope: nobody may attach until the next boot.
_NOBODY = 3
_LARGEST_TABLE_BYTES = 16 << 20
#: The name's place on a line of /proc/net/unix.
_NAME = 7
#: What Kineto calls the socket of a process that polls for requests, and that of the daemon which answers.
_CLIENT, _DAEMON = "dynoconfigclient", "dynolog"
_ENABLED = "KINETO_USE_DAEMON"
_PROFILER = (
    """--profiler-config '{"profiler": "torch", "torch_profiler_dir": "/tmp", "torch_profiler_with_stack": false}'"""
)


def check(world: World) -> Found:
    """A finding for each way to look inside."""
    yield _stacks(world)
    yield _on_demand(world)
    yield from _endpoint(world)


def _stacks(world: World) -> Finding:
    """Whether py-spy may read the server's stacks, as ptrace(2) decides it."""
    topic, tree = Topic("stacks", "collector"), world.tree
    own = _status(world, "self")
    scope = 0
    with suppress(*FAULTS):
        # Not there without Yama, and then nothing is restricted.
        scope = int(read_lines(world.options.proc / "sys" / "kernel" / "yama" / "ptrace_scope")[0])
    if scope >= _NOBODY:
        return topic.missing(f"ptrace_scope is {scope}: nobody may read stacks", "set it to 1 when the host boots")
    if int(own.get("CapEff", "0"), 16) & _PTRACE_BIT:
        return topic.ok("CAP_SYS_PTRACE lets py-spy read the server's stacks", ptrace_scope=scope)
    if isinstance(tree, Unavailable):
        return topic.missing(f"without CAP_SYS_PTRACE only its own user may, and {tree}", ptrace_scope=scope)
    if own.get("Uid", "") != _status(world, str(tree.front)).get("Uid"):
        return topic.missing("the server runs as another user, and CAP_SYS_PTRACE is not there", _GRANT)
    if scope:
        grant = f"{_GRANT}; or kernel.yama.ptrace_scope=0 on the host"
        return topic.missing(f"ptrace_scope is {scope}: only a parent may read stacks", grant, ptrace_scope=scope)
    return topic.ok("the server runs as this user, so py-spy may read its stacks", ptrace_scope=scope)


def _status(world: World, who: str) -> dict[str, str]:
    """The effective figure of each line of ``status``: the second, or the only one."""
    with suppress(*FAULTS):
        lines = (line.split() for line in read_lines(world.options.proc / who / "status"))
        return {name.rstrip(":"): figures[1:2][0] if figures[1:] else figures[0] for name, *figures in lines if figures}
    return {}


def _on_demand(world: World) -> Finding:
    """Whether a torch process polls for trace requests in this network namespace."""
    topic, tree = Topic("on_demand_traces", "server"), world.tree
    names: list[str] = []
    with suppress(*FAULTS):
        table = read_lines(world.options.proc / "net" / "unix", _LARGEST_TABLE_BYTES)[1:]
        names = [line.split(None, _NAME)[-1].rpartition("/")[2].strip("@") for line in table]
    clients = sum(name.startswith(_CLIENT) for name in names)
    if clients and _DAEMON in names:
        return topic.degraded(f"{clients} torch sockets wait for requests, but of a dynolog daemon", "stop dynolog")
    if clients:
        return topic.ok(f"{clients} torch sockets wait for trace requests", clients=clients)
    start = f"start the server with {_ENABLED}=1 in its environment, and torch 2.7 or newer"
    environment = () if isinstance(tree, Unavailable) else words(world.options, tree.front, "environ")
    if any(word.startswith(f"{_ENABLED}=") for word in environment):
        deaf = f"{_ENABLED} is set for the server, but no socket of torch is in this network namespace"
        return topic.degraded(deaf, "share the server's network namespace, as containers of one pod do")
    if environment:
        return topic.missing(f"the server was started without {_ENABLED}", start)
    return topic.missing("no torch process waits for requests, and the server's environment cannot be read", start)


def _endpoint(world: World) -> Iterator[Finding]:
    """Whether the engine has its profile endpoints. They are not asked: SGLang's starts a trace on a GET."""
    topic, page, tree = Topic("profile_endpoint", "server"), world.page, world.tree
    engine = page.scrape.engine if isinstance(page, ServerPage) else None
    command = () if isinstance(tree, Unavailable) else tree.command
    if engine == "sglang":
        yield topic.ok("SGLang has /start_profile, without any flag")
    elif engine == "vllm" and any(word.replace("_", "-").startswith("--profiler-config") for word in command):
        yield topic.ok("vLLM was started with --profiler-config, so it has /start_profile")
    elif engine == "vllm" and command:
        yield topic.missing("vLLM was started without --profiler-config, so it has no /start_profile", _PROFILER)
    elif engine == "vllm":
        unread = "the server's command line cannot be read, so whether it has /start_profile is unknown"
        yield topic.degraded(unread, _PROFILER)
