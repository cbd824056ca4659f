"""Progress: nothing for short work, lines in a log, a bar on a terminal."""

import io

from rich.console import Console

from inferometer._progress import progress


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_short_work_is_silent() -> None:
    out, clock = io.StringIO(), Clock()
    with progress("reading", Console(file=out), clock) as report:
        clock.now_s = 1.9
        report(1, 2)

    assert out.getvalue() == ""


def test_long_work_says_where_it_is_now_and_then() -> None:
    out, clock = io.StringIO(), Clock()
    with progress("reading [b]a.json[/b]", Console(file=out), clock) as report:
        for tenth in range(100):
            clock.now_s = tenth / 10
            report(tenth, 100)

    assert out.getvalue().splitlines() == [f"reading [b]a.json[/b]: {part} % …" for part in (20, 40, 60, 80)]


def test_work_of_unknown_size_says_that_it_goes_on() -> None:
    out, clock = io.StringIO(), Clock()
    with progress("reading", Console(file=out), clock) as report:
        clock.now_s = 3.0
        report(5, 0)

    assert out.getvalue() == "reading …\n"


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    out = io.StringIO()
    with progress("reading [b]a.json[/b]", Console(file=out, force_terminal=True, width=80)) as report:
        report(1, 2)

    assert "reading [b]a.json[/b]" in out.getvalue()
    assert out.getvalue().endswith("\x1b[2K")
