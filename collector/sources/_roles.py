"""What a process of a server does, by its title.

Servers rename their processes (``setproctitle``): the command line of a child is then nothing but its title, and its
``comm`` is cut to 15 characters. Titles seen: vLLM's ``VLLM::EngineCore``, ``VLLM::Worker_TP0`` (the prefix can be
set, so it is not looked at), SGLang's ``sglang::scheduler_TP0``, which schedules and runs the model in one process
and counts as an engine core, and the programs of TGI, Triton and TensorRT-LLM.
"""

import re

#: What no title tells.
OTHER = "other"

_ROLES = (
    ("resource_tracker", r"multiprocessing\.resource_tracker"),
    ("engine_core", r"::EngineCor|::(?:semi_pd_)?scheduler"),
    ("worker", r"::(?:gpu_)?Worker|ray::\w*Worker|triton_python_backend_stub|text-generation-server|mpi4py\.futures"),
    ("tokenizer", r"::(?:multimodal_)?(?:de)?tokenizer"),
    (
        "api_server",
        (
            r"::Api_?Server|::http_server|vllm\.entrypoints|\bvllm serve|sglang[. ]+(?:launch_server|serve)"
            r"|text-generation-router|(?:^|/)tritonserver|trtllm-serve|\buvicorn\b|\bgunicorn\b"
        ),
    ),
)
_PATTERNS = [(role, re.compile(pattern, re.IGNORECASE)) for role, pattern in _ROLES]
_LAUNCHER = re.compile(r"text-generation-launcher|\bvllm serve|sglang[. ]+(?:launch_server|serve)|trtllm-|mpirun|orted")
#: Programs whose command line quotes another one.
_WRAPPERS = {"sh", "bash", "dash", "ash", "zsh", "tini", "dumb-init", "docker-init", "timeout", "sudo", "su", "nsys"}


def role_of(title: str) -> str:
    """The role of a process with this title: its command line, or its ``comm`` where that is empty."""
    if _wraps(title):
        return OTHER
    return next((role for role, pattern in _PATTERNS if pattern.search(title)), OTHER)


def is_launcher(title: str) -> bool:
    """Whether a process of this title starts the parts of a server, so that its other children belong to it, too."""
    return not _wraps(title) and _LAUNCHER.search(title) is not None


def _wraps(title: str) -> bool:
    program = title.partition(" ")[0].rpartition("/")[2].lstrip("-")
    return program in _WRAPPERS
