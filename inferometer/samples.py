"""Where the bundled recordings lie: beside the packages, in a checkout and in an installed wheel alike."""

from pathlib import Path

import inferometer
from collector.errors import UserError

#: The reference workload: vLLM on one H200.
REFERENCE = Path(inferometer.__file__).parent.parent / "sample_traces" / "vllm_h200"


def reference(path: Path = REFERENCE) -> Path:
    """The run folder of the reference workload.

    Raises:
        UserError: The installation lacks it.
    """
    if not path.is_dir():
        raise UserError(f"the bundled recording is missing: no folder {path}; reinstall inferometer")
    return path
