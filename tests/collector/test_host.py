import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.catalogue import CATALOGUE
from collector.options import Options
from collector.schema import Absent, Sample
from collector.sources import Unavailable, _procfs, host
from collector.sources._cgroup import cgroup
from collector.store import RunReader, RunWriter
from tests.collector.builders import NS, run

DATA = Path(__file__).parent / "data"
CONTAINER, CGROUP_V1 = DATA / "proc_container", DATA / "proc_cgroup_v1"


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A copy of the recorded container, to be spoilt."""
    return Path(shutil.copytree(CONTAINER, tmp_path / "world"))


def options(world: Path) -> Options:
    return Options(proc=world / "proc", sys=world / "sys", interval_s=0.5)


def read(world: Path) -> dict[str, dict[str, float | Absent]]:
    samples = host.open_source(options(world)).read(7)
    assert all(sample.t_ns == 7 and sample.source == "host" for sample in samples)
    return {sample.subject: dict(sample.values) for sample in samples}


def reason(value: float | Absent) -> str:
    assert isinstance(value, Absent)
    return value.reason


def check(samples: list[Sample]) -> None:
    """What holds whatever was read."""
    for sample in samples:
        assert sample.values
        for name, value in sample.values.items():
            assert name in CATALOGUE
            assert CATALOGUE[name].meaning
            assert (value.reason != "") if isinstance(value, Absent) else (0 <= value < float("inf"))


# ------------------------------------------------------------------------------------------------ a container


def test_a_container_shows_the_cores_the_pressure_and_the_memory_of_its_host() -> None:
    found = read(CONTAINER)

    assert found["host"] == {
        # user, nice, system, irq and softirq; guests are part of user.
        "cpu_busy_seconds_total": pytest.approx(3505.15),
        "cpu_iowait_seconds_total": pytest.approx(66.71),
        "cpu_steal_seconds_total": pytest.approx(114.64),
        "runnable_tasks": 3,
        "load_1min": 1.68,
        "cpu_pressure_some_seconds_total": pytest.approx(559.483572),
        "cpu_pressure_full_seconds_total": 0,
        "memory_pressure_some_seconds_total": pytest.approx(1.2),
        "memory_pressure_full_seconds_total": pytest.approx(0.8),
        "io_pressure_some_seconds_total": pytest.approx(86.033738),
        "io_pressure_full_seconds_total": pytest.approx(48.227912),
        "host_memory_total_bytes": 24684096 * 1024,
        "host_memory_available_bytes": 23633820 * 1024,
    }
    assert [subject for subject in found if subject.startswith("cpu:")] == ["cpu:0", "cpu:1"]
    assert found["cpu:1"] == {"core_busy_seconds_total": pytest.approx(2114.28)}


def test_only_whole_disks_and_outer_interfaces_count() -> None:
    found = read(CONTAINER)

    assert [s for s in found if s.startswith(("disk", "net"))] == ["disk:nvme0n1", "disk:sda", "net:eth0"]
    assert found["disk:nvme0n1"] == {
        "disk_reads_total": 428804,
        "disk_read_bytes_total": 14589018 * 512,
        "disk_read_seconds_total": pytest.approx(437.34),
        "disk_writes_total": 1182965,
        "disk_written_bytes_total": 73061656 * 512,
        "disk_write_seconds_total": pytest.approx(2557.505),
        "disk_busy_seconds_total": pytest.approx(168.68),
    }
    assert found["net:eth0"] == {
        "net_received_bytes_total": 397405051,
        "net_receive_errors_total": 1,
        "net_receive_drops_total": 2,
        "net_sent_bytes_total": 866117,
        "net_send_errors_total": 3,
        "net_send_drops_total": 4,
    }


def test_a_container_sees_its_own_limits() -> None:
    assert read(CONTAINER)["cgroup:collector"] == {
        "cgroup_cpu_limit_cores": 1.5,
        "cgroup_cpu_seconds_total": pytest.approx(7.3005),
        "cgroup_cpu_periods_total": 4021,
        "cgroup_cpu_throttled_periods_total": 17,
        "cgroup_cpu_throttled_seconds_total": pytest.approx(0.95),
        "cgroup_memory_limit_bytes": 512 << 20,
        "cgroup_memory_bytes": 100 << 20,
        "cgroup_oom_kills_total": 1,
        "cgroup_cpu_pressure_some_seconds_total": pytest.approx(2.5),
        "cgroup_cpu_pressure_full_seconds_total": pytest.approx(1.5),
        "cgroup_memory_pressure_some_seconds_total": pytest.approx(300e-6),
        "cgroup_memory_pressure_full_seconds_total": pytest.approx(200e-6),
        "cgroup_io_pressure_some_seconds_total": pytest.approx(4e-3),
        "cgroup_io_pressure_full_seconds_total": pytest.approx(3e-3),
    }


# ------------------------------------------------------------------------------------------------ cgroups


def test_without_cgroup_v2_the_reason_says_what_grants_it(world: Path) -> None:
    v1 = read(CGROUP_V1)["cgroup:collector"]
    shutil.rmtree(world / "sys")
    none = read(world)["cgroup:collector"]

    assert set(v1) == set(none) == set(read(CONTAINER)["cgroup:collector"])
    assert all("systemd.unified_cgroup_hierarchy=1" in reason(value) for value in v1.values())
    assert all(reason(value).endswith("no cgroup v2 is mounted") for value in none.values())


def test_no_limit_is_no_number(world: Path) -> None:
    group = world / "sys" / "fs" / "cgroup"
    (group / "cpu.max").write_text("max 100000\n")
    (group / "memory.max").unlink()
    found = read(world)["cgroup:collector"]

    assert reason(found["cgroup_cpu_limit_cores"]).endswith("cpu.max: no limit is set")
    assert reason(found["cgroup_memory_limit_bytes"]).endswith("memory.max: no limit is set")
    assert found["cgroup_memory_bytes"] == 100 << 20


def nest(world: Path) -> Path:
    """Move the process into a group below one that limits it."""
    pod = world / "sys" / "fs" / "cgroup" / "pod"
    for folder in (pod, pod / "app"):
        shutil.copytree(CONTAINER / "sys" / "fs" / "cgroup", folder)
    (pod / "app" / "cpu.max").write_text("max 100000\n")
    (pod / "app" / "memory.max").write_text("max\n")
    (pod / "cpu.max").write_text("50000 100000\n")
    (pod / "cpu.stat").write_text("usage_usec 9\nnr_periods 8\nnr_throttled 7\nthrottled_usec 6\n")
    (pod / "memory.max").write_text("1000\n")
    (pod / "memory.current").write_text("900\n")
    (world / "proc" / "self" / "cgroup").write_text("0::/pod/app\n")
    return pod


def test_the_tightest_limit_above_counts_with_its_throttling(world: Path) -> None:
    nest(world)
    found = read(world)["cgroup:collector"]

    assert found["cgroup_cpu_limit_cores"] == 0.5
    assert found["cgroup_cpu_throttled_periods_total"] == 7
    assert (found["cgroup_memory_limit_bytes"], found["cgroup_memory_bytes"]) == (1000, 900)
    # Use is the group's own.
    assert found["cgroup_cpu_seconds_total"] == pytest.approx(7.3005)


def test_a_path_of_the_host_that_the_container_does_not_show_is_its_root(world: Path) -> None:
    (world / "proc" / "self" / "cgroup").write_text("0::/kubepods.slice/pod1/cri-1.scope\n")

    assert read(world)["cgroup:collector"]["cgroup_cpu_limit_cores"] == 1.5


def test_a_group_of_another_container_is_read_through_its_root(world: Path) -> None:
    theirs = world / "proc" / "10" / "root" / "sys" / "fs" / "cgroup"
    shutil.copytree(CONTAINER / "sys" / "fs" / "cgroup", theirs)
    (theirs / "cpu.max").write_text("800000 100000\n")
    (world / "proc" / "10" / "cgroup").write_text("0::/../cri-2.scope\n")

    assert cgroup(world / "proc", world / "sys", "10")["cgroup_cpu_limit_cores"] == 8
    assert "not there" in reason(cgroup(world / "proc", world / "sys", "11")["cgroup_cpu_limit_cores"])


def refuse(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the system refuse to open files of these names, as it does to a user without the right."""
    real = _procfs.read_bytes

    def read_bytes(path: Path, largest_bytes: int) -> bytes:
        if path.name in names:
            raise PermissionError(13, "Permission denied")
        return real(path, largest_bytes)

    monkeypatch.setattr(_procfs, "read_bytes", read_bytes)


def test_what_this_user_may_not_read_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "diskstats", "cpu.max", "memory.events")
    found = read(CONTAINER)

    assert reason(found["disk"]["disk_reads_total"]).endswith("this user may not read it")
    assert reason(found["cgroup:collector"]["cgroup_cpu_limit_cores"]).endswith("this user may not read it")
    assert reason(found["cgroup:collector"]["cgroup_oom_kills_total"]).endswith("this user may not read it")
    assert found["cgroup:collector"]["cgroup_memory_limit_bytes"] == 512 << 20


def test_another_containers_root_that_is_closed_says_what_grants_it(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world / "proc" / "self" / "cgroup").write_text("0::/../other\n")
    real = Path.stat

    def closed(path: Path, *, follow_symlinks: bool = True) -> object:
        if "root" in path.parts[-6:]:
            raise PermissionError(13, "Permission denied")
        return real(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", closed)

    assert "CAP_SYS_PTRACE" in reason(read(world)["cgroup:collector"]["cgroup_cpu_limit_cores"])


# ------------------------------------------------------------------------------------------------ faults


def test_a_kernel_without_pressure_says_what_grants_it() -> None:
    found = read(CGROUP_V1)["host"]

    assert "psi=1" in reason(found["io_pressure_some_seconds_total"])
    assert found["load_1min"] == 0.05


def test_an_older_kernel_has_no_full_pressure_of_the_cores(world: Path) -> None:
    (world / "proc" / "pressure" / "cpu").write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n")
    found = read(world)["host"]

    assert found["cpu_pressure_some_seconds_total"] == pytest.approx(5e-6)
    assert reason(found["cpu_pressure_full_seconds_total"]).endswith("pressure/cpu: does not hold it")


def test_an_older_kernels_short_disk_lines_are_read() -> None:
    assert read(CGROUP_V1)["disk:sda"]["disk_busy_seconds_total"] == pytest.approx(0.29)


@pytest.mark.parametrize(
    ("name", "text", "lost"),
    [
        ("stat", "cpu  1 2 3", "cpu_busy_seconds_total"),
        ("stat", "cpu  1 2 3\n", "cpu_busy_seconds_total"),
        ("stat", "cpu  1 -2 3 4 5 6 7 8 9 10\n", "cpu_busy_seconds_total"),
        ("stat", "", "runnable_tasks"),
        ("loadavg", "nan 0 0 1/2 3\n", "load_1min"),
        ("loadavg", "-1 0 0 1/2 3\n", "load_1min"),
        ("meminfo", f"MemTotal: {1 << 64} kB\n", "host_memory_total_bytes"),
        ("meminfo", "MemTotal:\n", "host_memory_total_bytes"),
        ("pressure/io", "some avg10=0 total=9\nfull avg10=0 tot", "io_pressure_full_seconds_total"),
    ],
)
def test_a_malformed_or_truncated_file_loses_its_own_figures_alone(
    world: Path, name: str, text: str, lost: str
) -> None:
    whole = read(world)["host"]
    (world / "proc" / name).write_text(text)
    found = read(world)["host"]

    assert found.keys() == whole.keys()
    assert str(world / "proc" / name) in reason(found[lost])
    assert found != whole
    assert sum(isinstance(value, Absent) for value in found.values()) <= 4


@pytest.mark.parametrize(("name", "kind"), [("diskstats", "disk"), ("net/dev", "net")])
def test_a_masked_or_broken_list_of_devices_is_absent_with_its_reason(world: Path, name: str, kind: str) -> None:
    file = world / "proc" / name
    good = file.read_text()

    file.write_text("")
    assert {reason(value) for value in read(world)[kind].values()} == {f"{file}: names none that counts"}
    file.write_text(good.replace("428804", "x").replace("866117", "x"))
    assert {reason(value) for value in read(world)[kind].values()} == {f"{file}: not in the form the kernel writes"}
    file.unlink()
    assert {reason(value) for value in read(world)[kind].values()} == {f"{file}: not there"}


def test_devices_and_cores_are_bounded(world: Path) -> None:
    core = "0 0 0 0 0 0 0 0 0 0\n"
    (world / "proc" / "stat").write_text("cpu " + core + "".join(f"cpu{n} {core}" for n in range(400)))
    (world / "proc" / "net" / "dev").write_text("".join(f"eth{n}: {'1 ' * 16}\n" for n in range(99)))
    found = read(world)

    assert 256 == sum(subject.startswith("cpu:") for subject in found)
    assert 16 == sum(subject.startswith("net:") for subject in found)


def test_without_proc_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="Linux"):
        host.open_source(options(tmp_path))


# ------------------------------------------------------------------------------------------------ counters


def set_iowait(world: Path, ticks: int) -> None:
    (world / "proc" / "stat").write_text(f"cpu  0 0 0 0 {ticks} 0 0 0 0 0\n")


def test_a_small_fall_of_iowait_is_held_and_a_large_one_is_a_restart(world: Path) -> None:
    source = host.open_source(options(world))

    def iowait(ticks: int) -> float | Absent:
        set_iowait(world, ticks)
        return source.read(0)[0].values["cpu_iowait_seconds_total"]

    assert [1000.0, 1000.0, 1000.5, 5.0] == [iowait(ticks) for ticks in (100_000, 99_990, 100_050, 500)]


def test_a_reading_comes_back_from_a_run_folder(tmp_path: Path) -> None:
    source = host.open_source(options(CGROUP_V1))
    with RunWriter.create(tmp_path / "run", run()) as writer:
        writer.add(source.read(NS))
        writer.add(source.read(2 * NS))
        writer.close(3 * NS)
    source.close()

    with RunReader.open(tmp_path / "run") as reader:
        rows = reader.samples("host", quantities=["load_1min"]).rows
        absent = {(absence.subject, absence.quantity) for absence in reader.absences()}

    assert [0.05, 0.05] == [row[-1] for row in rows if row[1] == "host"]
    assert ("cgroup:collector", "cgroup_cpu_limit_cores") in absent
    assert ("host", "cpu_pressure_some_seconds_total") in absent


FILES = sorted(path.relative_to(CONTAINER) for path in CONTAINER.rglob("*") if path.is_file())
GARBAGE = st.one_of(
    st.binary(max_size=200),
    st.text(alphabet="cpu0123456789-+. :\n\tmaxeth", max_size=200).map(str.encode),
)


def spoilt(good: bytes) -> st.SearchStrategy[bytes | None]:
    """The file cut short, with bytes changed, replaced by garbage, or gone."""
    cut = st.integers(0, len(good)).map(lambda end: good[:end])
    changed = st.tuples(st.integers(0, len(good)), GARBAGE).map(lambda at: good[: at[0]] + at[1] + good[at[0] + 3 :])
    return st.one_of(cut, changed, GARBAGE, st.none())


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_files_hold_a_reading_is_sound(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    world = Path(shutil.copytree(CONTAINER, tmp_path_factory.mktemp("spoilt") / "world"))
    source = host.open_source(options(world))

    for name in data.draw(st.lists(st.sampled_from(FILES), max_size=4, unique=True)):
        content = data.draw(spoilt((world / name).read_bytes()))
        (world / name).unlink()
        if content is not None:
            (world / name).write_bytes(content)

    check(source.read(0))
    check(source.read(1))


def test_this_machine_can_be_read() -> None:
    samples = host.open_source(Options()).read(0)
    found = {sample.subject: sample.values for sample in samples}

    check(samples)
    assert not isinstance(found["host"]["cpu_busy_seconds_total"], Absent)
    assert "core_busy_seconds_total" in found["cpu:0"]


def test_figures_of_the_kernel_are_whole_and_not_negative() -> None:
    bad: list[Callable[[], float]] = [lambda: _procfs.amount("-1"), lambda: _procfs.amount(str(1 << 64))]
    for call in bad:
        with pytest.raises(ValueError, match=r"\d"):
            call()
    assert float((1 << 64) - 1) == _procfs.amount(str((1 << 64) - 1))


def test_cores_are_read_every_five_seconds_and_the_host_at_every_reading() -> None:
    source = host.open_source(options(CONTAINER))

    found = [{sample.subject for sample in source.read(second * NS)} for second in range(11)]

    assert [0, 5, 10] == [second for second, subjects in enumerate(found) if "cpu:0" in subjects]
    assert all("host" in subjects for subjects in found)
