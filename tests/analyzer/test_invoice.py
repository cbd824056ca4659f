"""The identity: whatever a run went through, what it paid for adds up to its bill, to the cent."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer import cost as costing
from analyzer.billing import Pricing, Terms, terms
from analyzer.columns import RunData
from analyzer.gpu_share import mig_shares
from analyzer.invoice import rounded
from analyzer.prices import Prices, own_price
from analyzer.schema import Cost, GpuShare, Invoice, InvoicePart, Price, PriceChange
from collector.errors import UserError
from tests import builders
from tests.analyzer.runs import at, gpu, request, run, serving, spans

HOUR_S = 3600.0
CENT = 0.005


# ------------------------------------------------------------------------------------------------ generated runs


@dataclass(frozen=True)
class Life:
    """A server's life by the minute: None where it did not answer, else the requests it had running."""

    minutes: tuple[int | None, ...]
    ok: tuple[int, ...]
    failed: tuple[int, ...]
    #: Whether counters begin anew after each silence.
    restarts: bool
    #: Dollars a GPU-hour from a minute on, the first from minute 0.
    prices: tuple[tuple[int, int], ...]
    gpus: int
    profile: str | None
    in_slo: float | None

    @property
    def share(self) -> float:
        return mig_shares([self.profile], 80.0)[0][0] if self.profile else 1.0

    def minute_usd(self, minute: int) -> Fraction:
        (usd,) = [usd for begins, usd in self.prices if begins <= minute][-1:]
        return Fraction(usd) * self.gpus * Fraction(self.share) / 60

    def usd(self, minutes: list[int]) -> float:
        return float(sum((self.minute_usd(minute) for minute in minutes), Fraction(0)))


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """Stretches of work, of idleness and of silence, each longer than the gap that counts as one."""
    stretches = draw(
        st.lists(st.tuples(st.sampled_from("wis"), st.integers(5, 12)), min_size=1, max_size=7).filter(
            lambda found: any(kind != "s" for kind, _ in found)
        )
    )
    running = {"w": st.integers(1, 300), "i": st.just(0), "s": st.none()}
    minutes = [draw(running[kind]) for kind, length in stretches for _ in range(length)]
    count = len(minutes)
    ended = [st.integers(0, 9) if busy else st.just(0) for busy in minutes]
    begins = sorted(draw(st.sets(st.integers(1, count), max_size=3)))
    return Life(
        minutes=tuple(minutes),
        ok=tuple(draw(each) for each in ended),
        failed=tuple(draw(each) for each in ended),
        restarts=draw(st.booleans()),
        prices=tuple((minute, draw(st.integers(0, 10_000))) for minute in (0, *begins)),
        gpus=draw(st.integers(1, 16)),
        profile=draw(st.sampled_from([None, "1g.10gb", "2g.20gb", "3g.40gb"])),
        in_slo=draw(st.none() | st.floats(0, 1)),
    )


def recorded(life: Life) -> RunData:
    """What a collector that was there throughout wrote of it, from two engines that share the work."""
    count = len(life.minutes)
    frames = [gpu(60.0 * count, hz=1 / 60)]
    for engine in range(2):
        rows: list[tuple[int, float, int, int]] = []
        ok = failed = 0
        for minute, busy in enumerate(life.minutes):
            if busy is None:
                ok, failed = (0, 0) if life.restarts else (ok, failed)
                continue
            rows.append((minute, float(busy) if engine == minute % 2 else 0.0, ok, failed))
            # One engine ends all requests: the other has counters that stand still.
            ok, failed = (ok + life.ok[minute], failed + life.failed[minute]) if engine == 0 else (0, 0)
        columns = np.array(rows, np.float64).T
        frame = serving(60.0 * (len(rows) - 1), hz=1 / 60, subject=f"engine:{engine}", requests_running=columns[1])
        frame["t_ns"] = [at(60 * minute) for minute, *_ in rows]
        frame["requests_ok_total"], frame["requests_failed_total"] = columns[2], columns[3]
        frames.append(frame)
    return run(*frames)


def billed(life: Life) -> Cost:
    price = Price(
        **{name: getattr(builders.price(), name) for name in ("gpu", "provider", "sku", "region", "source", "read_on")},
        market="spot",
        usd_per_gpu_hour=life.prices[-1][1],
        changes=tuple(PriceChange(from_s=at(60 * begins) / 1e9, usd_per_gpu_hour=usd) for begins, usd in life.prices),
    )
    share = GpuShare(ratio=life.share, origin="mig")
    found = Terms(price=price, gpus=life.gpus, share=share)
    return costing.cost(recorded(life), found, *spans(0, 60 * len(life.minutes)), [life.in_slo])


def truth(life: Life) -> dict[str, float]:
    """The same bill minute by minute, in fractions."""
    count = len(life.minutes)
    read = [minute for minute, busy in enumerate(life.minutes) if busy is not None]
    # A reading stands until the next one; a silence begins with the last reading before it.
    served = [first for first, second in pairwise([*read, count]) if second == first + 1]
    busy = [minute for minute in served if life.minutes[minute]]
    startup = list(range(read[0]))
    draining: list[int] = []
    if read[-1] < count - 1:
        draining = [minute for minute in range(count) if minute > max(busy, default=-1) and minute in served]
        draining += range(read[-1], count)
    silent = [m for first, second in pairwise(read) if second > first + 1 for m in range(first, second)]
    silences = [(first, second) for first, second in pairwise(read) if second > first + 1]
    for first, second in silences:
        # Only a counter that had counted can be seen to begin anew.
        if life.restarts and _fell(life, first, second):
            startup += range(first, second)
    unobserved = [minute for minute in silent if minute not in startup]
    draining = [minute for minute in draining if minute not in startup and minute not in unobserved]
    idle = [minute for minute in served if minute not in busy and minute not in draining]
    return {
        "startup": life.usd(startup),
        "busy": life.usd(busy),
        "idle": life.usd(idle),
        "draining": life.usd(draining),
        "unobserved": life.usd(unobserved),
    }


def _fell(life: Life, first: int, second: int) -> bool:
    """Whether a counter of the engine showed less after a silence than before it."""
    begins = max((m for m in range(first + 1) if life.minutes[m] is None), default=-1) + 1
    return second > first and any(sum(counted[begins:first]) > 0 for counted in (life.ok, life.failed))


@given(lives())
def test_the_parts_of_an_invoice_are_the_bill_to_the_cent(life: Life) -> None:
    found = billed(life)

    assert found.invoice is not None
    whole = life.usd(list(range(len(life.minutes))))
    assert whole == pytest.approx(found.invoice.usd, abs=CENT)
    assert whole == pytest.approx(sum(part.usd for part in found.invoice.parts), abs=CENT)
    assert whole == pytest.approx(found.overall.usd, abs=CENT)
    assert all(part.usd >= 0 and part.seconds >= 0 for part in found.invoice.parts)
    assert 60 * len(life.minutes) == pytest.approx(sum(part.seconds for part in found.invoice.parts))
    assert round(Decimal(found.invoice.usd), 2) == sum(rounded(found.invoice, 2))


@given(lives())
def test_each_part_is_what_was_paid_while_it_lasted(life: Life) -> None:
    invoice = billed(life).invoice
    assert invoice is not None
    parts = {part.part: part.usd for part in invoice.parts}

    requests = ("answered", "in_slo", "out_of_slo", "failed", "unfinished")
    found = {name: parts.get(name, 0.0) for name in ("startup", "idle", "draining", "unobserved")}
    assert truth(life) == pytest.approx(found | {"busy": sum(parts.get(name, 0.0) for name in requests)}, abs=CENT)


@given(lives())
def test_requests_share_the_busy_time_by_their_number_and_answers_by_their_slo(life: Life) -> None:
    found = billed(life)
    assert found.invoice is not None
    parts = {part.part: part.usd for part in found.invoice.parts}
    ok, failed = found.overall.requests_ok or 0, found.overall.requests_failed or 0
    busy = truth(life)["busy"]

    if not ok + failed:
        assert busy == pytest.approx(parts.get("unfinished", 0.0), abs=CENT)
        return
    assert busy * failed / (ok + failed) == pytest.approx(parts["failed"], abs=CENT)
    if life.in_slo is None:
        assert "in_slo" not in parts
    else:
        assert busy * ok / (ok + failed) * life.in_slo == pytest.approx(parts["in_slo"], abs=CENT)


# ---------------------------------------------------------------------------------------------------- by hand


def part(invoice: Invoice | None, name: str) -> InvoicePart:
    assert invoice is not None
    return next(item for item in invoice.parts if item.part == name)


def test_a_server_that_loads_for_a_quarter_of_its_time_paid_a_quarter_for_it() -> None:
    data = run(gpu(400, hz=1), serving(300, at_s=100, requests_ok_total=np.arange(301)))

    found = costing.cost(data, Terms(price=own_price("H100", 36.0), gpus=1), *spans(0, 400))

    assert (1.0, 100.0) == pytest.approx((part(found.invoice, "startup").usd, part(found.invoice, "startup").seconds))
    assert 3.0 == pytest.approx(part(found.invoice, "answered").usd)
    # The time before the first answer is in the price of each.
    assert 1000 * 4.0 / 300 == pytest.approx(found.overall.usd_per_1000)


def test_without_a_success_the_bill_is_whole_and_a_thousand_has_no_price() -> None:
    data = run(serving(HOUR_S, hz=1 / 60, requests_ok_total=0, requests_failed_total=np.arange(61)))

    found = costing.cost(data, Terms(price=own_price("H100", 6.88), gpus=1), *spans(0, HOUR_S))

    assert 6.88 == pytest.approx(part(found.invoice, "failed").usd)
    assert (None, "no request succeeded in this time") == (found.overall.usd_per_1000, found.overall.reason)


def test_before_its_first_step_a_price_says_nothing() -> None:
    late = Price(**(vars(builders.price()) | {"changes": (PriceChange(from_s=at(5) / 1e9, usd_per_gpu_hour=1.0),)}))

    found = costing.cost(run(serving(10, requests_ok_total=np.arange(11))), Terms(price=late, gpus=1), *spans(0, 5, 11))

    assert found.invoice is None
    assert found.overall.usd is None
    assert "has no price before 2026-11-21" in (found.overall.reason or "")
    assert found.windows[0].usd is None
    assert found.windows[1].usd == pytest.approx(6 / 3600, rel=1e-6)


def test_a_price_that_changed_is_shown_as_its_mean() -> None:
    steps = tuple(PriceChange(from_s=at(when) / 1e9, usd_per_gpu_hour=usd) for when, usd in ((-5, 2.0), (30, 6.0)))
    price = Price(**(vars(builders.price()) | {"usd_per_gpu_hour": 6.0, "changes": steps}))

    known = Terms(price=price, gpus=3, offers=(price,))
    found = costing.cost(run(serving(40, requests_ok_total=1)), known, *spans(0, 40))

    assert found.price is not None
    assert 3.0 == pytest.approx(found.price.usd_per_gpu_hour)
    assert [found.price] == [offer.price for offer in found.offers]


def test_answers_within_their_slo_carry_the_whole_bill() -> None:
    data = run(serving(HOUR_S, hz=1 / HOUR_S, requests_ok_total=[0, 1000]))

    found = costing.cost(data, Terms(price=own_price("H100", 8.0), gpus=1), *spans(0, HOUR_S), [0.5])
    none = costing.cost(data, Terms(price=own_price("H100", 8.0), gpus=1), *spans(0, HOUR_S), [0.0])

    assert (8.0, 16.0) == pytest.approx((found.overall.usd_per_1000, found.overall.usd_per_1000_slo))
    assert none.overall.usd_per_1000_slo is None


def test_input_and_output_tokens_together_cost_what_was_paid() -> None:
    data = run(serving(HOUR_S, hz=1 / HOUR_S, input_tokens_total=[0, 6e6], output_tokens_total=[0, 1e6]))

    found = costing.cost(data, Terms(price=own_price("H100", 5.0), gpus=1), *spans(0, HOUR_S)).overall

    prices = (found.usd_per_million_input_tokens, found.usd_per_million_output_tokens)
    assert (0.5, 2.0) == pytest.approx(prices)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=8), st.integers(0, 6))
def test_what_is_printed_adds_up_to_what_is_printed(usd: list[float], decimals: int) -> None:
    parts = tuple(InvoicePart(part="idle", usd=each, seconds=1.0) for each in usd)
    invoice = Invoice(usd=sum(usd), power_usd=0.0, parts=parts)

    printed = rounded(invoice, decimals)

    assert round(Decimal(sum(usd)), decimals) == sum(printed)
    unit = Decimal(1).scaleb(-decimals)
    assert all(abs(Decimal(exact) - shown) <= unit for exact, shown in zip(usd, printed, strict=True))


# ------------------------------------------------------------------------------------------------- terms, power


def owned(**fields: float) -> Pricing:
    return Pricing(prices=Prices([]), usd_per_gpu_hour=2.0, **fields)  # type: ignore[arg-type]


def energy(watts: float) -> RunData:
    """An hour of one GPU at a steady power."""
    joules = [0, watts * HOUR_S]
    return run(
        gpu(HOUR_S, hz=1 / HOUR_S, power_watts=watts, energy_joules_total=joules),
        serving(HOUR_S, hz=1 / HOUR_S, requests_ok_total=[0, 100], output_tokens_total=[0, 1000]),
    )


def test_power_comes_on_top_of_a_price_that_leaves_it_out() -> None:
    """0.7 kWh at the GPU are 0.91 kWh of the building at a PUE of 1.3."""
    data = energy(700)

    found = costing.cost(data, terms(data, owned(usd_per_kwh=0.10, pue=1.3)), *spans(0, HOUR_S))

    assert found.invoice is not None
    assert (2.091, 0.091) == pytest.approx((found.invoice.usd, found.invoice.power_usd))
    assert 2.091 == pytest.approx(found.overall.usd)
    assert sum(item.usd for item in found.invoice.parts) == pytest.approx(found.invoice.usd)
    whole = found.overall
    energies = (whole.joules_per_request, whole.joules_per_1000, whole.joules_per_output_token)
    assert (25_200.0, 25_200_000.0, 2520.0) == pytest.approx(energies)


def test_power_is_not_paid_twice() -> None:
    data = energy(700)
    rented = Pricing(prices=Prices([("H200", builders.price(usd_per_gpu_hour=2.0))]), usd_per_kwh=0.10)

    found = costing.cost(data, terms(data, rented), *spans(0, HOUR_S))

    assert 2.0 == pytest.approx(found.overall.usd)
    assert "the price includes power, so that of a kWh is not added" == found.warnings[0]


def test_power_that_nobody_priced_is_said() -> None:
    data = energy(700)
    bare = Pricing(prices=Prices([("H200", builders.price(includes_power=False))]))

    assert "give --usd-per-kwh" in terms(data, bare).warnings[0]
    assert "no energy was recorded" in terms(run(), owned(usd_per_kwh=0.1)).warnings[0]


@pytest.mark.parametrize("read_on", ["2026-08-22", "2027-02-20"])
def test_a_price_read_long_before_the_run_or_after_it_is_warned_of(read_on: str) -> None:
    found = terms(run(), Pricing(prices=Prices([("H200", builders.price(read_on=read_on))])))

    assert (f"the price was read on {read_on}, 91 days from this run: check it",) == found.warnings
    assert () == terms(run(), Pricing(prices=Prices([("H200", builders.price(read_on="2026-08-23"))]))).warnings


def test_a_gpu_without_a_price_gets_the_line_to_add() -> None:
    data = run(gpus=("NVIDIA L40",))

    found = costing.cost(data, terms(data, Pricing()), *spans(0, 5))

    assert (None, None, ()) == (found.price, found.invoice, found.offers)
    assert 'price = [{gpu = "NVIDIA L40", usd_per_gpu_hour = …, read_on = 2026-11-21}]' in (found.overall.reason or "")


def test_every_offer_prices_the_same_run() -> None:
    data = run(serving(HOUR_S, hz=1 / HOUR_S, requests_ok_total=[0, 500]))

    found = costing.cost(data, terms(data, Pricing()), *spans(0, HOUR_S))

    assert {"on-demand", "spot"} <= {offer.price.market for offer in found.offers}
    for offer in found.offers:
        assert offer.price.usd_per_gpu_hour == pytest.approx(offer.usd)
        assert offer.usd is not None
        assert 2 * offer.usd == pytest.approx(offer.usd_per_1000)


def test_you_may_say_how_many_gpus_and_which_share_are_yours() -> None:
    data = run(serving(HOUR_S, hz=1 / HOUR_S, requests_ok_total=[0, 500]), gpus=("NVIDIA H200",) * 8)

    found = costing.cost(data, terms(data, owned(gpus=2, gpu_share="0.25")), *spans(0, HOUR_S))  # type: ignore[arg-type]

    assert 2 == found.gpus
    assert 1.0 == pytest.approx(found.overall.usd)


def test_gpus_of_two_kinds_are_said() -> None:
    assert "not all of one kind" in terms(run(gpus=("NVIDIA H200", "NVIDIA L4")), Pricing()).warnings[0]


@pytest.mark.parametrize(
    "fields", [{"usd_per_gpu_hour": -1.0}, {"usd_per_gpu_hour": float("nan")}, {"usd_per_kwh": -0.1}, {"pue": 0.9}]
)
def test_what_no_bill_can_say_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(UserError, match="or more"):
        Pricing(**fields)  # type: ignore[arg-type]


def test_requests_that_the_engine_leaves_out_are_said() -> None:
    data = run(serving(10, requests_ok_total=np.arange(11)), requests=[request(each / 100) for each in range(100)])

    said = costing.cost(data, Terms(price=builders.price(), gpus=1), *spans(0, 5)).warnings

    assert said[-1].startswith("the client sent 100 requests and the engine counts 10 that ended")
