"""A run folder's tables as frames; of a long run the roll-ups instead of every sample."""

from pathlib import Path

import numpy as np
import pandas as pd

from analyzer.columns import RunData
from analyzer.importers import Progress
from collector.catalogue import CATALOGUE
from collector.schema import Histogram, Request
from collector.store import Absence, RunReader

#: Most samples of a subject that are read: 2.7 hours at 10 Hz, then the roll-ups take over.
MAX_SAMPLES = 100_000
#: Most rows of a subject's roll-ups that are read: each holds four numbers a quantity.
MAX_ROLLUPS = MAX_SAMPLES // 4
#: Most scrapes of histograms that are read: 3.5 hours of eight of them once a second, then the last of each 10 s.
MAX_HISTOGRAMS = 100_000


def load(path: Path, progress: Progress | None = None) -> RunData:
    """Read a run into frames.

    Raises:
        UserError: The folder is damaged, cannot be read, or is from a newer Inferometer.
    """
    with RunReader.open(path) as reader:
        sources = reader.sources()
        samples = {}
        for done, source in enumerate(sources):
            samples[source] = _samples(reader, source)
            if progress:
                progress(done + 1, len(sources))
        return RunData(
            name=path.resolve().name,
            run=reader.run,
            samples=samples,
            histograms=_histograms(reader.last_histograms(max_rows=MAX_HISTOGRAMS)),
            requests=_requests(reader.requests()),
            events=tuple(reader.events()),
            absences=_last_reasons(reader.absences()),
            traces=reader.traces(),
        )


def _samples(reader: RunReader, source: str) -> pd.DataFrame:
    """One frame of a source; in a roll-up a gauge is its mean and a counter what it had climbed to.

    As a reading speaks of the time since the one before it, a roll-up is a reading at its last instant.
    """
    resolution_s = reader.resolution_for(source, max_rows=MAX_SAMPLES)
    if resolution_s:
        resolution_s = reader.resolution_for(source, max_rows=MAX_ROLLUPS)
    table = reader.samples(source, resolution_s=resolution_s)
    wanted = {
        quantity: f"{quantity}_max" if resolution_s and CATALOGUE[quantity].kind == "counter" else quantity
        for quantity in reader.quantities(source)
    }
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    place = {name: row for row, name in enumerate(table.columns)}
    t_ns = np.array(columns[place["t_ns"]], np.int64)
    if resolution_s:
        t_ns = np.minimum(t_ns + resolution_s * 10**9 - 1, reader.newest_ns() or 0)
    frame: dict[str, object] = {
        "t_ns": t_ns,
        "subject": pd.array(columns[place["subject"]], dtype="str"),
    }
    for quantity, column in wanted.items():
        values = np.array(columns[place[column]], np.float64)
        frame[quantity] = np.where(np.isfinite(values), values, np.nan)
    return pd.DataFrame(frame)


def _histograms(scrapes: list[Histogram]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "t_ns": np.array([scrape.t_ns for scrape in scrapes], np.int64),
            "subject": [scrape.subject for scrape in scrapes],
            "quantity": [scrape.quantity for scrape in scrapes],
            "edges": [scrape.edges for scrape in scrapes],
            "cumulative": [scrape.cumulative for scrape in scrapes],
            "sum": np.array([scrape.sum for scrape in scrapes], np.float64),
        },
    )


def _requests(requests: list[Request]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "t_ns": np.array([request.t_ns for request in requests], np.int64),
            "ttft_s": np.array([request.ttft_s for request in requests], np.float64),
            "e2e_latency_s": np.array([request.e2e_latency_s for request in requests], np.float64),
            "input_tokens": np.array([request.input_tokens for request in requests], np.float64),
            "output_tokens": np.array([request.output_tokens for request in requests], np.float64),
            "error": pd.array([request.error for request in requests], dtype="str"),
        },
    )


def _last_reasons(absences: list[Absence]) -> dict[str, str]:
    """The reason of each quantity that was still absent in the end."""
    last = {f"{absence.source}/{absence.subject}/{absence.quantity}": absence.reason for absence in absences}
    return {quantity: reason for quantity, reason in last.items() if reason is not None}
