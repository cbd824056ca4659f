"""On a path before the real ``pynvml``: so many GPUs as ``FAKE_GPUS`` says, which answer and cost as an H200's did."""

import os
import sys
from collections import deque
from pathlib import Path

_HERE = Path(__file__).parent

# The fake is made of the real binding's names and structs.
sys.path[:] = [str(_HERE.parents[1]), *(folder for folder in sys.path if Path(folder).resolve() != _HERE.resolve())]
del sys.modules["pynvml"]
from tests.collector.fake_nvml import FakeNvml  # noqa: E402 - only now the real one is found

fake = FakeNvml(gpus=int(os.environ["FAKE_GPUS"]), cost="spin")
# Tests look at it; here it would grow.
fake.windows_ns = deque(maxlen=1)
sys.modules["pynvml"] = fake
