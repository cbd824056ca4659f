"""Prices of GPUs: those that come along, and the user's own, which stand before them.

A row without a price, a date or a currency that is known is refused: a cost is only as good as its price. A price may
be a list of ``{from, usd_per_gpu_hour}`` where it changes. Nothing is ever fetched, and nothing is guessed: of a GPU
that no row fits the price is unknown.
"""

import datetime as dt
import re
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from analyzer.schema import Price, PriceChange
from collector.errors import UserError

#: A price that was read so long before it is used, or after, is warned of.
OLD_DAYS = 90
#: A file of prices is a few kB.
MAX_BYTES = 1 << 20
_LONGEST_MATCH = 200
_MOST_USD = 1e6
#: What a row does not say.
UNSTATED = "unstated"


class _Row(msgspec.Struct, forbid_unknown_fields=True):
    """One ``[[price]]`` of a file."""

    gpu: str
    usd_per_gpu_hour: Any
    read_on: Any
    match: str | None = None
    currency: str = "USD"
    provider: str = UNSTATED
    sku: str = UNSTATED
    region: str = UNSTATED
    market: str = "on-demand"
    source: str | None = None
    includes_power: bool = True


class _File(msgspec.Struct, forbid_unknown_fields=True):
    price: list[_Row]


class Prices:
    """Rows of prices, the first that fits a GPU being its default."""

    def __init__(self, rows: Sequence[tuple[str, Price]]) -> None:
        """Keep rows, each behind the regular expression that the driver's name must fit."""
        self._rows = tuple(rows)

    @property
    def rows(self) -> tuple[Price, ...]:
        """Every price, in order."""
        return tuple(price for _, price in self._rows)

    def of(self, gpu_name: str) -> tuple[Price, ...]:
        """Every price of a GPU by the driver's name for it."""
        return tuple(price for match, price in self._rows if re.search(match, gpu_name[:_LONGEST_MATCH]))

    def before(self, others: "Prices") -> "Prices":
        """These, then the others that none of these replaces."""
        own = {_identity(price) for price in self.rows}
        return Prices((*self._rows, *(row for row in others._rows if _identity(row[1]) not in own)))  # noqa: SLF001


def load_prices(own: Path | None = None) -> Prices:
    """The prices that come along, after those of the user's file.

    Raises:
        UserError: The file cannot be read, or a row of it is no price.
    """
    bundled = _parse(files("analyzer").joinpath("prices.toml").read_text("utf-8"), "prices.toml")
    return _read(own).before(bundled) if own else bundled


def own_price(gpu_name: str, usd_per_gpu_hour: float, *, includes_power: bool = True) -> Price:
    """A price the user gave in one figure."""
    return Price(
        gpu=gpu_name,
        usd_per_gpu_hour=usd_per_gpu_hour,
        provider="yours",
        sku="as given",
        region="as given",
        market="as given",
        source="--price",
        read_on="as given",
        includes_power=includes_power,
    )


def days_apart(price: Price, day: dt.date) -> int | None:
    """How many days lie between the day a price was read and another; None where it has no day."""
    try:
        return abs((day - dt.date.fromisoformat(price.read_on)).days)
    except ValueError:
        return None


def line_to_add(gpu_name: str, day: dt.date) -> str:
    """The line of TOML that would give a GPU a price, but for the figure."""
    name = re.sub(r'["\\\x00-\x1f]', "", gpu_name)[:80]
    return f'price = [{{gpu = "{name}", usd_per_gpu_hour = …, read_on = {day}}}]'


def _identity(price: Price) -> tuple[str, ...]:
    return price.gpu, price.provider, price.sku, price.region, price.market


def _read(path: Path) -> Prices:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(text) > MAX_BYTES:
        raise UserError(f"{path} is larger than any list of prices")
    try:
        return _parse(text.decode(), str(path))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not TOML: {error}") from error


def _parse(text: str, name: str) -> Prices:
    try:
        rows = msgspec.convert(tomllib.loads(text), _File).price
    except msgspec.ValidationError as error:
        raise UserError(f"{name} is no list of prices: {str(error)[:200]}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is not TOML: {str(error)[:200]}") from error
    return Prices([_row(row, name) for row in rows])


def _row(row: _Row, name: str) -> tuple[str, Price]:
    where = f"the price of “{row.gpu[:80]}” in {name}"
    if not row.gpu.strip():
        raise UserError(f"a price in {name} names no GPU")
    if row.currency != "USD":
        raise UserError(f"{where} is in {row.currency[:20]}: no other currency than USD is known, give it in dollars")
    if not isinstance(row.read_on, dt.date) or isinstance(row.read_on, dt.datetime):
        raise UserError(f"{where} needs the day it was read: read_on = 2026-11-21, without quotation marks")
    match = rf"\b{re.escape(row.gpu)}\b" if row.match is None else row.match
    try:
        re.compile(match)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"{where}: match is no regular expression: {str(error)[:100]}") from error
    changes = _changes(row.usd_per_gpu_hour, where) if isinstance(row.usd_per_gpu_hour, list) else ()
    usd = changes[-1].usd_per_gpu_hour if changes else _usd(row.usd_per_gpu_hour, where)
    return match, Price(
        gpu=row.gpu,
        usd_per_gpu_hour=usd,
        provider=row.provider,
        sku=row.sku,
        region=row.region,
        market=row.market,
        source=row.source or name,
        read_on=row.read_on.isoformat(),
        includes_power=row.includes_power,
        changes=changes,
    )


def _usd(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{where} is no number of dollars")
    if not 0 <= value <= _MOST_USD:
        raise UserError(f"{where} is {str(value)[:20]}: a price is zero dollars an hour or more, and not millions")
    return float(value)


def _changes(steps: list[object], where: str) -> tuple[PriceChange, ...]:
    found = []
    for step in steps:
        if not isinstance(step, dict) or step.keys() != {"from", "usd_per_gpu_hour"}:
            raise UserError(f"{where} changes: each step is {{from = 2026-11-21T08:00:00Z, usd_per_gpu_hour = 2.1}}")
        found.append(
            PriceChange(from_s=_instant_s(step["from"], where), usd_per_gpu_hour=_usd(step["usd_per_gpu_hour"], where))
        )
    if not found:
        raise UserError(f"{where} is an empty list")
    if any(later.from_s <= step.from_s for step, later in pairwise(found)):
        raise UserError(f"{where} changes in steps that are not in order of time")
    return tuple(found)


def _instant_s(value: object, where: str) -> float:
    """Seconds since the epoch; a bare day or hour is UTC's."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time())
    if not isinstance(value, dt.datetime):
        raise UserError(f"{where} changes from {str(value)[:40]!r}, which is no time such as 2026-11-21T08:00:00Z")
    return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).timestamp()
