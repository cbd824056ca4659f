"""The server's own metrics: what is missing, renamed, shared between processes, too coarse, or not as it was asked for.

Reads the page once and compares it with the engine's plugin. A verdict needs the requests that run: without them an
idle GPU that nobody asks looks like one that starves.
"""

import math
from collections.abc import Iterator
from itertools import chain

from collector import dialects
from collector.catalogue import CATALOGUE
from collector.checks import Finding, Found, Topic
from collector.checks import _buckets as buckets
from collector.checks._settings import contradicted
from collector.checks._world import ServerPage, World
from collector.schema import Absent, Histogram, Sample
from collector.scrape import SOURCE, SUBJECT
from collector.sources import Unavailable

TITLE = "Server metrics"

_FLAGS = (
    "metrics are on unless vLLM has --disable-log-stats; SGLang needs --enable-metrics, "
    "trtllm-serve return_perf_metrics"
)
_ONE_PROCESS = "one API server process (vLLM: --api-server-count 1)"
#: What rules cannot tell without a quantity; without the first of them a verdict abstains.
_VERDICT = {
    "requests_running": "low traffic cannot be told from starvation",
    "requests_waiting": "batching cannot be told from memory bandwidth",
    "front_end_cpu_seconds_total": "CPU preprocessing cannot be told from host overhead",
}
#: Shown only while the server speculates.
_SPECULATION = "spec_"


def check(world: World) -> Found:
    """Findings on the page, or the one that there is none."""
    page = world.page
    topic = Topic("page", "server", "verdict")
    if isinstance(page, Unavailable):
        reason, _, remedy = str(page).partition("; ")
        grants = (remedy, _FLAGS if world.options.endpoint else "")
        yield topic.missing(reason, "; ".join(filter(None, grants)))
        return
    yield Sample(t_ns=world.now_ns, source=SOURCE, subject=SUBJECT, values=page.scrape.values)
    name, version = page.engine.name, page.engine.version
    yield topic.ok(f"{name} {version or 'of unknown version'}", engine=name, version=version, model=page.engine.model)
    yield from _verdict(page)
    yield _quantities(page)
    yield from _names(page)
    yield _processes(page)
    yield _widths(page)
    yield from _settings(world, page)


def _verdict(page: ServerPage) -> Iterator[Finding]:
    """The quantities that rules read."""
    for name, loss in _VERDICT.items():
        topic = Topic(name, SUBJECT, "verdict")
        value = page.scrape.values.get(name, Absent("the mapping in the option generic has no family for it"))
        if isinstance(value, Absent):
            front_end = name.startswith("front_end") and page.scrape.engine == "vllm"
            lost, remedy = f"{value.reason}, so {loss}", _ONE_PROCESS if front_end else None
            yield topic.missing(lost, remedy) if name == "requests_running" else topic.degraded(lost, remedy)
        else:
            yield topic.ok("it is shown", value=value)


def _quantities(page: ServerPage) -> Finding:
    """Everything else that the plugin maps, histograms too."""
    mapped = {part.quantity for _, part in dialects.parts(page.plugin)}
    whole = {histogram.quantity for histogram in page.scrape.histograms}
    absent = {
        **{name: value.reason for name, value in page.scrape.values.items() if isinstance(value, Absent)},
        **{
            name: "no whole histogram of it is shown"
            for name in sorted(mapped - whole)
            if CATALOGUE[name].kind == "histogram"
        },
        **page.plugin.LACKS,
    }
    lacking = {
        name: reason
        for name, reason in absent.items()
        if name not in _VERDICT and not (name in mapped and name.startswith(_SPECULATION))
    }
    topic = Topic("quantities", SUBJECT)
    if not lacking:
        return topic.ok("everything that this engine has is shown (what it has of speculation, while it speculates)")
    many = f"{len(lacking)} of {len((mapped | page.plugin.LACKS.keys()) - _VERDICT.keys())}"
    return topic.degraded(f"{many} other quantities are not shown: {', '.join(lacking)}", absent=lacking)


def _names(page: ServerPage) -> Iterator[Finding]:
    """Families under a name that the engine has given up, or that somebody rewrote."""
    topic = Topic("names", SUBJECT)
    types = (line.split() for line in page.text.split("\n") if line.startswith("# TYPE "))
    shown = set(chain.from_iterable(words[2:3] for words in types))
    rewritten = [
        family
        for family in page.plugin.FAMILIES
        if ":" in family and family not in shown and family.replace(":", "_", 1) in shown
    ]
    newest: dict[str, str] = {}
    old = {}
    for family, quantity in page.plugin.FAMILIES.items():
        # Where a quantity has several plain names, the first is the one of today.
        if isinstance(quantity, str):
            today = newest.setdefault(quantity, family)
            if family != today and family in shown and not {today, today.replace(":", "_", 1)} & shown:
                old[family] = today
    if old:
        named = ", ".join(f"{family} (now {today})" for family, today in old.items())
        yield topic.degraded(
            f"older names are shown, and read all the same: {named}",
            "a newer release of the server; a board or an alert made for one name shows nothing with the other",
            renamed=old,
        )
    if rewritten:
        yield topic.degraded(
            f"{len(rewritten)} families have “_” for “:”, so something between rewrites them",
            "give the address of the server itself",
            rewritten=tuple(rewritten),
        )
    if not old and not rewritten:
        yield topic.ok("families have the names of today")


def _processes(page: ServerPage) -> Finding:
    topic, count = Topic("one_process", SUBJECT), page.scrape.processes
    if count > 1:
        shared = f"{count} processes show gauges of their own on one page, often as zero; the largest is taken"
        return topic.degraded(shared, _ONE_PROCESS, processes=count)
    return topic.ok("no gauge is split between processes")


def _widths(page: ServerPage) -> Finding:
    """Whether the latencies seen are known to ±20 %."""
    topic = Topic("buckets", SUBJECT)
    timed = {each.quantity: each for each in page.scrape.histograms if CATALOGUE[each.quantity].unit == "s"}
    judged = {name: each for name, each in timed.items() if each.edges and buckets.intervals(each)}
    coarse = {name: each for name, each in judged.items() if buckets.wide(each)}
    if not judged:
        few = "too few latencies were seen since the server's start to hold its buckets against them"
        return topic.degraded(few, "ask again after some hundred requests")
    if not coarse:
        return topic.ok("the latencies seen are known to ±20 %")
    known = {name: _widths_of(each) for name, each in coarse.items()}
    widths = " · ".join(f"{name} {words}" for name, words in known.items())
    line = buckets.line(page.scrape.engine, page.engine.version, judged)
    return topic.degraded(f"buckets wider than ±20 % hold {widths}", line, intervals=known)


def _widths_of(histogram: Histogram) -> str:
    """Its too wide intervals in words, with the percentiles that share one."""
    shared: dict[tuple[float, float], list[str]] = {}
    for q, bucket in buckets.wide(histogram).items():
        shared.setdefault(bucket, []).append(f"p{100 * q:g}")
    return ", ".join(
        f"{'/'.join(names)} {f'> {low:g}' if math.isinf(high) else f'{low:g}–{high:g}'} s"
        for (low, high), names in shared.items()
    )


def _settings(world: World, page: ServerPage) -> Iterator[Finding]:
    """Flags that did not take effect."""
    topic, tree = Topic("settings", SUBJECT), world.tree
    if isinstance(tree, Unavailable) or not tree.command:
        unread = "the server's command line cannot be read, so no flag is compared with what took effect"
        yield topic.degraded(unread, str(tree).partition("; ")[2] if isinstance(tree, Unavailable) else None)
        return
    if not page.engine.settings:
        yield topic.degraded("the server states no settings to compare its flags with")
        return
    wrong = list(contradicted(tree.command, page.engine.settings))
    for flag, given, has in wrong:
        yield topic.degraded(
            f"{f'{flag} {given}'.strip()} was given, but the server says {has}",
            "look for the flag in the server's log; another process may be answering at this address",
            flag=flag,
            given=given,
            has=has,
        )
    if not wrong:
        yield topic.ok(f"no flag contradicts the {len(page.engine.settings)} settings that the server states")
