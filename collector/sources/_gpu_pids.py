"""Which processes the NVIDIA driver says use a GPU, where its numbers mean something. Private to ``processes``."""

from contextlib import suppress
from pathlib import Path

from collector.sources import Unavailable
from collector.sources._nvml_errors import errors, not_opened

#: The first process namespace, the host's, always has this number: PROC_PID_INIT_INO in Linux's proc_ns.h.
_HOST = "pid:[4026531836]"


def gpu_pids(proc: Path) -> set[int]:
    """Processes that compute on any GPU.

    Raises:
        Unavailable: The driver cannot be asked, or would answer with numbers of another process namespace, which
            may be those of strangers here.
    """
    try:
        namespace = str((proc / "self" / "ns" / "pid").readlink())
    except OSError:
        namespace = "unknown"
    if namespace != _HOST:
        raise Unavailable(
            "the GPUs' processes are known by the host's numbers only, and this is another process namespace "
            "(hostPID: true in a pod, --pid=host in Docker)"
        )
    try:
        import pynvml as nv
    except ImportError as error:
        raise Unavailable("nvidia-ml-py, which tells the GPUs' processes, is not installed") from error
    try:
        nv.nvmlInit()
    except errors(nv) as error:
        raise Unavailable(f"the GPUs' processes are not known: {not_opened(error)}") from error
    found: set[int] = set()
    try:
        # A GPU that is lost, or whose MIG instances may not be listed, hides none of the others.
        with suppress(*errors(nv)):
            for index in range(nv.nvmlDeviceGetCount()):
                with suppress(*errors(nv)):
                    handle = nv.nvmlDeviceGetHandleByIndex(index)
                    found |= {process.pid for process in nv.nvmlDeviceGetComputeRunningProcesses(handle)}
    finally:
        with suppress(*errors(nv)):
            nv.nvmlShutdown()
    return found
