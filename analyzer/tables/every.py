"""The tables of an analysis: one set for the terminal and the web page, in the order of the questions."""

from collections.abc import Sequence

from analyzer.evidence import Fact
from analyzer.formatting import MISSING, count, duration, gain, money, number, percent, scaled
from analyzer.idle import CAUSES
from analyzer.schema import Analysis, Share
from analyzer.tables import money as money_tables
from analyzer.tables.grid import Grid, class_name, columns
from analyzer.tables.promises import promises
from analyzer.tables.runs import brief, costs, latency, overview, percentile
from analyzer.wording import figure, kernel_name, label, plain, quantity


def judged(analysis: Analysis) -> list[Grid]:
    """The tables of the verdict: the evidence for what it names, then every class's share."""
    return _filled(evidence(analysis), shares(analysis))


def measured(analysis: Analysis) -> list[Grid]:
    """The tables beneath: where the time went, how long people waited, what it cost, what is missing."""
    of_run = []
    if analysis.latency is not None:
        of_run.append(latency([analysis.latency.overall, *analysis.latency.phases]))
    if analysis.slo is not None:
        of_run.append(promises([analysis.slo.overall, *analysis.slo.phases]))
    if analysis.cost is not None:
        parts = [analysis.cost.overall, *analysis.cost.phases]
        of_run += [costs(parts), money_tables.rates(parts), money_tables.invoice(analysis.cost)]
        of_run.append(money_tables.offers(analysis.cost))
    return _filled(
        devices(analysis),
        idle(analysis),
        steps(analysis),
        overview(analysis, "phases"),
        *of_run,
        gpus(analysis),
        other_evidence(analysis),
        kernels(analysis),
        rooflines(analysis),
        step_rooflines(analysis),
        stacks(analysis),
        overview(analysis, "windows"),
        losses(analysis),
    )


def _filled(*grids: Grid) -> list[Grid]:
    return [grid for grid in grids if grid.rows]


def sources(analyses: Sequence[Analysis]) -> Grid:
    """Several sources side by side, one row each: the one with the most time to win back first, the unusable last.

    What none of them has takes no column.
    """
    titles = columns("source", "@bottleneck", ">conf.", ">busy", ">to win\nback", ">at most", ">TTFT p99", ">$/1,000")
    rows = [_source(analysis) for analysis in sorted(analyses, key=_badness)]
    shown = [index for index in range(len(titles)) if any(row[index] != MISSING for row in rows)]
    return Grid(
        title="Sources",
        columns=tuple(titles[index] for index in shown),
        rows=tuple(tuple(row[index] for index in shown) for row in rows),
    )


def _badness(analysis: Analysis) -> tuple[bool, bool, float]:
    share = _headline(analysis)
    return analysis.source.kind == "unreadable", share is None, -share.recoverable_s if share else 0.0


def _headline(analysis: Analysis) -> Share | None:
    """The share of the class that the verdict names, if it names one."""
    verdict = analysis.verdict
    named = (share for share in verdict.shares if share.bottleneck == verdict.bottleneck)
    return next(named, None) if verdict.abstained is None else None


def _source(analysis: Analysis) -> tuple[str, ...]:
    verdict, budget, cost = analysis.verdict, analysis.budget, analysis.cost
    share = _headline(analysis)
    overall = analysis.latency.overall if analysis.latency else None
    abstained = "? cannot be used" if analysis.source.kind == "unreadable" else "? cannot tell"
    return (
        plain(analysis.source.name, 60),
        class_name(verdict.bottleneck) if verdict.abstained is None else abstained,
        f"{verdict.confidence:.2f}" if verdict.abstained is None else MISSING,
        percent(budget.busy_s / budget.span_s) if budget and budget.span_s else MISSING,
        duration(share.recoverable_s) if share else MISSING,
        gain(share.gain_ceiling_ratio) if share else MISSING,
        brief(percentile(overall, "ttft_s", 0.99)),
        money(cost.overall.usd_per_1000 if cost else None),
    )


def unusable(analyses: Sequence[Analysis]) -> Grid:
    """The sources that could not be used, and why."""
    return Grid(
        title="Cannot be used",
        columns=columns("source", "why"),
        rows=tuple(
            (plain(analysis.source.name, 60), plain(analysis.verdict.abstained or ""))
            for analysis in analyses
            if analysis.source.kind == "unreadable"
        ),
    )


def evidence(analysis: Analysis) -> Grid:
    """What was measured for the class that the verdict names, what it is held against, and where it was read."""
    verdict = analysis.verdict
    return Grid(
        title="Evidence",
        columns=columns("evidence", ">value", "held against", "read in"),
        rows=tuple(
            _fact(fact) for share in verdict.shares if share.bottleneck == verdict.bottleneck for fact in share.evidence
        ),
    )


def other_evidence(analysis: Analysis) -> Grid:
    """The same for the other classes."""
    verdict = analysis.verdict
    return Grid(
        title="Evidence for the other classes",
        columns=columns("@class", "evidence", ">value", "held against", "read in"),
        rows=tuple(
            (class_name(share.bottleneck), *_fact(fact))
            for share in verdict.shares
            if share.bottleneck != verdict.bottleneck
            for fact in share.evidence
        ),
    )


def _fact(fact: Fact) -> tuple[str, ...]:
    return (
        plain(label(fact.measure)),
        figure(fact.value, fact.unit, "not observed"),
        plain(fact.threshold),
        plain(fact.where),
    )


def shares(analysis: Analysis) -> Grid:
    """Every class's part of the wall time, and what could be won back."""
    return Grid(
        title="Where the time went",
        columns=columns("@class", ">share", ">recoverable", ">at most", "first thing to try"),
        rows=tuple(
            (
                class_name(share.bottleneck),
                percent(share.share),
                duration(share.recoverable_s),
                gain(share.gain_ceiling_ratio) if share.recoverable_s > 0 else MISSING,
                plain(share.remedy),
            )
            for share in analysis.verdict.shares
        ),
    )


def devices(analysis: Analysis) -> Grid:
    """A trace's time by device; the parts of a row add up to its span."""
    return Grid(
        title="Time by GPU",
        columns=columns(
            ">GPU",
            ">span",
            ">compute",
            ">exposed\ncommunication",
            ">exposed\ncopies",
            ">idle: late\nlaunches",
            ">idle: device\nwaits",
        ),
        rows=tuple(
            (
                str(device.device),
                duration(device.span_s),
                *(
                    percent(part / device.span_s) if device.span_s else MISSING
                    for part in (
                        device.compute_s,
                        device.exposed_communication_s,
                        device.exposed_copy_s,
                        device.idle_launch_s,
                        device.idle_device_s,
                    )
                ),
            )
            for device in (analysis.budget.devices if analysis.budget else ())
        ),
    )


def idle(analysis: Analysis) -> Grid:
    """A trace's idle time by cause, longest first on each device."""
    return Grid(
        title="Idle time by cause",
        columns=columns(">GPU", ">idle", ">of span", "cause"),
        rows=tuple(
            (
                str(device.device),
                duration(seconds),
                percent(seconds / device.span_s) if device.span_s else MISSING,
                CAUSES[cause][1],
            )
            for device in (analysis.budget.devices if analysis.budget else ())
            for cause, seconds in sorted(device.idle.items(), key=lambda item: -item[1])
        ),
    )


def gpus(analysis: Analysis) -> Grid:
    """A run's mean readings, one row a quantity, one column a GPU."""
    found = analysis.budget.gpus if analysis.budget else ()
    names = tuple(dict.fromkeys(name for gpu in found for name in gpu.means))
    return Grid(
        title="GPU readings, means",
        columns=columns("quantity", *(f">GPU {gpu.device}" for gpu in found)),
        rows=tuple(
            (label(name), *(quantity(name, gpu.means.get(name), "not read") for gpu in found))
            for name in names
            if any(gpu.means.get(name) is not None for gpu in found)
        ),
    )


def steps(analysis: Analysis) -> Grid:
    """The LLM steps of a trace by phase of work; durations, batches and tokens are medians."""
    return Grid(
        title="Steps, medians",
        columns=columns("work", ">steps", ">duration", ">batch", ">tokens", ">tokens/s", ">idle", ">gap"),
        rows=tuple(
            (
                plain(group.phase),
                count(group.count),
                duration(group.duration_p50_s),
                number(group.batch_p50),
                number(group.tokens_p50),
                number(group.tokens_per_s),
                percent(group.idle_ratio),
                duration(group.gap_p50_s),
            )
            for group in (analysis.steps.groups if analysis.steps else ())
        ),
    )


def kernels(analysis: Analysis, limit: int | None = None) -> Grid:
    """The kernels by the time they took, names without their templates."""
    return Grid(
        title="Kernels by time",
        columns=columns(">share", ">total", ">count", ">mean", "family", "bound", "kernel"),
        rows=tuple(
            (
                percent(kernel.share),
                duration(kernel.total_s),
                count(kernel.count),
                duration(kernel.mean_s),
                plain(kernel.family, 20),
                plain(kernel.bound or "not known", 20),
                kernel_name(kernel.name, 80),
            )
            for kernel in (analysis.kernels or ())[:limit]
        ),
    )


def rooflines(analysis: Analysis) -> Grid:
    """How near its roof each family of kernels came, the one with the most time first; rates are lower bounds."""
    return Grid(
        title="Roofline by family, at least",
        columns=columns("family", ">time", ">known", "bound", ">of roof", ">FLOP/s", ">B/s", ">FLOP/B", "why not"),
        rows=tuple(
            (
                plain(row.family, 20),
                percent(row.time_share),
                percent(row.known_ratio),
                plain(row.bound or MISSING, 20),
                percent(row.efficiency_ratio),
                scaled(row.flops_per_s, ""),
                scaled(row.bytes_per_s, ""),
                number(row.intensity_flops_per_byte),
                plain(row.warning or row.reason or ""),
            )
            for row in (analysis.roofline.families if analysis.roofline else ())
        ),
    )


def step_rooflines(analysis: Analysis) -> Grid:
    """How near the roofs the steps of each phase came, medians; work and rates are lower bounds."""
    return Grid(
        title="Roofline by step, at least",
        columns=columns(
            "work", ">steps", ">bytes", ">FLOP", ">of memory\nroof", ">p10–p90", ">of compute\nroof", "told from", "but"
        ),
        rows=tuple(
            (
                plain(row.phase, 20),
                count(row.count),
                scaled(row.moved_bytes_p50, "B"),
                scaled(row.flops_p50, ""),
                percent(row.memory_roof_ratio_p50),
                f"{percent(row.memory_roof_ratio_p10)} – {percent(row.memory_roof_ratio_p90)}",
                percent(row.compute_roof_ratio_p50),
                plain(row.basis),
                plain(row.warning or ""),
            )
            for row in (analysis.roofline.steps if analysis.roofline else ())
        ),
    )


def stacks(analysis: Analysis) -> Grid:
    """What sampled threads were seen doing; shares of each thread's sampled time."""
    return Grid(
        title="Sampled stacks",
        columns=columns("thread", "mostly", ">itself", ">with what\nit calls", "function"),
        rows=tuple(
            (
                plain(frame.thread, 40),
                plain(frame.role, 40),
                percent(frame.self_share),
                percent(frame.total_share),
                plain(frame.name, 80),
            )
            for frame in analysis.stacks or ()
        ),
    )


def losses(analysis: Analysis) -> Grid:
    """What the importer could not use."""
    return Grid(
        title="Left out",
        columns=columns("what", ">count", "why"),
        rows=tuple((plain(label(loss.kind)), count(loss.count), plain(loss.note)) for loss in analysis.quality.losses),
    )
