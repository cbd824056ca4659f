"""The sentences of a report: what was analysed, what holds it back, what to try, where the time and the money went."""

from collections import Counter
from datetime import UTC, datetime

from analyzer.bottlenecks import bottleneck
from analyzer.formatting import count, duration, gain, money, number, per_thousand, percent, scaled
from analyzer.idle import CAUSES
from analyzer.prices import UNSTATED
from analyzer.schema import Analysis, Cost, DeviceBudget, Verdict
from analyzer.tables.promises import sentences
from analyzer.tables.runs import ACTIVITY, brief, percentile
from analyzer.wording import label, plain

#: With more devices the lines speak of all of them at once.
_DEVICES_APART = 2
#: Formats without a date count from zero; nothing was served before 1980.
_FIRST_SERVER_S = 315_532_800.0
#: A smaller part of a device's time is left to the table.
_WORTH_A_WORD = 0.005


def source(analysis: Analysis) -> str:
    """What was analysed: ``run of 1 min 35 s · 1 × NVIDIA H200 · vllm 0.23.0``."""
    it = analysis.source
    if it.kind == "unreadable":
        return "cannot be used"
    gpus = (f"{n} × {plain(name, 40)}" for name, n in Counter(it.gpus).items())
    words = (f"{it.kind} of {duration(it.duration_s)}", *gpus, plain(it.engine or "", 40))
    return " · ".join(word for word in words if word)


def recorded(analysis: Analysis) -> str:
    """When the source begins: ``2026-11-21 16:58:37 UTC``; nothing where it could not be read."""
    if analysis.source.kind == "unreadable":
        return ""
    if analysis.source.started_s < _FIRST_SERVER_S:
        return "at a time its file does not tell"
    return f"{datetime.fromtimestamp(analysis.source.started_s, UTC):%Y-%m-%d %H:%M:%S} UTC"


def topics(analysis: Analysis) -> list[tuple[str, list[str]]]:
    """Everything that is said beneath a verdict, by topic; topics without a word are left out."""
    said = [
        ("GPU" if analysis.source.kind == "run" else "time", budget(analysis)),
        ("steps", steps(analysis)),
        ("roofline", roofline(analysis)),
        ("latency", latency(analysis)),
        ("targets", sentences(analysis.slo)),
        ("cost", cost(analysis.cost)),
        ("quality", quality(analysis)),
    ]
    return [(topic, paragraphs) for topic, paragraphs in said if paragraphs]


def verdict(found: Verdict) -> str:
    """What holds the source back and how sure that is, or why that cannot be told."""
    if found.abstained is not None:
        return f"cannot tell: {plain(found.abstained, 220)}"
    words = [bottleneck(found.bottleneck).title, f"confidence {found.confidence:.2f}"]
    if found.runner_up:
        words.append(f"runner-up {bottleneck(found.runner_up).title}")
    return " · ".join(words)


def remedy(found: Verdict) -> list[str]:
    """What to try first against the named class, and the most it could bring."""
    share = next((share for share in found.shares if share.bottleneck == found.bottleneck), None)
    if share is None:
        return []
    ceiling = share.gain_ceiling_ratio
    most = f" At most {gain(ceiling)} the throughput." if ceiling is not None and share.recoverable_s > 0 else ""
    return [f"{plain(share.remedy)}{most}"]


def budget(analysis: Analysis) -> list[str]:
    """Where the time of the devices went: a line a GPU, or one for many; of a run, the means of its GPUs."""
    if analysis.budget is None:
        return []
    devices = analysis.budget.devices
    if len(devices) == 1:
        return [_device(devices[0]), *_idle(devices[0])]
    if devices and len(devices) <= _DEVICES_APART:
        return [f"GPU {device.device}: {_device(device)}" for device in devices]
    if devices:
        ratios = sorted(device.busy_ratio for device in devices)
        idlest = min(devices, key=lambda device: device.busy_ratio)
        return [
            f"{len(devices)} GPUs: busy {percent(ratios[0])} to {percent(ratios[-1])}",
            f"GPU {idlest.device}, the idlest: {_device(idlest)}",
            *_idle(idlest),
        ]
    means = [{name: gpu.means.get(name) for name in ACTIVITY} for gpu in analysis.budget.gpus]
    known = {name: [v for mean in means if (v := mean[name]) is not None] for name in ACTIVITY}
    words = [f"{_activity(name)} {percent(sum(v) / len(v))}" for name, v in known.items() if v]
    return [" · ".join(words)] if words else []


def _activity(name: str) -> str:
    return "NVML “utilization”" if name == "gpu_utilization_ratio" else label(name).removesuffix(" active")


def _device(device: DeviceBudget) -> str:
    if not device.span_s:
        return "no time observed"
    parts = (
        ("exposed communication", device.exposed_communication_s),
        ("exposed copies", device.exposed_copy_s),
        ("launched late", device.idle_launch_s),
        ("device waits", device.idle_device_s),
    )
    shares = [(name, seconds / device.span_s) for name, seconds in parts]
    words = [f"{name} {percent(share)}" for name, share in shares if share >= _WORTH_A_WORD]
    return " · ".join([f"busy {percent(device.busy_ratio)}", *words])


def _idle(device: DeviceBudget) -> list[str]:
    """Why a device was idle: ``idle: host works 9.5 % · inside CUDA graphs 2.2 %``."""
    shares = sorted(((seconds / device.span_s, cause) for cause, seconds in device.idle.items()), reverse=True)
    words = [f"{CAUSES[cause][0]} {percent(share)}" for share, cause in shares if share >= _WORTH_A_WORD]
    return [f"idle: {' · '.join(words)}"] if words else []


def steps(analysis: Analysis) -> list[str]:
    """The LLM steps of a trace: ``70 decode steps of 6.40 ms, batch 32, 5,020 tokens/s, idle 16 %``."""
    said = []
    for group in analysis.steps.groups if analysis.steps else ():
        what = "step" if group.phase == "step" else f"{plain(group.phase, 20)} step"
        words = [f"{count(group.count)} {what}{'s' * (group.count != 1)} of {duration(group.duration_p50_s)}"]
        if group.batch_p50 is not None:
            words.append(f"batch {number(group.batch_p50)}")
        if group.tokens_per_s is not None:
            words.append(f"{number(group.tokens_per_s)} tokens/s")
        said.append(", ".join([*words, f"idle {percent(group.idle_ratio)}"]))
    if said and analysis.steps and analysis.steps.confidence < 1:
        said.append(f"inferred from {plain(analysis.steps.origin)}, confidence {analysis.steps.confidence:.2f}")
    return said


def roofline(analysis: Analysis) -> list[str]:
    """What a given model tells of the steps, and what cannot be; the rest is left to the tables."""
    found = analysis.roofline
    if found is None:
        return []
    said = [
        f"{plain(row.phase, 20)} steps: {scaled(row.moved_bytes_p50, 'B')} or more, "
        f"{percent(row.memory_roof_ratio_p50)} of the memory roof, {percent(row.compute_roof_ratio_p50)} of compute"
        for row in found.steps
        if found.model is not None and row.warning is None
    ]
    return [*said, *(plain(warning) for warning in found.warnings)]


def latency(analysis: Analysis) -> list[str]:
    """The tail of the whole run: TTFT at three percentiles, TPOT at its median; means where no more is known."""
    overall = analysis.latency.overall if analysis.latency else None
    words = []
    for measure, quantiles in (("ttft_s", (0.5, 0.95, 0.99)), ("tpot_s", (0.5,))):
        stats = overall.stat(measure) if overall is not None else None
        if overall is None or stats is None:
            continue
        if stats.origin == "sums":
            words.append(f"{label(measure)} mean {duration(stats.mean_s)}, from sums alone")
        else:
            figures = " / ".join(brief(percentile(overall, measure, q)) for q in quantiles)
            names = "/".join(f"p{100 * q:.0f}" for q in quantiles)
            words.append(f"{label(measure)} {names} {figures}")
    return [" · ".join(words)] if words else []


def cost(found: Cost | None) -> list[str]:
    """What a thousand inferences cost, and at which price; the reason where that cannot be said."""
    if found is None:
        return []
    whole = found.overall
    if whole.usd_per_1000 is None:
        bill = f" · the bill is {money(whole.usd)}" if whole.usd is not None else ""
        return [f"no cost: {plain(whole.reason or 'nothing to divide by')}{bill}", *map(plain, found.warnings)]
    words = [per_thousand(whole.usd_per_1000)]
    if whole.usd_per_1000_slo is not None:
        words.append(f"{money(whole.usd_per_1000_slo)} in SLO")
    if whole.usd_per_1000_busy is not None:
        words.append(f"{money(whole.usd_per_1000_busy)} when busy")
    if whole.usd_per_million_tokens is not None:
        words.append(f"{money(whole.usd_per_million_tokens)} / M tokens")
    if whole.joules_per_request is not None:
        words.append(f"{number(whole.joules_per_request)} J each")
    return [" · ".join(words), *price(found), *map(plain, found.warnings)]


def price(found: Cost) -> list[str]:
    """The price that was used, with its source and its age."""
    it = found.price
    if it is None:
        return []
    known = (word for word in (it.provider, it.market, it.region, it.read_on) if word != UNSTATED)
    origin = " ".join(dict.fromkeys(plain(word, 60) for word in known))
    share = "" if found.share.origin == "whole" else f"{percent(found.share.ratio)} of "
    return [f"at {money(it.usd_per_gpu_hour)} / hour × {share}{found.gpus} {plain(it.gpu, 40)}: {origin}"]


def quality(analysis: Analysis) -> list[str]:
    """How much of what should be there is there, and what a reader must know before trusting the figures."""
    lost = sum(loss.count for loss in analysis.quality.losses)
    left_out = f" · {count(lost)} items left out" if lost else ""
    return [
        f"evidence covers {percent(analysis.quality.coverage)} of the time{left_out}",
        *(plain(note) for note in analysis.quality.notes),
        *([plain(analysis.latency.inference)] if analysis.latency and analysis.latency.inference else []),
    ]
