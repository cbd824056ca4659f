"""The answer on a terminal: verdict, evidence, remedy, latency, cost; one screen of 80 × 24 unless asked for more."""

from collections.abc import Sequence
from typing import NamedTuple, TextIO

from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from analyzer.reports._terminal import bar, chip, console, legend, table
from analyzer.schema import Analysis, Comparison, RunComparison
from analyzer.tables import comparison, lines, ranks, run_comparison
from analyzer.tables import every as tables
from analyzer.tables import runs as run_tables
from analyzer.tables.grid import Grid
from analyzer.wording import plain

SUFFIX = ".txt"

#: What the topics take, with the space behind them.
_GUTTER = 9
#: Parts of a difference on one screen.
_PARTS = 12
_PART_COLUMNS = ("µs", "", "count", "what")
#: The longest kernels say most.
_KERNELS = 5
_KERNEL_COLUMNS = ("share", "total", "count", "bound", "kernel")
_STACK_COLUMNS = ("thread", "mostly", "itself", "function")
_LATENCY_COLUMNS = ("measure", "n", "p50", "p95", "p99")
_MORE = "Name one of them for its evidence, or add --full to see everything."
#: A screen of 24 lines less the prompt.
_SCREEN_LINES = 23


class _Room(NamedTuple):
    """How much a screen shows."""

    facts: int
    rows: int
    #: Characters of a paragraph.
    words: int
    wrap: bool


#: Tried in turn until the screen is not overrun.
_ROOMS = (
    _Room(facts=5, rows=12, words=1000, wrap=True),
    _Room(facts=3, rows=8, words=1000, wrap=True),
    _Room(facts=3, rows=8, words=140, wrap=False),
    _Room(facts=2, rows=8, words=140, wrap=False),
    _Room(facts=2, rows=5, words=140, wrap=False),
    _Room(facts=1, rows=3, words=70, wrap=False),
)


def write(analyses: Sequence[Analysis], out: TextIO, *, full: bool) -> None:
    """Write one screen, or with ``full`` everything; several sources share one table."""
    terminal = console(out)
    # Captured, so that a reader who goes away is noticed by whoever opened the stream.
    with terminal.capture() as captured:
        if full:
            for analysis in analyses:
                terminal.print(_everything(analysis, terminal.width))
            terminal.print(Group(*_ranks(analyses, terminal.width)))
        elif len(analyses) == 1:
            terminal.print(_screen(analyses[0], terminal))
        else:
            terminal.print(_side_by_side(analyses, terminal.width))
    text = captured.get()
    out.write("".join(f"{line.rstrip()}\n" for line in text.splitlines()))


def write_comparison(found: Comparison | RunComparison, out: TextIO, *, full: bool) -> None:
    """Write what explains a difference, or what changed: the largest parts of it, or with ``full`` all."""
    terminal = console(out)
    if isinstance(found, Comparison):
        blocks = _traces_compared(found, terminal.width, full=full)
    else:
        blocks = _runs_compared(found, terminal.width, full=full)
    with terminal.capture() as captured:
        terminal.print(Group(*blocks))
    out.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _traces_compared(found: Comparison, width: int, *, full: bool) -> list[RenderableType]:
    sides = comparison.side(found.before), comparison.side(found.after)
    blocks = _compared(sides, comparison.headline(found), found.notes)
    if any(part.difference_s for part in found.parts):
        parts = comparison.waterfall(found, None if full else _PARTS)
        blocks += [Text(), table(parts, width, wrap=full, only=None if full else _PART_COLUMNS)]
        if len(found.steps) > 1:
            blocks += [Text(), table(comparison.steps(found), width)]
    return blocks


def _runs_compared(found: RunComparison, width: int, *, full: bool) -> list[RenderableType]:
    sides = run_comparison.side(found.before), run_comparison.side(found.after)
    blocks = _compared(sides, run_comparison.headline(found), found.notes)
    if found.identical and not full:
        return blocks
    for grid in (run_comparison.overall(found, full=full), *run_comparison.phases(found, full=full)):
        blocks += [Text(), Text(grid.title, style="bold"), table(grid, width, wrap=full)]
    return blocks


def _compared(sides: Sequence[str], headline: str, notes: Sequence[str]) -> list[RenderableType]:
    """The two sides, what is to be said first, and what to know before trusting it."""
    said = _said()
    for topic, text in zip("AB", sides, strict=True):
        said.add_row(topic, _line(text))
    return [said, Text(), Text(headline, style="bold"), *(Text(plain(note)) for note in notes)]


def _side_by_side(analyses: Sequence[Analysis], width: int) -> Group:
    blocks: list[RenderableType] = [table(tables.sources(analyses), width), Text()]
    unusable = tables.unusable(analyses)
    if unusable.rows:
        blocks += [table(unusable, width, wrap=True), Text()]
    return Group(*blocks, *_ranks(analyses, width), Text(_MORE, style="dim"))


def _ranks(analyses: Sequence[Analysis], width: int) -> list[RenderableType]:
    """The ranks of each job beside each other."""
    blocks: list[RenderableType] = []
    for grid, sentences in ranks.jobs(analyses):
        blocks += [Text(grid.title, style="bold"), table(grid, width), *map(Text, sentences), Text()]
    return blocks


def _screen(analysis: Analysis, terminal: Console) -> RenderableType:
    for room in _ROOMS:
        shown = _summary(analysis, terminal.width, room)
        if len(terminal.render_lines(shown, pad=False)) <= _SCREEN_LINES:
            break
    return shown


def _summary(analysis: Analysis, width: int, room: _Room) -> Group:
    said = _said()
    facts = tables.evidence(analysis)
    if facts.rows:
        titles = [column.title for column in facts.columns if room.wrap or column.title != "read in"]
        shown = table(facts.head(room.facts), width - _GUTTER, wrap=room.wrap, only=titles, header=False)
        said.add_row("because", shown)
    _say(said, "try", lines.remedy(analysis.verdict), room.words)
    for topic, paragraphs in lines.topics(analysis):
        if topic == "quality":
            _say(said, topic, paragraphs[: 4 if room.wrap else 2], room.words if room.wrap else width - _GUTTER)
        elif topic != "GPU" or not run_tables.parts(analysis, "phases"):
            _say(said, topic, paragraphs, room.words)
    return Group(*_head(analysis, width), Text(), said, *_details(analysis, width, room))


def _head(analysis: Analysis, width: int) -> list[RenderableType]:
    """What was analysed, the verdict, and the bar of shares."""
    found = analysis.verdict
    name = found.bottleneck if found.abstained is None else "unknown"
    blocks: list[RenderableType] = [
        _line(f"{plain(analysis.source.name, 60)} · {lines.source(analysis)}"),
        Text.assemble(chip(name), " ", (lines.verdict(found), "bold")),
    ]
    if found.shares:
        blocks += [bar(found.shares, width), legend(found.shares, width)]
    return blocks


def _details(analysis: Analysis, width: int, room: _Room) -> list[RenderableType]:
    """The table beneath: the phases of a run, else its latency; the kernels of a trace."""
    phases = run_tables.overview(analysis, "phases")
    kernels = tables.kernels(analysis)
    if phases.rows:
        # The first line of its header is nearly empty: no blank line is needed above it.
        return _some(phases, width, room.rows, "phases")
    if kernels.rows:
        return [Text(), *_some(kernels, width, min(room.rows, _KERNELS), "kernels", _KERNEL_COLUMNS)]
    stacks = tables.stacks(analysis)
    if stacks.rows:
        return [Text(), *_some(stacks, width, room.rows, "functions", _STACK_COLUMNS)]
    if analysis.latency is not None and analysis.latency.overall.stats:
        return [Text(), table(run_tables.latency([analysis.latency.overall]), width, only=_LATENCY_COLUMNS)]
    return []


def _some(grid: Grid, width: int, rows: int, what: str, only: Sequence[str] | None = None) -> list[RenderableType]:
    """The first rows of a table, and how many more there are."""
    hidden = len(grid.rows) - rows
    more = [Text(f"and {hidden} more {what}: --full", style="dim")] if hidden > 0 else []
    return [table(grid.head(rows), width, only=only), *more]


def _everything(analysis: Analysis, width: int) -> Group:
    said = _said()
    _say(said, "try", lines.remedy(analysis.verdict))
    for topic, paragraphs in lines.topics(analysis):
        _say(said, topic, paragraphs)
    blocks: list[RenderableType] = [Rule(style="dim"), *_head(analysis, width), Text(), said]
    for grid in tables.judged(analysis) + tables.measured(analysis):
        blocks += [Text(), Text(grid.title, style="bold"), table(grid, width, wrap=True)]
    return Group(*blocks)


def _said() -> Table:
    """An empty list of paragraphs, each behind its topic."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column()
    return made


def _say(said: Table, topic: str, paragraphs: Sequence[str], words: int | None = None) -> None:
    for index, paragraph in enumerate(paragraphs):
        text = Text(paragraph)
        text.truncate(words or len(paragraph), overflow="ellipsis")
        said.add_row("" if index else topic, text)


def _line(text: str) -> Text:
    """One line, cut where the screen ends."""
    return Text(text, no_wrap=True, overflow="ellipsis")
