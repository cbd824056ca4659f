import shutil
import subprocess

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from collector.catalogue import CATALOGUE
from collector.exposition import Exposition, labels, metric_name
from collector.health import Clock, Health
from collector.schema import Absent, Gpu, Histogram, Sample

NOW_NS = 1_790_000_000_000_000_000
H200 = Gpu(index=0, name="NVIDIA H200", uuid="GPU-0", driver_version="580.159.04")


def exposition(*records: Sample | Histogram, now_ns: int = NOW_NS, compat_dcgm: bool = False) -> Exposition:
    found = Exposition(
        health={"nvml": Health(interval_s=1.0), "serving": Health(interval_s=1.0)},
        gpus=(H200,),
        compat_dcgm=compat_dcgm,
        clock=Clock(now_ns=lambda: now_ns),
    )
    found.observe(records)
    return found


def page(source: Exposition) -> str:
    registry = CollectorRegistry()
    registry.register(source)
    return generate_latest(registry).decode()


def sample(subject: str = "gpu:0", **values: float | Absent) -> Sample:
    return Sample(t_ns=NOW_NS, source="nvml", subject=subject, values=values)


def everything() -> list[Sample | Histogram]:
    sampled = {name: 1.0 for name, quantity in CATALOGUE.items() if quantity.kind != "histogram"}
    histograms = [name for name, quantity in CATALOGUE.items() if quantity.kind == "histogram"]
    return [
        Sample(t_ns=NOW_NS, source="nvml", subject="gpu:0", values=sampled),
        *(
            Histogram(t_ns=NOW_NS, subject="engine:0", quantity=name, edges=(0.1, 1), cumulative=(1, 2, 3), sum=2.5)
            for name in histograms
        ),
    ]


@pytest.mark.parametrize(
    ("quantity", "name"),
    [
        ("sm_clock_hz", "inferometer_sm_clock_hertz"),
        ("pcie_rx_bytes_per_s", "inferometer_pcie_rx_bytes_per_second"),
        ("ttft_s", "inferometer_ttft_seconds"),
        ("energy_joules_total", "inferometer_energy_joules_total"),
        ("sm_active_ratio", "inferometer_sm_active_ratio"),
    ],
)
def test_a_metric_bears_its_base_unit(quantity: str, name: str) -> None:
    assert metric_name(quantity) == name


def test_a_subject_becomes_labels() -> None:
    assert labels("gpu:0/mig:3") == {"gpu": "0", "mig": "3"}
    assert labels("host") == {}


def test_every_quantity_can_be_exported_and_read_back() -> None:
    text = page(exposition(*everything()))

    families = {family.name for family in text_string_to_metric_families(text)}
    assert len(CATALOGUE) <= len(families)


def test_promtool_finds_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool comes with Debian's package prometheus: make test installs it where it may"
    text = page(exposition(*everything(), compat_dcgm=False))

    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_an_absent_value_is_not_exported() -> None:
    text = page(exposition(sample(power_watts=700.0, dram_active_ratio=Absent("no GPM: pre-Hopper"))))

    assert "inferometer_power_watts" in text
    assert "inferometer_dram_active_ratio" not in text


def test_what_is_read_seldom_stays_between_its_readings() -> None:
    text = page(exposition(sample(energy_joules_total=7.0, power_watts=1.0), sample(power_watts=2.0)))

    assert 'inferometer_energy_joules_total{gpu="0"} 7.0' in text
    assert 'inferometer_power_watts{gpu="0"} 2.0' in text


def test_a_stale_value_is_not_exported() -> None:
    assert "inferometer_power_watts" not in page(exposition(sample(power_watts=700.0), now_ns=NOW_NS + 11 * 10**9))


def test_a_histogram_is_exported_as_it_counted() -> None:
    text = page(
        exposition(
            Histogram(t_ns=NOW_NS, subject="engine:0", quantity="ttft_s", edges=(0.5,), cumulative=(3, 4), sum=2.0)
        )
    )

    assert 'inferometer_ttft_seconds_bucket{engine="0",le="0.5"} 3.0' in text
    assert 'inferometer_ttft_seconds_bucket{engine="0",le="+Inf"} 4.0' in text
    assert 'inferometer_ttft_seconds_count{engine="0"} 4.0' in text


def test_hostile_names_stay_inside_their_label() -> None:
    text = page(exposition(sample('process:1"} evil 1\n', power_watts=1.0)))

    (family,) = [found for found in text_string_to_metric_families(text) if found.name == "inferometer_power_watts"]
    assert [found.labels for found in family.samples] == [{"process": '1"} evil 1\n'}]


def test_dcgm_names_come_with_their_units_and_labels_only_when_asked_for() -> None:
    values = sample(gpu_utilization_ratio=0.97, sm_clock_hz=1.98e9, energy_joules_total=10.0)

    assert "DCGM" not in page(exposition(values))
    text = page(exposition(values, compat_dcgm=True))

    own = 'UUID="GPU-0",device="nvidia0",gpu="0",modelName="NVIDIA H200"'
    for name, value in (("DEV_GPU_UTIL", 97.0), ("DEV_SM_CLOCK", 1980.0), ("DEV_TOTAL_ENERGY_CONSUMPTION", 10000.0)):
        assert f"DCGM_FI_{name}{{{own}}} {value}" in text
