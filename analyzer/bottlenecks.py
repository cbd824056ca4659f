"""The bottleneck classes: one name, colour and letter each, for every place that shows them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bottleneck:
    """One class; its id is what the JSON says."""

    id: str
    title: str
    meaning: str
    #: Colour-blind safe on light and dark; never used without the letter.
    colour: str
    letter: str

    @property
    def ink(self) -> str:
        """Black or white, whichever is easier to read on the colour (relative luminance of WCAG 2.2)."""
        channels = (int(self.colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]  # noqa: PLR2004
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        return "#111111" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#FFFFFF"


_CLASSES = (
    Bottleneck("compute", "compute", "the tensor or CUDA cores are the limit", "#0072B2", "C"),
    Bottleneck("memory_bandwidth", "memory bandwidth", "HBM bandwidth is the limit", "#56B4E9", "M"),
    Bottleneck(
        "cpu_preprocessing",
        "CPU preprocessing",
        "tokenising, decoding images or Python in the request path starve the GPU",
        "#E69F00",
        "P",
    ),
    Bottleneck("io", "I/O", "host↔device copies, disk or network are waited for", "#009E73", "I"),
    Bottleneck(
        "batching",
        "batching",
        "work is waiting but batches are too small, too late, or capped by the scheduler",
        "#CC79A7",
        "B",
    ),
    Bottleneck(
        "host_overhead",
        "host overhead",
        "kernel launches and framework overhead starve the GPU",
        "#D55E00",
        "H",
    ),
    Bottleneck("communication", "communication", "collectives between GPUs are exposed", "#B8A000", "X"),
    Bottleneck("kv_capacity", "KV capacity", "KV-cache space forces preemption or queueing", "#7A5195", "K"),
    Bottleneck("throttled", "throttled", "clocks are held down below what the load needs", "#882255", "T"),
    Bottleneck(
        "low_traffic",
        "low traffic",
        "nobody is asking: consolidate, do not optimise",
        "#9AA0A6",
        "L",
    ),
    Bottleneck(
        "unknown",
        "unknown",
        "the evidence does not suffice; the reason says which is missing",
        "#C8CCD0",
        "?",
    ),
)

#: Every class by its id.
BOTTLENECKS: dict[str, Bottleneck] = {item.id: item for item in _CLASSES}


def bottleneck(name: str) -> Bottleneck:
    """The class of that id; ``unknown`` for an id that only a newer version knows."""
    return BOTTLENECKS.get(name, BOTTLENECKS["unknown"])
