"""The two roofs, and which one a piece of work lies under.

A matrix product of T tokens with a weight of b bytes an element does 2·T operations for every b bytes of weight
it reads, so it lies under the memory roof while T < ridge · b / 2 and under the compute roof beyond, where the
ridge is peak FLOP/s over peak bytes/s. Source: Williams et al., "Roofline", CACM 52(4), 2009.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import numpy as np

from analyzer.columns import DTYPES, Float64, MatrixProduct, Operations

#: Reach of the activity counters on hardware nobody measured. NVIDIA's DCGM notes give 0.8 as the practical
#: maximum of DRAM activity; the tensor counter counts issue slots and is taken alike.
DEFAULT_REACH = 0.8

#: Ridges of the datacenter GPUs of the last years, in bf16 tokens: from an H20 (148 TFLOP/s, 4.0 TB/s) to an L40S
#: (362 TFLOP/s, 0.864 TB/s), by their datasheets. Outside this band the roof is known whatever the GPU.
RIDGE_TOKENS_ANYWHERE = (37.0, 419.0)

#: Bytes an element of the weights has where the trace does not say: bf16, what engines serve by default.
DEFAULT_ELEMENT_BYTES = 2


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """One GPU model's roofs."""

    name: str
    memory_bytes: float
    #: The vendor's peaks: dense, at the tensor cores by type; fp32 at the vector units; of the memory.
    tensor_flops: Mapping[str, float]
    vector_flops: float
    dram_bytes_per_s: float
    source: str
    #: What was measured in public, by type; empty or None where nothing was.
    achieved_flops: Mapping[str, float] = field(default_factory=dict)
    achieved_bytes_per_s: float | None = None
    achieved_source: str | None = None
    tensor_active_reach: float = DEFAULT_REACH
    dram_active_reach: float = DEFAULT_REACH

    @property
    def ridge_tokens(self) -> float:
        """Tokens a step needs before its bf16 matrix products leave the memory roof."""
        return self.tensor_flops["bf16"] / self.dram_bytes_per_s * DEFAULT_ELEMENT_BYTES / 2

    def seconds(self, product: MatrixProduct) -> tuple[float, float]:
        """The least seconds a product takes on the tensor cores, and on the memory.

        FLOPs are 2·batch·m·k·n; bytes are both operands read and the result written once. The peak doubles for
        each halving of the element below 2 bytes and halves above, as on every tensor core since Ampere.
        """
        size = product.bytes_per_element
        flops = 2 * product.batch * product.m * product.k * product.n
        moved = product.batch * size * (product.m * product.k + product.k * product.n + product.m * product.n)
        peak = self.tensor_flops["bf16"] * DEFAULT_ELEMENT_BYTES / size
        return flops / peak, moved / self.dram_bytes_per_s

    def least_seconds(self, asked: Operations) -> tuple[Float64, Float64]:
        """The least seconds each operation takes for its arithmetic, and for its bytes, shape (n,)."""
        peaks = np.array([self.tensor_peak(name) for name in DTYPES])
        peak = np.where(asked.tensor, peaks[asked.dtype], self.vector_flops)
        return asked.flops / peak, asked.moved_bytes / self.dram_bytes_per_s

    def tensor_peak(self, dtype: str) -> float:
        """The peak of arithmetic in a type, or in the wider one that stands in for it; infinite where there is none."""
        wider = {"fp8": "bf16", "int8": "bf16"}
        return self.tensor_flops.get(dtype, self.tensor_flops.get(wider.get(dtype, ""), float("inf")))


def ridge_tokens(known: Hardware | None) -> tuple[float, float]:
    """Below the first number of tokens a step lies under the memory roof, from the second on under the compute roof."""
    return (known.ridge_tokens, known.ridge_tokens) if known else RIDGE_TOKENS_ANYWHERE


def hardware(gpu_name: str) -> Hardware | None:
    """The roofs of a GPU by the driver's name for it; None for one this version does not know."""
    for pattern, known in _table():
        if pattern.fullmatch(gpu_name.strip()):
            return known
    return None


@cache
def _table() -> tuple[tuple[re.Pattern[str], Hardware], ...]:
    rows = tomllib.loads(files("analyzer").joinpath("hardware.toml").read_text("utf-8"))["gpu"]
    return tuple((re.compile(row.pop("match")), Hardware(**row)) for row in rows)
