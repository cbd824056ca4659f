"""What was concluded, and the JSON contract.

``Analysis`` is that contract: its fields, in this order, are the object ``analyze --format json`` prints. Seconds are
floats here, at the edge. A key that does not apply to the source is None; a number that could not be computed is None
with a reason beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from analyzer.columns import Loss
from analyzer.evidence import Fact

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Source:
    """What was analysed."""

    #: ``unreadable``: of several sources one that could not be used; it has no times, and the verdict says why.
    kind: Literal["trace", "run", "unreadable"]
    name: str
    started_s: float
    duration_s: float
    gpus: tuple[str, ...]
    engine: str | None
    #: Of a run: the traces recorded with it.
    traces: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How much of what should be there is there."""

    #: 0–1: share of the analysed time that the evidence covers.
    coverage: float
    losses: tuple[Loss, ...]
    #: Sentences a reader must know before trusting the figures.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Share:
    """One bottleneck class's part of the wall time."""

    bottleneck: str
    share: float
    recoverable_s: float
    #: Throughput if all of it were won back: T / (T − R); None where that has no bound.
    gain_ceiling_ratio: float | None
    evidence: tuple[Fact, ...]
    #: The first thing to try, in one sentence.
    remedy: str


@dataclass(frozen=True, kw_only=True)
class VerdictWindow:
    """The verdict on a part of a run, for the ribbon and the table of phases."""

    #: Name of the phase; None for a plain window.
    name: str | None
    start_s: float
    end_s: float
    bottleneck: str
    confidence: float
    abstained: str | None
    shares: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What holds the server back, or why that cannot be told."""

    bottleneck: str
    confidence: float
    #: None, or the reason why no bottleneck is named.
    abstained: str | None
    #: By recoverable time, largest first; the shares sum to 1 (or the tuple is empty: nothing was observed).
    shares: tuple[Share, ...]
    runner_up: str | None = None
    phases: tuple[VerdictWindow, ...] = ()
    windows: tuple[VerdictWindow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StreamBudget:
    """One stream's work; while it rests another may work, so its idle time says nothing of the device."""

    stream: int
    #: Kernels, copies and fills.
    count: int
    busy_s: float


@dataclass(frozen=True, kw_only=True)
class DeviceBudget:
    """Where one device's time went. Parts sum to ``span_s`` exactly, in integer nanoseconds before division."""

    device: int
    span_s: float
    compute_s: float
    exposed_communication_s: float
    exposed_copy_s: float
    idle_s: float
    #: Of the idle time: the launch had not come yet.
    idle_launch_s: float
    #: Of the idle time: the launch had come, the device waited for itself.
    idle_device_s: float
    #: The idle time in seconds by cause, named in ``analyzer.idle.CAUSES``; causes without time are left out.
    idle: Mapping[str, float]
    streams: tuple[StreamBudget, ...]

    @property
    def busy_ratio(self) -> float:
        """Share of the span in which the device did anything."""
        return 1 - self.idle_s / self.span_s if self.span_s else 0.0


@dataclass(frozen=True, kw_only=True)
class GpuUse:
    """One GPU's means over a run, capture windows left out; None where it was not measured."""

    device: int
    #: Quantity of the catalogue → mean.
    means: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class UseWindow:
    """Means over the GPUs in one part of a run."""

    name: str | None
    start_s: float
    end_s: float
    means: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Where the time went: of a trace by device, of a run by GPU."""

    #: The time the figures speak of.
    span_s: float
    busy_s: float
    idle_s: float
    devices: tuple[DeviceBudget, ...] = ()
    gpus: tuple[GpuUse, ...] = ()
    phases: tuple[UseWindow, ...] = ()
    windows: tuple[UseWindow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StepGroup:
    """The steps of one phase of LLM work."""

    #: ``prefill``, ``decode`` or ``mixed``; ``step`` where that is not known.
    phase: str
    count: int
    #: Start to start, medians over the group; None where nothing names batch or tokens.
    duration_p50_s: float
    batch_p50: float | None
    tokens_p50: float | None
    tokens_per_s: float | None
    #: Share of the group's time in which the device stood still, and the median of what lies before the next step.
    idle_ratio: float
    gap_p50_s: float
    #: The idle time in seconds by cause, as in ``DeviceBudget``.
    idle: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One LLM step, start to start of the next. Compute, exposed parts and idle sum to its duration exactly."""

    phase: str
    start_s: float
    duration_s: float
    #: None where nothing names them.
    batch: int | None
    tokens: int | None
    busy_ratio: float
    compute_s: float
    exposed_communication_s: float
    exposed_copy_s: float
    idle_s: float
    #: Of the idle time: after the step's last work, before the next step.
    gap_s: float


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The LLM steps of a trace."""

    groups: tuple[StepGroup, ...]
    #: Steps left out of the groups and the verdict: the first ones of a capture are slow.
    warm_up: int
    steps: tuple[Step, ...]
    #: What they were known by, and how sure it is that these are the steps, 0–1.
    origin: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One kernel name's total."""

    name: str
    #: ``gemm``, ``attention``, ``normalisation``, ``elementwise``, ``copy``, ``communication``, ``other``.
    family: str
    count: int
    total_s: float
    mean_s: float
    #: Of the time of all device work.
    share: float
    #: ``compute``, ``memory`` or None where the trace does not tell.
    bound: str | None


@dataclass(frozen=True, kw_only=True)
class FamilyRoofline:
    """How near its roof one family of kernels came. Work and rates are lower bounds; None where no shape tells."""

    family: str
    #: Of the time of all device work; and of the family's own time, the part whose work is known.
    time_share: float
    known_ratio: float
    #: ``compute``, ``memory`` or None.
    bound: str | None
    #: Over the time whose work is known.
    flops_per_s: float | None
    bytes_per_s: float | None
    intensity_flops_per_byte: float | None
    #: The least time at the roof over the time taken.
    efficiency_ratio: float | None
    #: Why an efficiency above 1 is no feat.
    warning: str | None
    #: Why nothing is known.
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class StepRoofline:
    """How near the roofs the steps of one phase came, start to start. Work and rates are lower bounds."""

    phase: str
    count: int
    #: What the work was told from: ``the model``, ``recorded shapes``, or both.
    basis: str
    moved_bytes_p50: float
    flops_p50: float
    bytes_per_s_p50: float
    flops_per_s_p50: float
    #: Share of the step's time that its bytes, or its operations, need at the peak; None where that is not known.
    memory_roof_ratio_p50: float | None
    memory_roof_ratio_p10: float | None
    memory_roof_ratio_p90: float | None
    compute_roof_ratio_p50: float | None
    warning: str | None


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """The roofs of the GPU, and how near to them its work came."""

    #: None where the GPU's roofs are not known; ``reason`` says why.
    gpu: str | None
    #: The vendor's dense peaks by type, and what was measured in public.
    tensor_flops_per_s: Mapping[str, float]
    achieved_flops_per_s: Mapping[str, float]
    vector_flops_per_s: float | None
    dram_bytes_per_s: float | None
    achieved_bytes_per_s: float | None
    source: str | None
    reason: str | None
    #: The model that was given.
    model: str | None
    families: tuple[FamilyRoofline, ...]
    steps: tuple[StepRoofline, ...]
    #: Why steps of some phase are not among them.
    steps_reason: str | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StackFrame:
    """One function in the sampled stacks of one thread, or of all threads of one role."""

    thread: str
    #: What the thread is for, by what it was seen doing.
    role: str
    name: str
    #: Seconds in the function itself, and with what it called; shares of the thread's sampled time.
    self_s: float
    total_s: float
    self_share: float
    total_share: float


@dataclass(frozen=True, kw_only=True)
class Percentile:
    """One percentile and how well it is known."""

    #: 0–1.
    q: float
    #: None where it lies above the last finite bucket, or n is 0.
    value_s: float | None
    #: The interval that holds it: of the bucket, or of the order statistics at 95 %. None is unbounded.
    low_s: float | None
    high_s: float | None
    #: ``resolution-limited``, ``low n``, … or None.
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class LatencyStats:
    """One latency measure over one window."""

    #: ``ttft_s``, ``tpot_s``, ``e2e_latency_s``, ``queue_time_s``, …
    measure: str
    #: ``requests`` (each one known), ``histogram`` (scraped buckets) or ``sums`` (a sum and a count: the mean alone).
    origin: Literal["requests", "histogram", "sums"]
    n: int
    mean_s: float | None
    percentiles: tuple[Percentile, ...]


@dataclass(frozen=True, kw_only=True)
class LatencyWindow:
    """Latency and throughput of one part of a run."""

    name: str | None
    start_s: float
    end_s: float
    stats: tuple[LatencyStats, ...]
    #: Little's law: mean waiting over the rate at which requests leave the queue; an estimate, None where none left it.
    queue_delay_s: float | None
    requests_per_s: float | None
    input_tokens_per_s: float | None
    output_tokens_per_s: float | None
    requests_running: float | None
    requests_waiting: float | None
    #: The same by the rate at which requests join the queue instead: the two agree where its length is steady.
    queue_delay_low_s: float | None = None
    queue_delay_high_s: float | None = None

    def stat(self, measure: str) -> LatencyStats | None:
        """The best statistics of a measure: from requests where there are some, else from what was scraped."""
        mine = [stats for stats in self.stats if stats.measure == measure]
        return min(mine, key=lambda stats: stats.origin != "requests", default=None)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Latency over a whole run, by phase, and over time."""

    overall: LatencyWindow
    phases: tuple[LatencyWindow, ...]
    windows: tuple[LatencyWindow, ...]
    #: What is counted as one inference, in a sentence.
    inference: str = ""


@dataclass(frozen=True, kw_only=True)
class PriceChange:
    """From when on a price holds."""

    from_s: float
    usd_per_gpu_hour: float


@dataclass(frozen=True, kw_only=True)
class Slo:
    """What a service promises: a request is good that was answered within every limit."""

    name: str
    #: Share of the requests that are to be good, 0–1.
    target_ratio: float
    #: Measure → the most it may be, seconds.
    limits_s: Mapping[str, float]
    source: str
    read_on: str


@dataclass(frozen=True, kw_only=True)
class SloWindow:
    """How a service kept its promise in one part of a run; two bounds where only buckets are known."""

    name: str | None
    start_s: float
    end_s: float
    #: What it was judged by; None where it cannot be told, and ``reason`` says why.
    origin: Literal["requests", "histogram"] | None
    #: Answered and failed; a failed request is never good.
    requests: int | None
    failed: int | None
    good_low: int | None
    good_high: int | None
    good_low_ratio: float | None
    good_high_ratio: float | None
    goodput_low_requests_per_s: float | None
    goodput_high_requests_per_s: float | None
    #: How many times faster than allowed the error budget is spent: the share that is not good over what may not be.
    burn_rate_low: float | None
    burn_rate_high: float | None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Service:
    """A promise, and how it was kept over a whole run, by phase, and over time."""

    slo: Slo
    #: The error budget of the whole run: how many requests may be not good.
    budget_requests: float | None
    overall: SloWindow
    phases: tuple[SloWindow, ...]
    windows: tuple[SloWindow, ...]


@dataclass(frozen=True, kw_only=True)
class Price:
    """One price, with everything needed to judge it."""

    gpu: str
    #: Where it changes: the newest; in what was concluded of a run, the mean over the run.
    usd_per_gpu_hour: float
    provider: str
    sku: str
    region: str
    #: ``on-demand``, ``reserved-1y``, ``reserved-3y``, ``spot`` or the user's own word.
    market: str
    source: str
    read_on: str
    #: Whether electricity is paid with it.
    includes_power: bool = True
    #: In order of time; empty where one price holds throughout.
    changes: tuple[PriceChange, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CostWindow:
    """The cost of one part of a run."""

    name: str | None
    start_s: float
    end_s: float
    usd: float | None
    requests_ok: int | None
    requests_failed: int | None
    usd_per_1000: float | None
    #: The same without the time in which nothing ran: what the next thousand would cost on a full server.
    usd_per_1000_busy: float | None
    #: Share of the time with no request running.
    idle_ratio: float | None
    usd_per_million_tokens: float | None
    joules_per_request: float | None
    #: Why a figure is missing.
    reason: str | None = None
    #: All of the cost over the requests that met their targets; None without targets, or where none met them.
    usd_per_1000_slo: float | None = None
    #: The cost split between the tokens read and written; how is in ``Cost.token_split``.
    usd_per_million_input_tokens: float | None = None
    usd_per_million_output_tokens: float | None = None
    joules_per_1000: float | None = None
    joules_per_output_token: float | None = None


@dataclass(frozen=True, kw_only=True)
class InvoicePart:
    """What a part of the invoice paid for."""

    #: ``startup``, ``in_slo``, ``out_of_slo`` (or ``answered``, where no target tells them apart), ``failed``,
    #: ``unfinished``, ``idle``, ``draining`` or ``unobserved``.
    part: str
    usd: float
    #: Time of the whole server; requests share it, so theirs is by their number.
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Invoice:
    """The bill of a run, by what it paid for; the parts add up to it."""

    usd: float
    #: Of it, the electricity that the price leaves out.
    power_usd: float
    parts: tuple[InvoicePart, ...]


@dataclass(frozen=True, kw_only=True)
class Offer:
    """The same run at another price of the same GPU."""

    price: Price
    usd: float | None
    usd_per_1000: float | None


@dataclass(frozen=True, kw_only=True)
class GpuShare:
    """How much of each GPU is charged to the server."""

    #: 0–1.
    ratio: float
    #: ``whole``, ``given``, ``mig`` or ``sm_time``.
    origin: Literal["whole", "given", "mig", "sm_time"]
    estimated: bool = False


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a thousand inferences cost, and the price that was used."""

    price: Price | None
    gpus: int
    overall: CostWindow
    phases: tuple[CostWindow, ...]
    windows: tuple[CostWindow, ...]
    #: None where nothing can be billed; the reason is that of ``overall``.
    invoice: Invoice | None = None
    #: Every price known for the GPU, the one that was used among them.
    offers: tuple[Offer, ...] = ()
    share: GpuShare = GpuShare(ratio=1.0, origin="whole")
    #: How the cost is split between input and output tokens.
    token_split: str = ""
    #: Sentences a reader must know before trusting the figures.
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CollectiveTime:
    """One kind of collective, as one rank of a job had it."""

    name: str
    count: int
    #: The transfer alone, which is the same for all ranks; how far the two are apart is its jitter.
    transfer_p50_s: float
    transfer_p99_s: float
    #: What this rank waited in it for the last one.
    wait_s: float


@dataclass(frozen=True, kw_only=True)
class RankTime:
    """One rank beside the others of its job, over the collectives that were recorded on all of them."""

    #: Name of the folder that holds the traces, with a number where it holds several jobs.
    job: str
    rank: int
    world_size: int | None
    #: Whose traces were compared, this one's among them.
    ranks: tuple[int, ...]
    #: Why nothing can be told; then the figures are None.
    reason: str | None = None
    #: By how much this rank's clock is ahead of the first one's, as the ends of collectives show, and the distance
    #: within which 95 % of the ends agree then.
    clock_ahead_s: float | None = None
    clock_uncertainty_s: float | None = None
    matched: int = 0
    unmatched: int = 0
    #: The time in matched collectives: what moving the data took (the least over the ranks), and waiting for the last.
    transfer_s: float | None = None
    wait_s: float | None = None
    #: How often this rank came last, and by how much in all it came after the one before it.
    last_count: int | None = None
    late_s: float | None = None
    #: How long after the first one this rank came.
    delay_p50_s: float | None = None
    delay_p99_s: float | None = None
    collectives: tuple[CollectiveTime, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything concluded from one source; the JSON contract."""

    schema_version: int = SCHEMA_VERSION
    source: Source
    quality: Quality
    verdict: Verdict
    budget: Budget | None = None
    steps: Steps | None = None
    kernels: tuple[Kernel, ...] | None = None
    roofline: Roofline | None = None
    stacks: tuple[StackFrame, ...] | None = None
    latency: Latency | None = None
    #: None where no targets were given.
    slo: Service | None = None
    cost: Cost | None = None
    #: Of a trace that was analysed together with those of other ranks of its job.
    rank: RankTime | None = None


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One side of a comparison."""

    name: str
    duration_s: float
    gpus: tuple[str, ...]
    #: Steady steps of which the mean is compared; None where whole windows are.
    steps: int | None
    #: Of the mean step, or of the window from the first device work to the last.
    length_s: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One part of a difference in time, seconds for each step (or for the window) and device; after less before."""

    kind: Literal["kernel", "idle"]
    #: Of kernels.
    family: str | None
    #: Names of the kernels, or the cause of idle time. Kernels that only one side has stand together where the other
    #: side has others of their family; else one of the two is empty.
    before: tuple[str, ...]
    after: tuple[str, ...]
    before_s: float
    after_s: float
    difference_s: float
    #: Launches of the kernels for each step (or window) and device; None for idle time, as are the two below.
    count_before: float | None
    count_after: float | None
    #: What more or fewer launches make of the difference, and what longer or shorter ones do.
    from_count_s: float | None
    from_duration_s: float | None


@dataclass(frozen=True, kw_only=True)
class StepDifference:
    """The part of a difference in the mean step that steps of one phase explain."""

    phase: str
    share_before: float
    share_after: float
    mean_before_s: float | None
    mean_after_s: float | None
    difference_s: float
    #: What more or fewer of the steps being of this phase makes, and what longer or shorter ones do.
    from_share_s: float
    from_length_s: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What explains that one trace took longer than another; the JSON contract of ``compare``.

    Every figure is a whole number of nanoseconds, and the parts add up to the difference in them.
    """

    schema_version: int = SCHEMA_VERSION
    #: What is compared: the mean step, or the whole window.
    unit: Literal["step", "window"]
    before: Compared
    after: Compared
    difference_s: float
    #: By size.
    parts: tuple[Difference, ...]
    #: The same difference by phase; empty where whole windows are compared.
    steps: tuple[StepDifference, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One side of a comparison of runs."""

    name: str
    duration_s: float
    gpus: tuple[str, ...]
    engine: str | None
    #: What it is billed by; None where no price is known.
    usd_per_gpu_hour: float | None


@dataclass(frozen=True, kw_only=True)
class RunDifference:
    """How one figure of a run changed; after less before."""

    #: None is the whole run; the second phase of a name is ``name (2)``.
    phase: str | None
    #: ``requests_per_s``, ``output_tokens_per_s``, ``ttft_s``, …, ``usd_per_1000``, ``joules_per_1000``, or
    #: ``share_ratio``: the share of the time that is of one bottleneck class.
    measure: str
    #: Of a percentile, 0–1; a latency without it is a mean.
    quantile: float | None
    bottleneck: str | None
    #: What both runs know it from; None where there is no such thing.
    origin: Literal["requests", "histogram", "sums", "windows"] | None
    before: float | None
    after: float | None
    difference: float | None
    #: Between the least and the most that the 95 % intervals of the two allow; None is unbounded.
    difference_low: float | None
    difference_high: float | None
    outcome: Literal["more than noise", "within noise", "cannot tell"]
    reason: str


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """What changed from one run to another, and whether it is more than noise; the JSON contract of ``compare``."""

    schema_version: int = SCHEMA_VERSION
    unit: Literal["run"] = "run"
    before: ComparedRun
    after: ComparedRun
    #: There are figures, and those of both are the same.
    identical: bool
    #: Of the whole run, then of each phase that both have.
    rows: tuple[RunDifference, ...]
    notes: tuple[str, ...]
