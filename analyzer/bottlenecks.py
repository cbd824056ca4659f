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
