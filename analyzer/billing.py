"""What a server is billed between any two instants: price, GPUs, the share of them, and power where it comes on top.

Time is money here whether anything ran or not. A price that changed is applied from when on it held; before its first
step nothing can be billed.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from analyzer.columns import Float64, Int64, RunData
from analyzer.energy import joules
from analyzer.gpu_share import gpu_share
from analyzer.prices import OLD_DAYS, Prices, days_apart, line_to_add, load_prices, own_price
from analyzer.schema import GpuShare, Price, PriceChange
from analyzer.windows import extent
from collector.errors import UserError

_NS_PER_HOUR = 3.6e12
_JOULES_PER_KWH = 3.6e6
_WHOLE = GpuShare(ratio=1.0, origin="whole")


@dataclass(frozen=True, kw_only=True)
class Pricing:
    """What the user said about prices; the defaults are the list price of every GPU of a run, power included."""

    usd_per_gpu_hour: float | None = None
    prices: Prices = field(default_factory=load_prices)
    #: Of electricity, added where a price leaves it out; and the energy of the building over that of its servers.
    usd_per_kwh: float | None = None
    pue: float = 1.0
    #: As ``analyzer.gpu_share`` reads it; None is the whole of each GPU.
    gpu_share: str | None = None
    #: GPUs of the replica; None is all that the run names.
    gpus: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no bill can say."""
        for name, value, least in (
            ("the price of a GPU-hour", self.usd_per_gpu_hour, 0),
            ("the price of a kWh", self.usd_per_kwh, 0),
            ("the PUE", self.pue, 1),
        ):
            if value is not None and not least <= value < np.inf:
                raise UserError(f"{name} is {value:g}: it is {least} or more")


@dataclass(frozen=True, kw_only=True)
class Meter:
    """The bill of one run at one price."""

    data: RunData
    price: Price
    gpus: int
    share: GpuShare = _WHOLE
    #: Dollars for a kWh at the GPU's board, PUE included; 0 where the price includes it.
    usd_per_kwh: float = 0.0

    def gpu_usd(self, start: Int64, end: Int64) -> Float64:
        """Dollars for the GPUs in each window, NaN before the first step of a price; shape (n,)."""
        steps = self.price.changes or (PriceChange(from_s=-np.inf, usd_per_gpu_hour=self.price.usd_per_gpu_hour),)
        begins = np.array([step.from_s * 1e9 for step in steps])
        usd = np.zeros(len(start))
        for step, low, high in zip(steps, begins, [*begins[1:], np.inf], strict=True):
            held_ns = np.maximum(np.minimum(end, high) - np.maximum(start, low), 0)
            usd += step.usd_per_gpu_hour * held_ns / _NS_PER_HOUR
        return np.where(start < begins[0], np.nan, usd * self.gpus * self.share.ratio)

    def power_usd(self, start: Int64, end: Int64) -> Float64:
        """Dollars for electricity that the price leaves out, as far as energy was read; shape (n,)."""
        drawn = joules(self.data, start, end) if self.usd_per_kwh else None
        if drawn is None:
            return np.zeros(len(start))
        return np.nan_to_num(drawn) / _JOULES_PER_KWH * self.usd_per_kwh * self.share.ratio

    def usd(self, start: Int64, end: Int64) -> Float64:
        """Dollars in each window, shape (n,)."""
        return self.gpu_usd(start, end) + self.power_usd(start, end)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a run is billed by."""

    price: Price | None
    gpus: int
    share: GpuShare = _WHOLE
    usd_per_kwh: float = 0.0
    #: Every price that is known for the GPU.
    offers: tuple[Price, ...] = ()
    #: Why there is no price.
    reason: str | None = None
    warnings: tuple[str, ...] = ()

    def meter(self, data: RunData, price: Price | None) -> Meter | None:
        """The bill at a price; None where there is nothing to bill."""
        if price is None or not self.gpus:
            return None
        kwh = 0.0 if price.includes_power else self.usd_per_kwh
        return Meter(data=data, price=price, gpus=self.gpus, share=self.share, usd_per_kwh=kwh)


def terms(data: RunData, pricing: Pricing) -> Terms:
    """What a run is billed by, with everything about it that a reader must know.

    Raises:
        UserError: The share of the GPU that was asked for cannot be told.
    """
    gpu = data.run.gpus[0].name if data.run.gpus else ""
    listed = pricing.prices.of(gpu) if gpu else ()
    day = dt.datetime.fromtimestamp(extent(data)[0] / 1e9, dt.UTC).date()
    if pricing.usd_per_gpu_hour is not None:
        # Whoever names the price of electricity beside that of a GPU has a price without it.
        own = own_price(gpu, pricing.usd_per_gpu_hour, includes_power=pricing.usd_per_kwh is None)
        listed = (own, *listed)
    price = listed[0] if listed else None
    unknown = f"no price for {gpu[:80]}: give it with --price, or in a file for --prices: {line_to_add(gpu, day)}"
    return Terms(
        price=price,
        gpus=len(data.run.gpus) if pricing.gpus is None else pricing.gpus,
        share=_WHOLE if pricing.gpu_share is None else gpu_share(pricing.gpu_share, data),
        usd_per_kwh=(pricing.usd_per_kwh or 0.0) * pricing.pue,
        offers=listed,
        reason=None if price else unknown,
        warnings=tuple(_warnings(data, price, pricing, day)) if price else (),
    )


def mean_price(meter: Meter, first: int, last: int) -> Price:
    """The price as a run had it: its mean where it changed."""
    if not meter.price.changes or last <= first:
        return meter.price
    hours = (last - first) / _NS_PER_HOUR * meter.gpus * meter.share.ratio
    (usd,) = meter.gpu_usd(np.array([first]), np.array([last]))
    return replace(meter.price, usd_per_gpu_hour=float(usd) / hours) if np.isfinite(usd) else meter.price


def _warnings(data: RunData, price: Price, pricing: Pricing, day: dt.date) -> Sequence[str]:
    said = []
    days = days_apart(price, day)
    if days is not None and days > OLD_DAYS:
        said.append(f"the price was read on {price.read_on}, {days} days from this run: check it")
    if len({gpu.name for gpu in data.run.gpus}) > 1:
        said.append("the GPUs of this run are not all of one kind, and all are billed at the price of the first")
    if price.includes_power and pricing.usd_per_kwh is not None:
        said.append("the price includes power, so that of a kWh is not added")
    if not price.includes_power and pricing.usd_per_kwh is None:
        said.append("the price leaves power out, which is not billed here: give --usd-per-kwh")
    if not price.includes_power and pricing.usd_per_kwh is not None:
        read = joules(data, *(np.array([edge]) for edge in extent(data)))
        if read is None:
            said.append("no energy was recorded, so power is not billed")
    return said
