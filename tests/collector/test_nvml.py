import math
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from collector import sources
from collector.catalogue import CATALOGUE, CLOCK_EVENT_BITS
from collector.options import Options
from collector.plugins import discover
from collector.schema import Absent, Event, Histogram, Sample
from collector.sources import Unavailable, _gpm, nvml
from collector.store import RunReader, RunWriter
from tests.collector.builders import NS, run
from tests.collector.fake_nvml import EPOCH_NS, GPM_IDS, PID, REAL, FakeClock, FakeNvml, recording

#: Everything that the catalogue says NVML has, of a whole GPU and of a process.
PROCESS = {name for name in CATALOGUE if name.startswith("process_") and "nvml" in CATALOGUE[name].source}
OF_NVML = {name for name, quantity in CATALOGUE.items() if quantity.source.lower().startswith("nvml")}
GPM_QUANTITIES = set(_gpm.QUANTITIES)
FAST_GPM = {quantity for quantity, _ in _gpm.METRICS.values()}


class Bench:
    """A source on a fake machine, read at the ticks of a fake clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **machine: Any) -> None:
        self.clock = FakeClock()
        self.fake = FakeNvml(clock=self.clock, **machine)
        monkeypatch.setitem(sys.modules, "pynvml", self.fake)
        self.source: nvml.Nvml | None = None

    def open(self, interval_s: float = 1.0) -> nvml.Nvml:
        self.source = nvml.Nvml(interval_s, self.clock, self.clock.sleep)
        return self.source

    def read(self) -> tuple[dict[str, Sample], list[Event]]:
        """One tick: samples by subject, and events."""
        source = self.source or self.open()
        return _sorted(list(source.read(self.clock.ns)))

    def tick(self, seconds: float = 1.0) -> tuple[dict[str, Sample], list[Event]]:
        self.clock.sleep(seconds)
        return self.read()

    def values(self, ticks: int = 35, subject: str = "gpu:0") -> dict[str, float | Absent]:
        """What a subject's quantities were when each was read last."""
        values: dict[str, float | Absent] = {}
        for _ in range(ticks):
            samples, _ = self.tick()
            values |= samples[subject].values if subject in samples else {}
        return values


def _sorted(records: list[Sample | Histogram | Event]) -> tuple[dict[str, Sample], list[Event]]:
    samples = [record for record in records if isinstance(record, Sample)]
    assert len({sample.subject for sample in samples}) == len(samples), "one sample of a subject at a tick"
    assert {"nvml"} >= {sample.source for sample in samples}
    return {sample.subject: sample for sample in samples}, [each for each in records if isinstance(each, Event)]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**machine: Any) -> Bench:
        made.append(Bench(monkeypatch, **machine))
        return made[-1]

    yield make
    for each in made:
        if each.source is not None:
            each.source.close()
        assert not each.fake.faults


def reason(value: float | Absent) -> str:
    assert isinstance(value, Absent), value
    return value.reason


def number(value: float | Absent) -> float:
    assert isinstance(value, float), value
    return value


# ------------------------------------------------------------------------------------------------ what is read


def test_it_is_a_source() -> None:
    assert nvml is discover(sources)["nvml"]


def test_every_quantity_that_nvml_has_is_read(bench: Callable[..., Bench]) -> None:
    machine = bench()

    values = machine.values()

    assert OF_NVML - PROCESS == set(values)
    assert {quantity: value for quantity, value in values.items() if isinstance(value, Absent)} == {}
    assert PROCESS == set(machine.values(subject=f"gpu:0/pid:{PID}"))


def test_values_are_the_recorded_ones_in_base_units(bench: Callable[..., Bench]) -> None:
    machine = bench()

    values = machine.values()

    row, calls = machine.fake.row(), recording()["calls"]["busy"]
    utilization, power_mw, sm_mhz, mask = row[:4]
    expected = {
        "gpu_utilization_ratio": utilization / 100,
        "memory_busy_ratio": calls["nvmlDeviceGetUtilizationRates"]["value"]["memory"] / 100,
        "memory_used_bytes": 3659399168,
        "memory_total_bytes": 150754820096,
        "power_watts": power_mw / 1000,
        "power_instant_watts": power_mw / 1000,
        "power_average_watts": power_mw / 1000,
        "power_limit_watts": 700.0,
        "sm_clock_hz": sm_mhz * 1e6,
        "memory_clock_hz": 3201e6,
        "temperature_celsius": 52.0,
        "memory_temperature_celsius": 48.0,
        "pcie_link_generation": 5.0,
        "pcie_link_lanes": 16.0,
        "pcie_replays_total": 0.0,
        "ecc_corrected_errors_total": 0.0,
        "row_remapping_pending": 0.0,
        "xid_errors_total": 0.0,
    } | {name: float(bool(int(mask) & bit)) for bit, name in CLOCK_EVENT_BITS.items()}
    assert expected == pytest.approx({name: values[name] for name in expected})


def test_gpm_values_are_the_recorded_ones_in_base_units(bench: Callable[..., Bench]) -> None:
    machine = bench()
    machine.open(0.1)
    machine.read()

    samples, _ = machine.tick(0.1)

    # The window that has just ended lies over one recorded row.
    recorded = dict(zip(GPM_IDS, machine.fake.row(epochs_ago=1)[4:], strict=True))
    expected = {
        quantity: recorded[metric] * (1048576 if quantity.endswith("_bytes_per_s") else 0.01)
        for metric, (quantity, _) in _gpm.METRICS.items()
    }
    assert expected == pytest.approx({name: samples["gpu:0"].values[name] for name in expected})


def test_ratios_run_from_zero_to_one(bench: Callable[..., Bench]) -> None:
    workloads = [name for name in recording()["workloads"] if name != "idle"]
    machine = bench(play=[(2.5 * place, name) for place, name in enumerate(["idle", *workloads])])
    machine.open(0.1)
    seen: Counter[str] = Counter()

    for _ in range(25 * (1 + len(workloads))):
        for sample in machine.tick(0.1)[0].values():
            for quantity, value in sample.values.items():
                if CATALOGUE[quantity].unit == "ratio" and not isinstance(value, Absent):
                    assert 0 <= value <= 1
                    seen[quantity] += value > 0

    assert seen["sm_active_ratio"] > 100
    assert seen["process_sm_utilization_ratio"] > 1


def test_workloads_can_be_told_apart(bench: Callable[..., Bench]) -> None:
    machine = bench(play=[(0, "idle"), (10, "gemm"), (20, "stream_copy")])
    machine.open()
    seen = [machine.tick()[0]["gpu:0"].values for _ in range(30)]

    idle, gemm, copy = seen[5], seen[15], seen[25]

    assert 0.01 > number(idle["tensor_active_ratio"])
    assert 0.9 < number(gemm["tensor_active_ratio"])
    assert 0.01 > number(copy["tensor_active_ratio"])
    assert 0.8 < number(copy["dram_active_ratio"])
    assert (0.0, 1.0) == (idle["clock_event_sw_power_cap"], gemm["clock_event_sw_power_cap"])


def test_counters_grow_by_what_was_played(bench: Callable[..., Bench]) -> None:
    machine = bench(play=[(0, "idle"), (10, "gemm")])
    before = machine.values(ticks=9)
    after = machine.values(ticks=12)

    grown = {name: number(after[name]) - number(before[name]) for name in after if CATALOGUE[name].kind == "counter"}
    assert 130 * 4 < grown["energy_joules_total"] < 700 * 13
    assert grown["throttled_sw_power_cap_seconds_total"] > 5
    assert 0 == grown["ecc_corrected_errors_total"]


def test_an_unknown_reason_for_low_clocks_is_still_one(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = bench()
    monkeypatch.setattr(machine.fake, "row", lambda: [50, 100_000, 1980, 0x104])

    values = machine.read()[0]["gpu:0"].values

    assert {"clock_event_sw_power_cap", "clock_event_other"} == {
        name for name, value in values.items() if name.startswith("clock_event_") and value
    }


def test_a_reset_energy_counter_is_shown_as_it_is(bench: Callable[..., Bench]) -> None:
    machine = bench()
    before = number(machine.values(ticks=9)["energy_joules_total"])
    machine.fake.reset_energy()

    assert before > number(machine.values(ticks=12)["energy_joules_total"])


def test_the_gpus_of_a_run(bench: Callable[..., Bench]) -> None:
    machine = bench(gpus=2)
    machine.fake.fail("nvmlDeviceGetMaxClockInfo", REAL.NVML_ERROR_NOT_SUPPORTED, gpu=1)

    first, second = nvml.gpus()

    assert ("NVIDIA H200", 150754820096, 700.0, 1980e6) == (
        first.name,
        first.memory_bytes,
        first.power_limit_watts,
        first.max_sm_clock_hz,
    )
    assert ("580.159.04", 1) == (first.driver_version, second.index)
    assert first.uuid != second.uuid
    assert second.max_sm_clock_hz is None


def test_a_reading_goes_into_a_run_folder_and_back(bench: Callable[..., Bench], tmp_path: Path) -> None:
    machine = bench(gpus=2)
    machine.open(0.1)
    ticks = [machine.tick(0.1) for _ in range(25)]
    power = [number(samples["gpu:1"].values["power_watts"]) for samples, _ in ticks]

    with RunWriter.create(tmp_path / "run", run()) as writer:
        for samples, events in ticks:
            writer.add([*samples.values(), *events])
        writer.close(machine.clock.ns)

    with RunReader.open(tmp_path / "run") as reader:
        rows = reader.samples("nvml", quantities=["power_watts"]).rows
        absences = reader.absences()
    assert power == pytest.approx([watts for _, subject, watts in rows if subject == "gpu:1"])
    assert [] == absences


# ------------------------------------------------------------------------------------------------ what it costs


def test_costly_calls_are_rare(bench: Callable[..., Bench]) -> None:
    machine = bench()
    machine.open(0.1)
    machine.read()
    machine.fake.calls.clear()

    for _ in range(600):
        machine.tick(0.1)

    calls = machine.fake.calls
    assert {600} == {
        calls[name]
        for name in (
            "nvmlDeviceGetUtilizationRates",
            "nvmlDeviceGetPowerUsage",
            "nvmlDeviceGetFieldValues(186)",
        )
    }
    assert (660, 660) == (calls["nvmlGpmSampleGet"], calls["nvmlGpmMetricsGet"])
    assert {60} == {calls["nvmlGpmMetricsGet(1)"], calls["nvmlDeviceGetComputeRunningProcesses"]}
    assert 12 == calls["nvmlDeviceGetProcessUtilization"]
    assert 6 == calls["nvmlDeviceGetTotalEnergyConsumption"]
    assert {12} == {calls["nvmlDeviceGetTotalEccErrors(0,0)"], calls["nvmlDeviceGetRemappedRows"]}
    assert {2} == {
        calls[name]
        for name in (
            "nvmlDeviceGetPcieReplayCounter",
            "nvmlDeviceGetCurrPcieLinkWidth",
            "nvmlDeviceGetEnforcedPowerLimit",
            "nvmlDeviceGetFieldValues(270)",
            "nvmlDeviceGetFieldValues(271)",
        )
    }
    never = {"nvmlDeviceGetPcieThroughput", "nvmlDeviceGetViolationStatus", "nvmlDeviceGetSamples"}
    assert not never & {name.partition("(")[0] for name in calls}
    assert not {f"nvmlDeviceGetFieldValues({field})" for field in (83, 191, 193, 197, 198, 272)} & calls.keys()


COSTLY = ("nvmlGpmMetricsGet(1)", "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetProcessUtilization")


def test_costly_calls_are_spread_over_the_ticks(bench: Callable[..., Bench]) -> None:
    machine = bench(gpus=8)
    machine.open(0.1)
    machine.read()
    costly = []

    for _ in range(600):
        machine.fake.calls.clear()
        machine.tick(0.1)
        calls = machine.fake.calls
        costly.append([calls[name] for name in COSTLY])

    # A minute of eight GPUs, each with its turn every 4 s, 10 s or 5 s.
    assert [120, 48, 96] == pytest.approx([sum(calls) for calls in zip(*costly, strict=True)], abs=8)
    assert max(map(sum, costly)) <= 3


def test_a_slow_loop_reads_everything_at_every_tick_and_never_twice(bench: Callable[..., Bench]) -> None:
    machine = bench()
    machine.open(60.0)
    machine.read()
    machine.fake.calls.clear()

    for _ in range(10):
        machine.tick(60)

    assert 10 == machine.fake.calls["nvmlDeviceGetTotalEnergyConsumption"]
    assert 10 == machine.fake.calls["nvmlDeviceGetPcieReplayCounter"]


def test_ticks_that_come_a_little_early_lose_no_reading(bench: Callable[..., Bench]) -> None:
    machine = bench()
    machine.open(1.0)
    machine.read()
    machine.fake.calls.clear()

    for place in range(60):
        machine.tick(0.999 if place % 2 else 1.001)

    assert 60 == machine.fake.calls["nvmlDeviceGetComputeRunningProcesses"]


def test_what_is_not_offered_is_asked_for_once(bench: Callable[..., Bench]) -> None:
    machine = bench()
    for call in ("nvmlDeviceGetPowerUsage", "nvmlDeviceGetProcessUtilization", "nvmlDeviceGetTotalEnergyConsumption"):
        machine.fake.fail(call, REAL.NVML_ERROR_NOT_SUPPORTED)

    values = machine.values(ticks=60)

    assert "not offered by this GPU or its driver" == reason(values["power_watts"])
    assert "not offered by this GPU or its driver" == reason(values["process_sm_utilization_ratio"])
    assert 1 == machine.fake.calls["nvmlDeviceGetPowerUsage"]
    assert 1 == machine.fake.calls["nvmlDeviceGetProcessUtilization(0)"]
    assert 1 == machine.fake.calls["nvmlDeviceGetTotalEnergyConsumption"]


# ------------------------------------------------------------------------------------------------ GPM


@pytest.mark.parametrize("interval_s", [0.01, 0.03, 0.05, 0.099, 0.1, 0.25, 1.0])
def test_no_window_is_shorter_than_gpm_can_see(bench: Callable[..., Bench], interval_s: float) -> None:
    machine = bench(gpus=2)
    machine.open(interval_s)
    ticks = [machine.tick(interval_s)[0] for _ in range(60)]
    seen = [samples[gpu].values for samples in ticks for gpu in ("gpu:0", "gpu:1")]

    assert min(machine.fake.windows_ns) >= 100_000_000
    with_gpm = [values for values in seen if values.keys() & FAST_GPM]
    assert all(FAST_GPM <= values.keys() for values in with_gpm)
    graphics = [values["graphics_active_ratio"] for values in seen if "graphics_active_ratio" in values]
    assert len(with_gpm) + len(graphics) == len(machine.fake.windows_ns)
    assert all(number(value) > 0 for value in graphics)
    assert all(number(values["sm_active_ratio"]) > 0 for values in with_gpm[4:])


def test_jitter_does_not_halve_the_rate(bench: Callable[..., Bench]) -> None:
    machine = bench()
    machine.open(0.1)
    due = machine.clock.ns
    for place in range(100):
        due += EPOCH_NS
        machine.clock.ns = max(machine.clock.ns, due + (3_000_000 if place % 3 else 0))
        machine.read()

    assert len(machine.fake.windows_ns) >= 98
    assert min(machine.fake.windows_ns) >= 100_000_000


def test_an_empty_window_says_so_and_the_next_one_makes_up_for_it(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = bench()
    machine.open(0.1)
    machine.read()
    machine.tick(0.1)
    epoch = machine.fake._epoch()
    monkeypatch.setattr(machine.fake, "_epoch", lambda: epoch)

    empty = machine.tick(0.1)[0]["gpu:0"].values
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "pynvml", machine.fake)
    full = machine.tick(0.1)[0]["gpu:0"].values

    assert {"GPM window held no counter update"} == {reason(empty[name]) for name in FAST_GPM}
    assert isinstance(empty["power_watts"], float)
    assert number(full["sm_active_ratio"]) > 0.3
    assert 200_000_000 == machine.fake.windows_ns[-1]


def test_one_metric_may_be_missing_or_absurd(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    machine = bench()
    machine.read()
    play = machine.fake._gpm_metrics

    def twist(request: Any) -> Any:
        play(request)
        for metric in request.metrics[: request.numMetrics]:
            if metric.metricId == REAL.NVML_GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC:
                metric.nvmlReturn = REAL.NVML_ERROR_NOT_SUPPORTED
            metric.value = {5: math.nan, 2: 100.0001, 3: 4e9}.get(metric.metricId, metric.value)
        return request

    monkeypatch.setattr(import_module("tests.collector.fake_nvml"), "_PLAYED", _played(nvmlGpmMetricsGet=twist))

    values = machine.tick()[0]["gpu:0"].values

    assert "not offered by this GPU or its driver" == reason(values["nvlink_rx_bytes_per_s"])
    assert "GPM read it as nan" == reason(values["tensor_active_ratio"])
    assert "read as 4e+09 %: no share" == reason(values["sm_occupancy_ratio"])
    assert 1.0 == values["sm_active_ratio"]
    assert number(values["dram_active_ratio"]) > 0


def _played(**calls: Callable[[Any], Any]) -> dict[str, Callable[..., Any]]:
    """The calls a fake plays, with some played otherwise."""
    played: dict[str, Callable[..., Any]] = import_module("tests.collector.fake_nvml")._PLAYED
    return played | {name: lambda _, *args, call=call: call(*args) for name, call in calls.items()}


def test_before_hopper_only_gpm_is_absent(bench: Callable[..., Bench]) -> None:
    values = bench(gpm=False).values()

    absent = {name for name, value in values.items() if isinstance(value, Absent)}
    assert GPM_QUANTITIES == absent
    assert "pre-Hopper GPU: GPM needs Hopper or newer; DCGM profiling metrics would be needed" == reason(
        values["sm_active_ratio"]
    )


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (REAL.NVML_ERROR_NOT_SUPPORTED, "pre-Hopper GPU"),
        (REAL.NVML_ERROR_ARGUMENT_VERSION_MISMATCH, "pre-Hopper GPU"),
        (REAL.NVML_ERROR_FUNCTION_NOT_FOUND, "the driver is too old"),
        (REAL.NVML_ERROR_NO_PERMISSION, "not permitted"),
    ],
)
def test_why_there_is_no_gpm(bench: Callable[..., Bench], code: int, words: str) -> None:
    machine = bench()
    machine.fake.fail("nvmlGpmQueryDeviceSupport", code)

    assert words in reason(machine.values(ticks=2)["sm_active_ratio"])


def test_gpm_that_fails_for_a_while_begins_again(bench: Callable[..., Bench]) -> None:
    machine = bench()
    machine.read()
    machine.fake.fail("nvmlGpmSampleGet", REAL.NVML_ERROR_NO_PERMISSION)
    assert "not permitted" in reason(machine.tick()[0]["gpu:0"].values["sm_active_ratio"])
    machine.fake.heal()

    assert not machine.tick()[0]["gpu:0"].values.keys() & GPM_QUANTITIES
    assert number(machine.tick()[0]["gpu:0"].values["sm_active_ratio"]) > 0


def test_gpm_waits_for_no_call_that_hangs(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    machine = bench()
    machine.read()
    other = nvml.Nvml(1.0, machine.clock, machine.clock.sleep)
    release = machine.fake.hang("nvmlGpmSampleGet")
    hanging = threading.Thread(target=other.read, args=(0,))
    monkeypatch.setattr(_gpm, "_LOCK_S", 0.001)
    hanging.start()
    while not _gpm._LOCK.locked():
        pass

    values = machine.tick()[0]["gpu:0"].values

    assert "an earlier GPM call has not come back" in reason(values["sm_active_ratio"])
    assert isinstance(values["power_watts"], float)
    release.set()
    hanging.join()
    other.close()


# ------------------------------------------------------------------------------------------------ processes


def test_processes_have_subjects_of_their_own(bench: Callable[..., Bench]) -> None:
    machine = bench()

    samples, _ = machine.read()

    values = samples[f"gpu:0/pid:{PID}"].values
    assert (3005218816.0, 0.46, 0.12) == tuple(values[name] for name in sorted(PROCESS, key=list(CATALOGUE).index))


def test_a_process_that_ran_nothing_has_no_newer_share(bench: Callable[..., Bench]) -> None:
    machine = bench()
    machine.read()
    machine.fake.fail("nvmlDeviceGetProcessUtilization", REAL.NVML_ERROR_NOT_FOUND)

    values = machine.values(ticks=3, subject=f"gpu:0/pid:{PID}")

    assert "the process ran nothing since the last reading" in reason(values["process_sm_utilization_ratio"])
    assert isinstance(values["process_gpu_memory_bytes"], float)


def test_a_process_that_ended_is_gone(bench: Callable[..., Bench]) -> None:
    machine = bench(play=[(0, "gemm"), (5, "idle")])
    machine.values(ticks=5)

    assert {"gpu:0"} == {subject for _ in range(10) for subject in machine.tick()[0]}


def test_memory_that_the_driver_hides(bench: Callable[..., Bench]) -> None:
    machine = bench()
    machine.fake.processes = [import_module("types").SimpleNamespace(pid=7, usedGpuMemory=None)]

    value = machine.read()[0]["gpu:0/pid:7"].values["process_gpu_memory_bytes"]

    assert "the driver does not say" in reason(value)


# ------------------------------------------------------------------------------------------------ what may be denied

GUARDED = {
    "nvmlDeviceGetUtilizationRates": {"gpu_utilization_ratio", "memory_busy_ratio"},
    "nvmlDeviceGetMemoryInfo": {"memory_used_bytes", "memory_total_bytes"},
    "nvmlDeviceGetPowerUsage": {"power_watts"},
    "nvmlDeviceGetClockInfo": {"sm_clock_hz", "memory_clock_hz"},
    "nvmlDeviceGetTemperature": {"temperature_celsius"},
    "nvmlDeviceGetCurrentClocksEventReasons": {*CLOCK_EVENT_BITS.values(), "clock_event_other"},
    "nvmlDeviceGetTotalEnergyConsumption": {"energy_joules_total"},
    "nvmlDeviceGetTotalEccErrors": {"ecc_corrected_errors_total", "ecc_uncorrected_errors_total"},
    "nvmlDeviceGetEnforcedPowerLimit": {"power_limit_watts"},
    "nvmlDeviceGetPcieReplayCounter": {"pcie_replays_total"},
    "nvmlDeviceGetCurrPcieLinkWidth": {"pcie_link_lanes"},
    "nvmlDeviceGetComputeRunningProcesses": {"process_gpu_memory_bytes"},
    "nvmlDeviceGetProcessUtilization": {"process_sm_utilization_ratio", "process_memory_busy_ratio"},
    "nvmlGpmMetricsGet": GPM_QUANTITIES,
}


@pytest.mark.parametrize("call", GUARDED)
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (REAL.NVML_ERROR_NO_PERMISSION, "not permitted: NVML wants more rights"),
        (REAL.NVML_ERROR_FUNCTION_NOT_FOUND, "the driver is too old to offer this; update it"),
        (REAL.NVML_ERROR_UNKNOWN, "NVML answers only “Unknown Error”"),
        (REAL.NVML_ERROR_IRQ_ISSUE, "NVML answers Interrupt Request Issue"),
    ],
)
def test_a_call_that_is_denied_takes_nothing_else_with_it(
    bench: Callable[..., Bench], call: str, code: int, words: str
) -> None:
    machine = bench()
    machine.fake.fail(call, code)

    values = machine.values(ticks=3)

    absent = {name: value.reason for name, value in values.items() if isinstance(value, Absent)}
    assert GUARDED[call] == set(absent)
    assert all(words in text for text in absent.values())


def test_a_field_that_is_denied_takes_no_other_with_it(bench: Callable[..., Bench]) -> None:
    machine = bench()
    machine.fake.fail("nvmlDeviceGetFieldValues(82)", REAL.NVML_ERROR_NOT_SUPPORTED)

    values = machine.read()[0]["gpu:0"].values

    assert "not offered by this GPU or its driver" == reason(values["memory_temperature_celsius"])
    assert isinstance(values["power_instant_watts"], float)


def test_an_older_library_lacks_a_function(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(_handle: Any) -> Any:
        raise REAL.NVMLLibraryMismatchError("Unversioned function called")

    machine = bench()
    played = _played(nvmlDeviceGetComputeRunningProcesses=lacks)
    monkeypatch.setattr(import_module("tests.collector.fake_nvml"), "_PLAYED", played)

    values = machine.values(ticks=2)

    assert "the driver is too old to offer this; update it" == reason(values["process_gpu_memory_bytes"])


# ------------------------------------------------------------------------------------------------ nothing to read


def test_the_real_binding_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library() -> None:
        raise REAL.NVMLError(REAL.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(REAL, "nvmlInit", no_library)

    with pytest.raises(Unavailable, match="NVIDIA_DRIVER_CAPABILITIES=utility"):
        nvml.open_source(Options())
    assert () == nvml.gpus()


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("nvmlInit", REAL.NVML_ERROR_LIBRARY_NOT_FOUND, "NVIDIA_DRIVER_CAPABILITIES=utility"),
        ("nvmlInit", REAL.NVML_ERROR_DRIVER_NOT_LOADED, "the NVIDIA driver is not loaded"),
        ("nvmlInit", REAL.NVML_ERROR_NO_PERMISSION, "/dev/nvidiactl"),
        ("nvmlInit", REAL.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "the driver was updated"),
        ("nvmlInit", REAL.NVML_ERROR_UNKNOWN, "NVML does not open: Unknown Error"),
        ("nvmlDeviceGetCount", REAL.NVML_ERROR_UNKNOWN, "NVML does not open: Unknown Error"),
        ("nvmlDeviceGetHandleByIndex", REAL.NVML_ERROR_GPU_IS_LOST, "gpu:0: GPU is lost"),
        ("nvmlDeviceGetHandleByIndex", REAL.NVML_ERROR_NO_PERMISSION, "gpu:0: not permitted"),
    ],
)
def test_why_there_is_nothing_to_read(bench: Callable[..., Bench], call: str, code: int, words: str) -> None:
    machine = bench()
    machine.fake.fail(call, code)

    with pytest.raises(Unavailable, match=words):
        machine.open()
    assert 0 == machine.fake._open, "NVML is closed again"


def test_no_gpu_is_visible(bench: Callable[..., Bench]) -> None:
    machine = bench(gpus=0)

    with pytest.raises(Unavailable, match="--gpus all"):
        machine.open()


def test_without_the_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)

    with pytest.raises(Unavailable, match="nvidia-ml-py is not installed"):
        nvml.open_source(Options())


def test_a_source_is_opened_with_the_gpus_own_interval(bench: Callable[..., Bench]) -> None:
    bench()
    for options, expected in ((Options(), 1.0), (Options(gpu_interval_s=0.1), 0.1)):
        source = nvml.open_source(options)
        assert expected == source.interval_s
        source.close()


# ------------------------------------------------------------------------------------------------ lost GPUs


def test_a_gpu_that_is_lost_leaves_the_others_alone(bench: Callable[..., Bench]) -> None:
    machine = bench(gpus=2)
    machine.open()
    machine.read()
    machine.fake.lose(1, after_s=2.5)

    events = [event for _ in range(5) for event in machine.tick()[1]]
    samples, _ = machine.tick()

    assert [("gpu_lost", "gpu:1")] == [(event.kind, event.name) for event in events]
    lost = samples["gpu:1"].values
    assert "fell off the bus" in reason(lost["power_watts"])
    assert OF_NVML - PROCESS == set(lost)
    assert {"xid_errors_total"} == {name for name, value in lost.items() if not isinstance(value, Absent)}
    assert isinstance(samples["gpu:0"].values["power_watts"], float)


def test_a_lost_gpu_is_not_asked_again_until_nvml_is_opened_afresh(bench: Callable[..., Bench]) -> None:
    machine = bench(gpus=2)
    machine.open()
    machine.fake.lose(1)
    machine.read()
    machine.fake.calls.clear()
    machine.tick()
    assert 1 == machine.fake.calls["nvmlDeviceGetPowerUsage"]

    still = [event for _ in range(310) for event in machine.tick()[1]]
    machine.fake.heal()
    back = [event for _ in range(310) for event in machine.tick()[1]]

    assert [] == still
    assert [("gpu_back", "gpu:1")] == [(event.kind, event.name) for event in back]
    assert isinstance(machine.tick()[0]["gpu:1"].values["power_watts"], float)


def test_the_last_gpu_takes_the_source_with_it(bench: Callable[..., Bench]) -> None:
    machine = bench()
    machine.read()
    machine.fake.lose(0)

    samples, events = machine.tick()
    with pytest.raises(Unavailable, match="gpu:0: GPU is lost"):
        machine.tick()

    assert ["gpu_lost"] == [event.kind for event in events]
    assert "GPU is lost" in reason(samples["gpu:0"].values["power_watts"])


@pytest.mark.parametrize("code", [REAL.NVML_ERROR_RESET_REQUIRED, REAL.NVML_ERROR_UNKNOWN])
def test_other_ways_to_lose_a_gpu(bench: Callable[..., Bench], code: int) -> None:
    machine = bench(gpus=2)
    machine.read()
    machine.fake.lose(1, code=code)

    samples, events = machine.tick()

    assert ["gpu_lost"] == [event.kind for event in events]
    assert "GPU is lost" in reason(samples["gpu:1"].values["power_watts"])


def test_a_gpu_that_is_lost_before_it_was_seen(bench: Callable[..., Bench]) -> None:
    machine = bench(gpus=2)
    machine.fake.lose(0)

    samples, events = machine.read()

    assert ["gpu:0"] == [event.name for event in events]
    assert "GPU is lost" in reason(samples["gpu:0"].values["power_watts"])
    assert isinstance(samples["gpu:1"].values["power_watts"], float)


@pytest.mark.parametrize(
    "code", [REAL.NVML_ERROR_UNINITIALIZED, REAL.NVML_ERROR_DRIVER_NOT_LOADED, REAL.NVML_ERROR_LIB_RM_VERSION_MISMATCH]
)
def test_nvml_itself_may_go(bench: Callable[..., Bench], code: int) -> None:
    machine = bench()
    machine.read()
    machine.fake.fail("nvmlDeviceGetPowerUsage", code)

    with pytest.raises(Unavailable, match=r"the NVIDIA driver is|the driver was updated|NVML was closed"):
        machine.tick()


def test_closing_frees_everything_once(bench: Callable[..., Bench]) -> None:
    machine = bench(gpus=8)
    source = machine.open()
    machine.read()

    source.close()
    source.close()

    assert 32 == machine.fake.calls["nvmlGpmSampleFree"]
    assert 1 == machine.fake.calls["nvmlShutdown"]
    assert not [thread for thread in threading.enumerate() if thread.name == "nvml-xid"]


def test_a_call_that_hangs_hangs_its_source_alone(bench: Callable[..., Bench]) -> None:
    machine = bench()
    source = machine.open()
    release = machine.fake.hang("nvmlDeviceGetTemperature")
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.extend(source.read(0)))
    thread.start()
    while not machine.fake.calls["nvmlDeviceGetTemperature(0)"]:
        pass

    assert thread.is_alive()
    release.set()
    thread.join()
    assert seen


# ------------------------------------------------------------------------------------------------ MIG


def test_mig_instances_have_subjects_of_their_own(bench: Callable[..., Bench]) -> None:
    machine = bench(gpus=2, mig={1: (1, 2)})
    machine.read()

    samples, _ = machine.tick()

    assert {"gpu:0", f"gpu:0/pid:{PID}", "gpu:1"} | {
        f"gpu:1/mig:{instance}{process}" for instance in (1, 2) for process in ("", f"/pid:{PID}")
    } == set(samples)
    instance = samples["gpu:1/mig:1"].values
    assert GPM_QUANTITIES | {"memory_used_bytes"} <= set(instance)
    assert number(instance["sm_active_ratio"]) > 0
    assert "not offered" in reason(samples["gpu:1"].values["gpu_utilization_ratio"])


def test_an_instance_that_is_not_understood_is_no_lost_gpu(bench: Callable[..., Bench]) -> None:
    machine = bench(mig={0: (1,)})
    machine.fake.fail("nvmlDeviceGetMemoryInfo", REAL.NVML_ERROR_UNKNOWN)

    samples, events = machine.read()

    assert [] == events
    assert "Unknown Error" in reason(samples["gpu:0/mig:1"].values["memory_used_bytes"])
    assert isinstance(samples["gpu:0"].values["power_watts"], float)


def test_a_new_mig_layout_is_an_event(bench: Callable[..., Bench]) -> None:
    machine = bench(mig={0: (1, 2)})
    machine.read()
    machine.fake.mig = {0: (3,)}

    events = [event for _ in range(31) for event in machine.tick()[1]]

    assert [("mig_layout", "gpu:0", {"instances": "3"})] == [(each.kind, each.name, each.detail) for each in events]
    assert {"gpu:0", "gpu:0/mig:3"} <= set(machine.tick()[0])


def test_a_lost_gpu_takes_its_instances_with_it(bench: Callable[..., Bench]) -> None:
    machine = bench(gpus=2, mig={0: (1,)})
    machine.read()
    machine.fake.lose(0)

    samples, _ = machine.tick()

    assert "GPU is lost" in reason(samples["gpu:0/mig:1"].values["memory_used_bytes"])


def test_mig_that_cannot_be_asked_for_is_off(bench: Callable[..., Bench]) -> None:
    machine = bench()
    machine.fake.fail("nvmlDeviceGetMigMode", REAL.NVML_ERROR_NOT_SUPPORTED)

    assert {"gpu:0", f"gpu:0/pid:{PID}"} == set(machine.read()[0])


def test_a_layout_that_cannot_be_told_for_now_stays(bench: Callable[..., Bench]) -> None:
    machine = bench(mig={0: (1,)})
    machine.read()
    machine.fake.fail("nvmlDeviceGetMigMode", REAL.NVML_ERROR_UNKNOWN)

    assert [] == [event for _ in range(61) for event in machine.tick()[1]]
    assert "gpu:0/mig:1" in machine.tick()[0]


# ------------------------------------------------------------------------------------------------ XID errors


def test_an_xid_error_is_an_event_and_counts(bench: Callable[..., Bench]) -> None:
    machine = bench(gpus=2)
    machine.open()
    machine.read()
    machine.fake.xid(1, 79)
    arrived_ns = machine.clock.ns
    machine.fake.xid(1, 31, instance=2)

    samples, events = machine.tick(3)

    assert [("xid", "79", arrived_ns), ("xid", "31", arrived_ns)] == [
        (event.kind, event.name, event.t_ns) for event in events
    ]
    assert {"gpu": 1, "advice": "reset the GPU"} == events[0].detail
    assert {"gpu": 1, "advice": "usually a fault of the application", "mig": 2} == events[1].detail
    assert (0.0, 2.0) == tuple(samples[f"gpu:{index}"].values["xid_errors_total"] for index in (0, 1))
    assert [] == machine.tick()[1]


def test_a_gpu_is_known_by_another_handle_too(bench: Callable[..., Bench]) -> None:
    machine = bench(gpus=2)
    machine.open()
    machine.fake.xid(1, 63, alias=5)
    machine.fake.fail("nvmlDeviceGetIndex", REAL.NVML_ERROR_GPU_IS_LOST)
    machine.fake.xid(1, 79, alias=5)

    _, events = machine.tick()

    assert [1, None] == [event.detail["gpu"] for event in events]


def test_the_count_of_xid_errors_outlives_a_lost_gpu(bench: Callable[..., Bench]) -> None:
    machine = bench(gpus=2)
    machine.open()
    machine.fake.xid(1, 79)
    machine.fake.lose(1)
    machine.read()
    machine.fake.heal()
    for _ in range(310):
        samples, _ = machine.tick()

    assert 1.0 == samples["gpu:1"].values["xid_errors_total"]


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("nvmlEventSetCreate", REAL.NVML_ERROR_NOT_SUPPORTED, "not offered by this GPU or its driver"),
        ("nvmlDeviceRegisterEvents", REAL.NVML_ERROR_NOT_SUPPORTED, "does not report this GPU's XID errors"),
        ("nvmlDeviceRegisterEvents", REAL.NVML_ERROR_UNKNOWN, "refuses to report XID errors"),
    ],
)
def test_xid_errors_that_are_not_reported(bench: Callable[..., Bench], call: str, code: int, words: str) -> None:
    machine = bench()
    machine.fake.fail(call, code)

    assert words in reason(machine.read()[0]["gpu:0"].values["xid_errors_total"])
    assert 0 == machine.fake.calls["nvmlEventSetWait_v2(400)"]


def test_one_gpu_may_be_watched_without_the_other(bench: Callable[..., Bench]) -> None:
    machine = bench(gpus=2)
    machine.fake.fail("nvmlDeviceRegisterEvents", REAL.NVML_ERROR_NOT_SUPPORTED, gpu=0)

    samples, _ = machine.read()

    assert isinstance(samples["gpu:0"].values["xid_errors_total"], Absent)
    assert 0.0 == samples["gpu:1"].values["xid_errors_total"]


# ------------------------------------------------------------------------------------------------ the fake


def test_short_windows_read_as_they_did_on_the_h200() -> None:
    clock = FakeClock()
    fake: Any = FakeNvml(clock=clock)
    fake.nvmlInit()
    handle = fake.nvmlDeviceGetHandleByIndex(0)
    start, end = fake.nvmlGpmSampleAlloc(), fake.nvmlGpmSampleAlloc()
    fake.nvmlGpmSampleGet(handle, start)
    clock.sleep(0.05)
    fake.nvmlGpmSampleGet(handle, end)
    request = REAL.c_nvmlGpmMetricsGet_t(version=1, numMetrics=2, sample1=start, sample2=end)
    request.metrics[0].metricId, request.metrics[1].metricId = 2, 10

    fake.nvmlGpmMetricsGet(request)

    assert 0.0 == request.metrics[0].value
    assert math.isnan(request.metrics[1].value)


def test_the_fake_knows_no_call_that_the_binding_lacks() -> None:
    fake = FakeNvml()

    assert fake.NVMLError is REAL.NVMLError
    with pytest.raises(AttributeError):
        fake.nvmlDeviceGetMood(None)
    with pytest.raises(TypeError):
        fake.nvmlDeviceGetPowerUsage()


@pytest.mark.parametrize("cost", ["spin", "sleep"])
def test_calls_may_cost_what_they_cost(bench: Callable[..., Bench], cost: str) -> None:
    machine = bench(cost=cost)

    assert isinstance(machine.read()[0]["gpu:0"].values["power_watts"], float)


def test_the_recording_names_nobody() -> None:
    calls = recording()["calls"]

    assert {"GPU-00000000-0000-0000-0000-000000000000"} == {
        each["nvmlDeviceGetUUID"]["value"] for each in calls.values()
    }
    assert not {"nvmlDeviceGetSerial", "nvmlDeviceGetBoardId", "nvmlDeviceGetPciInfo"} & calls["busy"].keys()
    assert NS == 10 * EPOCH_NS
