"""Each check of the doctor, in every state, on machines that are not there."""

import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from collector import checks, doctor
from collector.checks import Finding, Topic, _world, clock, gpu, host, listen, processes, store
from collector.checks._world import World, look
from collector.errors import UserError
from collector.options import Options
from collector.plugins import discover
from collector.schema import Absent, Sample
from collector.server import MetricsServer
from collector.store import RunWriter
from tests.collector import fake_nvml
from tests.collector.builders import NS
from tests.collector.checking import DATA, NOW_NS, findings, only, recorded, states, tree, world
from tests.collector.fake_nvml import REAL, FakeNvml

CONTAINER, CGROUP_V1, VLLM = DATA / "proc_container", DATA / "proc_cgroup_v1", DATA / "proc_vllm"


def trees(folder: Path) -> dict[str, Any]:
    return {"proc": folder / "proc", "sys": folder / "sys"}


# ------------------------------------------------------------------------------------------------ GPUs


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[FakeNvml, World]]]:
    """Makes GPUs, and the world that they are in."""
    made: list[FakeNvml] = []

    def make(**gpus: Any) -> tuple[FakeNvml, World]:
        here = world()
        made.append(FakeNvml(clock=here.clock, **gpus))
        monkeypatch.setitem(sys.modules, "pynvml", made[-1])
        return made[-1], here

    yield make
    assert not [fault for fake in made for fault in fake.faults]


def test_a_hopper_gpu_has_everything(machine: Callable[..., tuple[FakeNvml, World]]) -> None:
    _, here = machine(gpus=2)
    found = list(gpu.check(here))

    names = ("driver", "activity", "process_shares", "xid", "values")
    assert states(found) == {(name, f"gpu:{index}"): "ok" for name in names for index in (0, 1)}
    assert "NVIDIA H200, driver 580.159.04" in only_of(found, "driver", "gpu:1").reason
    samples = {each.subject: each.values for each in found if isinstance(each, Sample)}
    assert not any(isinstance(value, Absent) for value in samples["gpu:0"].values())


def only_of(found: list[Finding | Sample], name: str, subject: str) -> Finding:
    (finding,) = (each for each in findings(found) if (each.name, each.subject) == (name, subject))
    return finding


def test_a_gpu_before_hopper_lacks_what_tells_the_roofs_apart(
    machine: Callable[..., tuple[FakeNvml, World]],
) -> None:
    _, here = machine(gpm=False)
    activity = only(gpu.check(here), "activity")

    assert ("missing", "verdict") == (activity.state, activity.needed_for)
    assert "Hopper" in activity.reason
    assert activity.remedy is not None
    assert "DCGM" in activity.remedy


@pytest.mark.parametrize(
    ("call", "code", "name"),
    [
        ("nvmlGpmSampleGet", REAL.NVML_ERROR_NO_PERMISSION, "activity"),
        ("nvmlDeviceGetProcessUtilization", REAL.NVML_ERROR_NO_PERMISSION, "process_shares"),
        ("nvmlDeviceRegisterEvents", REAL.NVML_ERROR_NOT_SUPPORTED, "xid"),
    ],
)
def test_what_the_driver_refuses_is_missing_and_nothing_else(
    machine: Callable[..., tuple[FakeNvml, World]], call: str, code: int, name: str
) -> None:
    fake, here = machine()
    fake.fail(call, code)

    wrong = [finding for finding in findings(gpu.check(here)) if finding.state != "ok"]
    assert [(name, "missing")] == [(finding.name, finding.state) for finding in wrong]
    if code == REAL.NVML_ERROR_NO_PERMISSION:
        assert wrong[0].remedy == "run the collector as root, or privileged"


def test_single_values_that_are_not_offered_are_named(machine: Callable[..., tuple[FakeNvml, World]]) -> None:
    fake, here = machine()
    fake.fail("nvmlDeviceGetTotalEnergyConsumption", REAL.NVML_ERROR_NOT_SUPPORTED)
    fake.fail("nvmlGpmMetricsGet", REAL.NVML_ERROR_UNKNOWN)

    found = list(gpu.check(here))
    assert ("energy_joules_total",) == only(found, "values").evidence["quantities"]
    assert "missing" == only(found, "activity").state


def test_busy_time_may_come_from_either_reading(
    machine: Callable[..., tuple[FakeNvml, World]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, here = machine()
    monkeypatch.setattr(fake_nvml, "GPM_IDS", tuple(set(fake_nvml.GPM_IDS) - {1}))

    assert "degraded" == only(gpu.check(here), "activity").state
    fake.fail("nvmlDeviceGetUtilizationRates", REAL.NVML_ERROR_NOT_SUPPORTED)
    assert "missing" == only(gpu.check(here), "activity").state


def test_a_monitor_that_says_nothing_degrades_the_rest(
    machine: Callable[..., tuple[FakeNvml, World]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIVEN a driver without NVLink's counters, THEN the roofs are told apart all the same."""
    _, here = machine()
    monkeypatch.setattr(fake_nvml, "GPM_IDS", tuple(set(fake_nvml.GPM_IDS) - {60, 61}))

    activity = only(gpu.check(here), "activity")
    assert "degraded" == activity.state
    assert activity.reason.endswith("nvlink_rx_bytes_per_s, nvlink_tx_bytes_per_s")


def test_instances_of_mig_are_looked_at_one_by_one(machine: Callable[..., tuple[FakeNvml, World]]) -> None:
    _, here = machine(mig={0: [1, 2]})

    found = states(gpu.check(here))
    assert ("ok", "ok") == (found["activity", "gpu:0/mig:1"], found["activity", "gpu:0/mig:2"])
    # NVML has neither the shares of processes nor its own utilization under MIG.
    assert "missing" == found["process_shares", "gpu:0/mig:1"]
    assert ("process_shares", "gpu:0") not in found
    assert "degraded" == found["values", "gpu:0"]


def test_a_lost_gpu_is_one_finding(machine: Callable[..., tuple[FakeNvml, World]]) -> None:
    fake, here = machine(gpus=2)
    fake.lose(0)

    of_it = [finding for finding in findings(gpu.check(here)) if finding.subject == "gpu:0"]
    assert [("driver", "missing", "verdict")] == [(each.name, each.state, each.needed_for) for each in of_it]
    assert of_it[0].remedy is not None
    assert "reset" in of_it[0].remedy


@pytest.mark.parametrize(
    ("code", "grant"),
    [
        (REAL.NVML_ERROR_LIBRARY_NOT_FOUND, "NVIDIA_DRIVER_CAPABILITIES=utility"),
        (REAL.NVML_ERROR_DRIVER_NOT_LOADED, "load it on the host"),
        (REAL.NVML_ERROR_NO_PERMISSION, "/dev/nvidiactl"),
    ],
)
def test_without_a_driver_the_grant_is_said(
    machine: Callable[..., tuple[FakeNvml, World]], code: int, grant: str
) -> None:
    fake, here = machine()
    fake.fail("nvmlInit", code)

    (finding,) = findings(gpu.check(here))
    assert ("driver", "missing", "verdict") == (finding.name, finding.state, finding.needed_for)
    assert finding.remedy is not None
    assert grant in finding.remedy


def test_a_container_without_gpus_is_told_how_to_get_them(machine: Callable[..., tuple[FakeNvml, World]]) -> None:
    _, here = machine(gpus=0)

    (finding,) = findings(gpu.check(here))
    assert finding.remedy is not None
    assert "--gpus all" in finding.remedy


# ------------------------------------------------------------------------------------------------ host, processes


def test_a_whole_container_is_well() -> None:
    found = states(host.check(world(**trees(CONTAINER))))

    assert "ok" == found["figures", "host"]
    assert not [subject for _, subject in found if subject.startswith("cpu:")]


def test_cgroup_v1_is_said_with_what_grants_v2() -> None:
    found = list(host.check(world(**trees(CGROUP_V1))))

    group = only_of(found, "figures", "cgroup:collector")
    assert "missing" == group.state
    assert group.remedy is not None
    assert "systemd.unified_cgroup_hierarchy=1" in group.remedy
    pressure = [each for each in findings(found) if each.remedy and "psi=1" in each.remedy]
    assert pressure
    assert {"degraded"} == {each.state for each in pressure}


def test_a_system_without_proc_is_missing_as_a_whole(tmp_path: Path) -> None:
    assert {("figures", "host"): "missing", ("pid_namespace", "collector"): "degraded"} == states(
        host.check(world(**trees(tmp_path)))
    )


@pytest.mark.parametrize(("inode", "state"), [("4026531836", "ok"), ("4026532201", "degraded")])
def test_the_hosts_pids_are_those_of_the_first_namespace(tmp_path: Path, inode: str, state: str) -> None:
    folder = tmp_path / "proc" / "self" / "ns"
    folder.mkdir(parents=True)
    (folder / "pid").symlink_to(f"pid:[{inode}]")

    finding = only(host.check(world(**trees(tmp_path))), "pid_namespace")
    assert state == finding.state
    assert (finding.remedy is None) == (state == "ok")


def test_the_tree_is_named_by_role() -> None:
    here = look(Options(pid=10, **trees(VLLM)))

    tree_ = only(processes.check(here), "tree")
    assert "4 processes: api_server 10, resource_tracker 40, engine_core 41, worker 90" == tree_.reason
    assert {"10": "api_server", "40": "resource_tracker", "41": "engine_core", "90": "worker"} == tree_.evidence[
        "roles"
    ]


def test_a_tree_that_is_not_found_says_what_would_show_it() -> None:
    finding = only(processes.check(world(tree="it is hidden; shareProcessNamespace: true grants it")), "tree")

    assert ("missing", "it is hidden") == (finding.state, finding.reason)
    assert "shareProcessNamespace: true grants it" == finding.remedy


def test_a_driver_that_hangs_does_not_hang_the_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr("collector.sources.processes.open_source", lambda _: over.wait())
    monkeypatch.setattr(_world, "PATIENCE_S", 0.01)
    here = look(Options())
    over.set()

    assert "did not come back" in only(processes.check(here), "tree").reason


def test_threads_and_figures_that_are_closed_are_said(tmp_path: Path) -> None:
    closed = Sample(t_ns=0, source="processes", subject="cgroup:server", values={"cgroup_memory_bytes": Absent("no")})
    hidden = tree()
    here = world(tree=type(hidden)(samples=(closed,), roles=hidden.roles, front=10, command=()), proc=tmp_path)

    found = list(processes.check(here))
    assert "degraded" == only(found, "threads").state
    assert "missing" == only(found, "figures").state


# ------------------------------------------------------------------------------------------------ store, clock, listen


def test_a_place_for_runs_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "monday"

    found = states(store.check(world(run=target)))
    assert "ok" == found["folder", str(target)]
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: (path / "run.json").write_text("{}"), "not empty"),
        (lambda path: (path.rmdir(), path.write_text("")), "is a file"),
    ],
)
def test_a_place_that_is_taken_is_missing(tmp_path: Path, make: Callable[[Path], object], reason: str) -> None:
    target = tmp_path / "run"
    target.mkdir()
    make(target)

    finding = only(store.check(world(run=target)), "folder")
    assert ("missing", "verdict") == (finding.state, finding.needed_for)
    assert reason in finding.reason
    assert finding.remedy


def test_a_disk_that_refuses_is_missing_with_its_own_words() -> None:
    finding = only(store.check(world(run=Path("/proc/run"))), "folder")

    assert "missing" == finding.state
    assert "cannot be" in finding.reason


def test_a_place_without_a_write_ahead_log_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GIVEN a disk where SQLite falls back to another journal, as on some network mounts."""
    create = RunWriter.create

    def without_wal(path: Path, run: Any) -> Any:
        writer = create(path, run)
        writer._connection.execute("PRAGMA journal_mode = DELETE")
        return writer

    monkeypatch.setattr(RunWriter, "create", without_wal)

    finding = only(store.check(world(run=tmp_path / "run")), "folder")
    assert ("missing", "choose a local disk") == (finding.state, finding.remedy)


def test_little_room_degrades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = SimpleNamespace(free=5_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: left)

    room = only(store.check(world(run=tmp_path / "run")), "room")
    assert ("degraded", "only 5 MB are free") == (room.state, room.reason)


def test_no_run_folder_is_no_hindrance() -> None:
    finding = only(store.check(world()), "folder")
    assert ("missing", "optional", "--run DIR tries it") == (finding.state, finding.needed_for, finding.remedy)


@pytest.mark.parametrize(
    ("now_ns", "state"),
    [
        (NOW_NS, "ok"),
        (0, "degraded"),
        # The recorded server started at 1795280201.04.
        (round(datetime(2026, 2, 1, tzinfo=UTC).timestamp()) * NS, "degraded"),
    ],
)
def test_a_clock_that_cannot_be_right_is_said(now_ns: int, state: str) -> None:
    assert {("clock", "collector"): state} == states(clock.check(world(recorded("vllm_0_23"), now_ns=now_ns)))


def test_an_address_that_is_taken_is_missing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        finding = only(listen.check(world(listen=f"127.0.0.1:{taken.getsockname()[1]}")), "listen")

    assert "missing" == finding.state
    assert finding.reason.startswith("cannot listen on 127.0.0.1:")
    assert finding.remedy == "choose another address with --listen"


def test_an_address_is_let_go() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"

    assert {("listen", address): "ok"} == states(listen.check(world(listen=address)))
    MetricsServer(address, CollectorRegistry(), {}).close()


def test_an_address_that_is_none_is_missing() -> None:
    assert {("listen", "nonsense"): "missing"} == states(listen.check(world(listen="nonsense")))


# ------------------------------------------------------------------------------------------------ all of them


def plugin(check: Callable[[World], object]) -> ModuleType:
    module = ModuleType("made", "A check.")
    module.TITLE, module.check = "Made", check  # type: ignore[attr-defined]
    return module


def test_a_finding_that_a_verdict_needs_decides() -> None:
    topic, other = Topic("page", "server", "verdict"), Topic("listen", "x")
    cases = {
        True: [topic.ok("there"), other.missing("not there")],
        False: [topic.missing("not there; start it"), other.ok("there")],
    }
    for possible, found in cases.items():
        report = doctor.examine(Options(), world(), {"made": plugin(lambda _: found)})  # noqa: B023 - run at once
        assert possible == report.verdict_possible
        assert {"made"} == {finding.check for finding in report.findings}
    assert "A verdict is not possible here; it lacks server: not there." == report.summary
    assert "start it" == report.findings[0].remedy


def test_a_verdict_with_less_says_so() -> None:
    found = [Topic("queue", subject, "verdict").degraded("unknown") for subject in ("engine:0", "engine:1")]
    report = doctor.examine(Options(), world(), {"made": plugin(lambda _: found)})

    assert report.verdict_possible
    assert "A verdict is possible, with less to go by: engine:0, engine:1: unknown." == report.summary


def test_a_check_that_hangs_costs_its_own_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    over, begun = threading.Event(), threading.Event()

    def hanging(_: World) -> Iterator[Finding]:
        yield Topic("driver", "gpu:0", "verdict").ok("there")
        begun.set()
        over.wait()

    def waiting(_: World) -> list[Finding]:
        begun.wait()
        return [Topic("clock", "collector").ok("well")]

    monkeypatch.setattr(doctor, "PATIENCE_S", 0.05)
    report = doctor.examine(Options(), world(), {"clock": plugin(waiting), "gpu": plugin(hanging)})
    over.set()

    assert [("clock", "ok"), ("driver", "ok"), ("hangs", "missing")] == [
        (finding.name, finding.state) for finding in report.findings
    ]
    assert not report.verdict_possible


def test_a_fault_of_ours_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        doctor.examine(Options(), world(), {"made": plugin(lambda _: 1 / 0)})


def test_every_metric_is_listed_with_its_value_or_its_reason() -> None:
    found = [Sample(t_ns=0, source="host", subject="host", values={"load_1min": 0.5, "runnable_tasks": Absent("no")})]
    report = doctor.examine(Options(), world(), {"made": plugin(lambda _: found)})

    assert [("load_1min", 0.5, None), ("runnable_tasks", None, "no")] == [
        (metric.quantity, metric.value, metric.reason) for metric in report.metrics
    ]


def test_an_engine_that_is_not_known_is_a_mistake() -> None:
    with pytest.raises(UserError, match="no engine is called"):
        doctor.examine(Options(engine="nonsense"))


def test_every_check_has_a_title() -> None:
    assert set(discover(checks)) == set(doctor.titles())
    assert all(doctor.titles().values())
