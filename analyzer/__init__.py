"""CONCLUDE: turn a trace or a run folder into a verdict, a latency, a cost.

Offline and pure: no network, no clock, no globals. ``analyzer.pipeline`` tells the story on one page; the words
are in ``columns`` (what is read), ``evidence`` (what is reasoned) and ``schema`` (what is concluded).
"""
