import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.catalogue import CATALOGUE
from collector.options import Options
from collector.schema import Absent, Event, Sample
from collector.sources import Unavailable, processes
from collector.sources._gpu_pids import gpu_pids
from collector.sources._roles import is_launcher, role_of
from collector.sources._server import find_server
from collector.sources._tasks import Process, all_processes, read_process, title_of, tree
from collector.store import RunReader, RunWriter
from tests.collector.builders import NS, run
from tests.collector.fake_nvml import PID, REAL, FakeNvml

VLLM = Path(__file__).parent / "data" / "proc_vllm"
ENDPOINT = "http://127.0.0.1:8100"
LOOK_AGAIN = 10 * NS


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A copy of the recorded server, to be changed."""
    return Path(shutil.copytree(VLLM, tmp_path / "world", symlinks=True))


def options(world: Path, *, endpoint: str | None = ENDPOINT, pid: int | None = None) -> Options:
    return Options(proc=world / "proc", sys=world / "sys", endpoint=endpoint, pid=pid)


def samples(records: list[Sample | Event]) -> dict[str, dict[str, float | Absent]]:
    return {record.subject: dict(record.values) for record in records if isinstance(record, Sample)}


def events(records: list[Sample | Event]) -> list[tuple[str, str, object]]:
    return [(record.kind, record.name, record.detail["pid"]) for record in records if isinstance(record, Event)]


def check(records: list[Sample | Event]) -> None:
    """What holds whatever was read."""
    for values in samples(records).values():
        assert values
        for name, value in values.items():
            assert name in CATALOGUE
            assert (value.reason != "") if isinstance(value, Absent) else (0 <= value < float("inf"))


def rewrite(world: Path, name: str, old: str, new: str) -> None:
    file = world / "proc" / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def end(world: Path, *pids: int) -> None:
    for pid in pids:
        shutil.rmtree(world / "proc" / str(pid))


def add(world: Path, pid: int, parent: int, title: str, started: int = 900) -> None:
    """A process that copies the engine core's figures."""
    folder = world / "proc" / str(pid)
    shutil.copytree(world / "proc" / "40", folder, symlinks=True)
    (folder / "task" / "40").rename(folder / "task" / str(pid))
    (folder / "cmdline").write_text(title.replace(" ", "\0"))
    for stat in (folder / "stat", folder / "task" / str(pid) / "stat"):
        fields = stat.read_text().split()
        fields[0], fields[3], fields[21] = str(pid), str(parent), str(started)
        stat.write_text(" ".join(fields) + "\n")


# ------------------------------------------------------------------------------------------------ a vLLM server


def test_the_server_is_found_by_its_port_with_all_that_descends_from_it() -> None:
    records = processes.open_source(options(VLLM)).read(0)
    found = samples(records)

    assert [subject for subject in found if "thread:" not in subject] == [
        "process:10/role:api_server",
        "process:40/role:resource_tracker",
        "process:41/role:engine_core",
        "process:90/role:worker",
        "server",
        "cgroup:server",
    ]
    assert found["process:10/role:api_server"] == {
        "process_cpu_seconds_total": pytest.approx(10.16),
        "process_resident_bytes": 161536 * 4096,
        "process_threads": 3,
        "process_voluntary_switches_total": 5000,
        "process_involuntary_switches_total": 40,
        "process_cpu_wait_seconds_total": 2.5,
    }
    assert found["server"] == {"server_processes": 4}
    assert found["cgroup:server"]["cgroup_cpu_limit_cores"] == 1.5
    # They were there before: nothing happened yet.
    assert events(records) == []


def test_the_busiest_threads_are_told_apart() -> None:
    found = samples(processes.open_source(options(VLLM)).read(0))

    # The busiest first; two threads that never ran are not among them.
    assert [subject for subject in found if "thread:" in subject] == [
        "process:90/role:worker/thread:VLLM__Worker-90",
        "process:41/role:engine_core/thread:VLLM__EngineCor-41",
        "process:10/role:api_server/thread:python3-10",
        "process:90/role:worker/thread:python3-98",
        "process:41/role:engine_core/thread:python3-57",
        "process:10/role:api_server/thread:ZMQbg_IO_0-31",
        "process:40/role:resource_tracker/thread:python3-40",
    ]
    assert found["process:10/role:api_server/thread:ZMQbg_IO_0-31"] == {
        "thread_cpu_seconds_total": pytest.approx(0.06),
        "thread_voluntary_switches_total": 700,
        "thread_involuntary_switches_total": 3,
        "thread_cpu_wait_seconds_total": pytest.approx(1e-6),
    }


FIVE_S = 5_000_000_000


def test_sixteen_threads_are_followed_for_as_long_as_they_are_busy(world: Path) -> None:
    tasks = world / "proc" / "90" / "task"
    for tid in range(300, 340):
        shutil.copytree(tasks / "98", tasks / str(tid))
    source = processes.open_source(options(world))

    def followed(t_ns: int) -> set[str]:
        return {subject.rpartition("-")[2] for subject in samples(source.read(t_ns)) if "thread:" in subject}

    before = followed(0)
    assert len(before) == 16
    assert "339" not in before
    rewrite(world, "90/task/339/stat", " 20 6 ", " 900 6 ")
    assert set() == followed(FIVE_S // 2)
    assert before == followed(FIVE_S)
    after = followed(LOOK_AGAIN)
    assert "339" in after
    # Those that were followed stay where nobody is busier.
    assert len(after & before) == 15
    end(world, 90)
    assert after > followed(LOOK_AGAIN + FIVE_S)


@pytest.mark.parametrize(
    ("title", "role"),
    [
        ("VLLM::EngineCore", "engine_core"),
        ("VLLM::EngineCor", "engine_core"),
        ("Prefix::EngineCore_DP0", "engine_core"),
        ("VLLM::Worker_TP1", "worker"),
        ("VLLM::ApiServer_0", "api_server"),
        ("python3 -m vllm.entrypoints.openai.api_server --port 8000", "api_server"),
        ("/usr/bin/python3 /usr/local/bin/vllm serve ./tiny", "api_server"),
        ("python -m sglang.launch_server --port 30000", "api_server"),
        ("sglang::scheduler_TP0", "engine_core"),
        ("sglang::detokenizer", "tokenizer"),
        ("sglang::tokenizer_worker:77", "tokenizer"),
        ("sglang::data_parallel_controller", "other"),
        ("text-generation-router --port 80", "api_server"),
        ("/opt/conda/bin/python3 /opt/conda/bin/text-generation-server serve m", "worker"),
        ("text-generation-launcher", "other"),
        ("/opt/tritonserver/bin/tritonserver --model-store=/m", "api_server"),
        ("/opt/tritonserver/backends/python/triton_python_backend_stub /m 1", "worker"),
        ("ray::RayWorkerWrapper.execute_method", "worker"),
        ("python3 -c from multiprocessing.resource_tracker import main;main(30)", "resource_tracker"),
        ("python3 -c from multiprocessing.spawn import spawn_main; spawn_main()", "other"),
        ("/bin/bash -c vllm serve ./tiny", "other"),
        ("tini -- vllm serve ./tiny", "other"),
        ("vllm bench serve", "other"),
        ("", "other"),
    ],
)
def test_a_title_tells_the_role(title: str, role: str) -> None:
    assert role == role_of(title)


def test_a_launcher_that_a_shell_quotes_is_not_the_shell() -> None:
    assert is_launcher("text-generation-launcher --port 80")
    assert not is_launcher("sh -c text-generation-launcher")


# ------------------------------------------------------------------------------------------------ starts and ends


def test_a_process_that_starts_or_ends_is_an_event(world: Path) -> None:
    source = processes.open_source(options(world))
    source.read(0)

    end(world, 90)
    add(world, 91, 41, "VLLM::Worker_TP1")
    ended = source.read(1)
    started = source.read(2)

    assert [("process_ended", "worker", 90)] == events(ended)
    assert samples(ended)["server"] == {"server_processes": 3}
    # An end is a reason to look again at once.
    assert [("process_started", "worker", 91)] == events(started)
    assert "process:91/role:worker" in samples(started)
    assert not any("process:90" in subject for subject in samples(started))
    assert [] == events(source.read(3))


def test_a_pid_that_is_used_again_is_another_process(world: Path) -> None:
    source = processes.open_source(options(world))
    source.read(0)
    end(world, 90)
    add(world, 90, 41, "VLLM::Worker", started=5000)

    assert [("process_ended", "worker", 90)] == events(source.read(1))
    assert [("process_started", "worker", 90)] == events(source.read(2))


def test_a_zombie_has_ended(world: Path) -> None:
    source = processes.open_source(options(world))
    rewrite(world, "90/stat", ") S ", ") Z ")

    assert [("process_ended", "worker", 90)] == events(source.read(0))
    assert samples(source.read(1))["server"] == {"server_processes": 3}


def test_a_server_that_vanishes_is_looked_for_now_and_then(world: Path) -> None:
    source = processes.open_source(options(world))
    table = (world / "proc" / "net" / "tcp").read_text()
    end(world, 10, 40, 41, 90)
    (world / "proc" / "net" / "tcp").write_text("header\n")

    assert 4 == len(events(source.read(0)))
    gone = samples(source.read(1))
    assert list(gone) == ["server"]
    missing = gone["server"]["server_processes"]
    assert isinstance(missing, Absent)
    assert "nothing listens on port 8100" in missing.reason

    for pid in (10, 40, 41, 90):
        shutil.copytree(VLLM / "proc" / str(pid), world / "proc" / str(pid), symlinks=True)
    (world / "proc" / "net" / "tcp").write_text(table)
    assert [] == events(source.read(2))
    assert 4 == len(events(source.read(1 + LOOK_AGAIN)))


def test_a_clock_that_jumps_back_is_a_reason_to_look(world: Path) -> None:
    source = processes.open_source(options(world))
    source.read(100 * NS)
    add(world, 91, 41, "VLLM::Worker_TP1")

    assert [("process_started", "worker", 91)] == events(source.read(50 * NS))


def test_parts_that_outlive_their_root_are_followed_on(world: Path) -> None:
    source = processes.open_source(options(world, endpoint=None, pid=10))
    source.read(0)
    end(world, 10)
    rewrite(world, "41/stat", ") S 10 ", ") S 1 ")
    rewrite(world, "40/stat", ") S 10 ", ") S 1 ")
    source.read(1)

    assert samples(source.read(2))["server"] == {"server_processes": 3}
    end(world, 40, 41, 90)
    source.read(3)
    assert samples(source.read(4))["server"] == {"server_processes": Absent("process 10 ended")}


def test_a_process_that_renames_itself_gets_its_role(world: Path) -> None:
    add(world, 91, 41, "python3 -c from multiprocessing.spawn import spawn_main")
    source = processes.open_source(options(world))
    assert "process:91/role:other" in samples(source.read(0))

    (world / "proc" / "91" / "cmdline").write_text("VLLM::Worker_TP1\0")
    found = samples(source.read(LOOK_AGAIN))

    assert "process:91/role:worker" in found
    assert "process:91/role:worker/thread:python3-91" in found


def test_processes_are_bounded(world: Path) -> None:
    for pid in range(1000, 1100):
        add(world, pid, 41, "VLLM::Worker")
    found = samples(processes.open_source(options(world)).read(0))

    assert 64 == sum(subject.startswith("process:") and "thread:" not in subject for subject in found)
    assert found["server"] == {"server_processes": 104}


# ------------------------------------------------------------------------------------------------ finding it


def found(world: Path, endpoint: str) -> set[int]:
    return set(find_server(world / "proc", endpoint, all_processes(world / "proc")).roots)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:8100", "http://localhost:8100/v1", "localhost:8100", "http://0.0.0.0:8100"]
)
def test_an_endpoint_of_this_machine_is_found(endpoint: str) -> None:
    assert {10} == found(VLLM, endpoint)


def test_sockets_of_ipv6_are_found() -> None:
    assert {200} == found(VLLM, "http://[::1]:8101")
    assert {200} == found(VLLM, "http://127.0.0.1:8102")


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("http://127.0.0.1:9", "nothing listens on port 9 in this network namespace"),
        ("http://127.0.0.1", "nothing listens on port 80 "),
        ("http://127.0.0.1:8080", "nothing listens on port 8080 "),
        ("http://gpu-7.example:8100", "gpu-7.example is not localhost.*--pid"),
        ("http://10.0.0.5:8100", "10.0.0.5 is not localhost"),
        ("http://127.0.0.1:99999", "no URL"),
    ],
)
def test_an_endpoint_that_cannot_be_found_says_why(endpoint: str, says: str) -> None:
    with pytest.raises(Unavailable, match=says):
        processes.open_source(options(VLLM, endpoint=endpoint))


def test_nothing_named_says_what_names_it() -> None:
    with pytest.raises(Unavailable, match="--endpoint or --pid"):
        processes.open_source(options(VLLM, endpoint=None))


def test_a_sidecar_without_the_shared_process_namespace_says_what_grants_it(world: Path) -> None:
    end(world, 1, 10, 40, 41, 90)

    with pytest.raises(Unavailable, match="shareProcessNamespace: true"):
        processes.open_source(options(world))
    with pytest.raises(Unavailable, match="shareProcessNamespace: true"):
        processes.open_source(options(world, pid=10))


def close_files(world: Path, *pids: int) -> None:
    """A folder of open files that cannot be listed, whoever asks."""
    for pid in pids:
        shutil.rmtree(world / "proc" / str(pid) / "fd")
        (world / "proc" / str(pid) / "fd").touch()


def test_a_server_of_another_user_is_found_by_its_title(world: Path) -> None:
    close_files(world, 1, 10, 40, 41, 90, 200)
    assert {10} == found(world, ENDPOINT)

    add(world, 70, 1, "python3 -m vllm.entrypoints.openai.api_server --port 8101")
    assert {10} == found(world, ENDPOINT)


def test_a_server_whose_open_files_are_listed_but_not_shown_is_found_by_its_title(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As with one user id, and capabilities that the collector lacks; root, who may run this test, sees everything.
    def refuse(_: Path) -> Path:
        raise PermissionError

    monkeypatch.setattr(Path, "readlink", refuse)

    assert {10} == found(world, ENDPOINT)


def test_a_server_of_another_user_that_no_title_tells_says_what_grants_it(world: Path) -> None:
    close_files(world, 10)
    (world / "proc" / "10" / "cmdline").write_text("python3\0serve.py\0")

    with pytest.raises(Unavailable, match=r"another user.*CAP_SYS_PTRACE"):
        found(world, ENDPOINT)


def test_a_server_without_a_known_title_is_its_own_api_server(world: Path) -> None:
    (world / "proc" / "10" / "cmdline").write_text("python3\0serve.py\0")

    assert "process:10/role:api_server" in samples(processes.open_source(options(world)).read(0))


def test_any_process_of_the_tree_names_the_server() -> None:
    for pid in (10, 41, 90):
        assert samples(processes.open_source(options(VLLM, pid=pid)).read(0))["server"] == {"server_processes": 4}


# ------------------------------------------------------------------------------------------------ by its GPUs


def on_gpus(world: Path, *pids: int, endpoint: str | None = None) -> dict[str, float | Absent]:
    source = processes.Processes(options(world, endpoint=endpoint), lambda _: set(pids))
    return samples(list(source.read(0)))["server"]


@pytest.mark.parametrize("endpoint", [None, "http://vllm.example:8000", "http://127.0.0.1:9"])
def test_a_server_that_neither_port_nor_pid_tells_is_found_by_its_gpus(world: Path, endpoint: str | None) -> None:
    # The whole tree: a worker has the GPU, and the engine core and the API server started it.
    assert on_gpus(world, 90, endpoint=endpoint) == {"server_processes": 4}
    assert on_gpus(world, 90, 41, 77_777, endpoint=endpoint) == {"server_processes": 4}


def test_a_job_without_a_title_is_the_server_only_where_nothing_else_was_named(world: Path) -> None:
    add(world, 300, 1, "python3 serve.py")

    assert on_gpus(world, 300) == {"server_processes": 1}
    # A server is preferred to a job beside it.
    assert on_gpus(world, 300, 90) == {"server_processes": 4}
    with pytest.raises(Unavailable, match=r"nothing listens on port 9 .*; no process .* is known for a server"):
        on_gpus(world, 300, endpoint="http://127.0.0.1:9")


def test_two_servers_on_the_gpus_are_a_question(world: Path) -> None:
    add(world, 300, 1, "VLLM::EngineCore")

    with pytest.raises(Unavailable, match=r"several use the GPUs \(processes 10, 300\): --pid names one"):
        on_gpus(world, 90, 300)


def test_nobody_on_the_gpus_says_what_to_name(world: Path) -> None:
    for pids in ((), (77_777,)):
        with pytest.raises(Unavailable, match=r"no server is named: --endpoint or --pid .*; no process"):
            on_gpus(world, *pids)


def test_the_hosts_numbers_mean_nothing_in_another_process_namespace(world: Path) -> None:
    for link in (None, "pid:[4026532281]"):
        if link:
            (world / "proc" / "self" / "ns").mkdir(parents=True)
            (world / "proc" / "self" / "ns" / "pid").symlink_to(link)
        with pytest.raises(Unavailable, match=r"by the host's numbers only.*hostPID: true"):
            gpu_pids(world / "proc")


@pytest.fixture
def hosts(world: Path) -> Path:
    """The tree of ``/proc`` of a process in the host's namespace."""
    (world / "proc" / "self" / "ns").mkdir(parents=True)
    (world / "proc" / "self" / "ns" / "pid").symlink_to("pid:[4026531836]")
    return world / "proc"


def test_the_driver_tells_who_uses_a_gpu(hosts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nv = FakeNvml(gpus=2)
    nv.fail("nvmlDeviceGetComputeRunningProcesses", REAL.NVML_ERROR_GPU_IS_LOST, gpu=0)
    monkeypatch.setitem(sys.modules, "pynvml", nv)

    assert gpu_pids(hosts) == {PID}
    assert nv.calls["nvmlInit"] == nv.calls["nvmlShutdown"]
    assert not nv.faults


@pytest.mark.parametrize(("code", "says"), [(REAL.NVML_ERROR_DRIVER_NOT_LOADED, "is not loaded"), (None, "nvidia-ml")])
def test_without_a_driver_its_gpus_tell_nothing(
    hosts: Path, monkeypatch: pytest.MonkeyPatch, code: int | None, says: str
) -> None:
    nv = FakeNvml()
    if code is not None:
        nv.fail("nvmlInit", code)
    monkeypatch.setitem(sys.modules, "pynvml", None if code is None else nv)

    with pytest.raises(Unavailable, match=says):
        gpu_pids(hosts)


def test_parts_beside_the_one_that_listens_belong_to_it(world: Path) -> None:
    (world / "proc" / "10" / "cmdline").write_text("text-generation-router\0--port\x008100\0")
    (world / "proc" / "1" / "cmdline").write_text("text-generation-launcher\0")
    add(world, 70, 1, "python3 text-generation-server serve m")

    assert {1} == found(world, ENDPOINT)
    assert "process:70/role:worker" in samples(processes.open_source(options(world)).read(0))


def test_a_tree_survives_parents_in_a_circle() -> None:
    one, two = (Process(pid, parent, "S", 1, 0, 1, 0) for pid, parent in ((1, 2), (2, 1)))

    assert [1, 2] == tree({1}, {1: one, 2: two})


def test_a_name_with_brackets_and_spaces_is_no_field() -> None:
    stranger = read_process(VLLM / "proc" / "200")

    assert (1, "S", 90) == (stranger.parent, stranger.state, stranger.started)


def test_a_kernel_thread_has_its_name_for_a_title(world: Path) -> None:
    (world / "proc" / "200" / "cmdline").write_text("")

    assert "sshd: (stranger" == title_of(world / "proc" / "200")
    assert "" == title_of(world / "proc" / "201")


# ------------------------------------------------------------------------------------------------ faults


def test_what_vanishes_in_mid_reading_is_absent(world: Path) -> None:
    source = processes.open_source(options(world))
    (world / "proc" / "90" / "status").unlink()
    (world / "proc" / "90" / "schedstat").write_text("no\n")
    (world / "proc" / "41" / "stat").write_text("41 (VLLM::EngineCor) S 10 4")
    values = samples(source.read(0))

    worker, core = values["process:90/role:worker"], values["process:41/role:engine_core"]
    assert worker["process_cpu_seconds_total"] == pytest.approx(78.26)
    reasons = [value.reason for value in (*worker.values(), *core.values()) if isinstance(value, Absent)]
    assert [
        *[f"{world}/proc/90/status: not there"] * 2,
        f"{world}/proc/90/schedstat: not in the form the kernel writes",
        *[f"{world}/proc/41/stat: not in the form the kernel writes"] * 3,
    ] == reasons


def test_a_reading_comes_back_from_a_run_folder(world: Path, tmp_path: Path) -> None:
    source = processes.open_source(options(world))
    with RunWriter.create(tmp_path / "run", run()) as writer:
        writer.add(source.read(NS))
        end(world, 90)
        writer.add(source.read(2 * NS))
        writer.close(3 * NS)
    source.close()

    with RunReader.open(tmp_path / "run") as reader:
        rows = reader.samples("processes", quantities=["process_threads"]).rows
        kinds = [event.kind for event in reader.events()]

    assert [3.0, 3.0] == [row[-1] for row in rows if row[1] == "process:10/role:api_server"]
    assert ["process_ended"] == kinds


FILES = sorted(path.relative_to(VLLM) for path in VLLM.rglob("*") if path.is_file() and not path.is_symlink())
GARBAGE = st.one_of(
    st.binary(max_size=200), st.text(alphabet="0123456789-() SZ:\n\t", max_size=200).map(lambda text: text.encode())
)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_files_hold_a_reading_is_sound(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    world = Path(shutil.copytree(VLLM, tmp_path_factory.mktemp("spoilt") / "world", symlinks=True))
    source = processes.open_source(options(world))
    source.read(0)

    for name in data.draw(st.lists(st.sampled_from(FILES), max_size=6, unique=True)):
        good = (world / name).read_bytes()
        content = data.draw(st.one_of(st.integers(0, len(good)), GARBAGE, st.none()))
        content = good[:content] if isinstance(content, int) else content
        (world / name).unlink()
        if content is not None:
            (world / name).write_bytes(content)

    for t_ns in (1, 2, LOOK_AGAIN, 2 * LOOK_AGAIN):
        check(source.read(t_ns))


# ------------------------------------------------------------------------------------------------ this machine

#: Listens, starts a child that burns some CPU time, says so, and waits to be told to end.
SERVER = r"""
import socket, subprocess, sys
burn = "import time\nwhile time.process_time() < 0.3: pass\nprint('burnt', flush=True)\ninput()"
listener = socket.create_server(("127.0.0.1", 0))
child = subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(listener.getsockname()[1], child.pid, flush=True)
input()
child.communicate(b"\n")
print("child ended", flush=True)
input()
"""


@contextmanager
def real_server() -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin
        assert server.stdout
        try:
            yield server, server.stdin, server.stdout
        finally:
            server.kill()


def test_a_real_tree_is_followed_to_its_end() -> None:
    with real_server() as (server, stdin, stdout):
        port, child = map(int, stdout.readline().split())
        source = processes.open_source(Options(endpoint=f"http://127.0.0.1:{port}"))
        records = source.read(0)
        check(records)
        values = samples(records)
        own = values[f"process:{server.pid}/role:api_server"]
        burnt = values[f"process:{child}/role:other"]
        thread = next(values[subject] for subject in values if subject.endswith(f"-{child}"))

        for spent in (burnt["process_cpu_seconds_total"], thread["thread_cpu_seconds_total"]):
            assert not isinstance(spent, Absent)
            # The child burnt 0.3 s by its own count, and the kernel counts in hundredths.
            assert spent >= 0.25
        assert own["process_threads"] == 1
        assert values["server"] == {"server_processes": 2}

        stdin.write("\n")
        stdin.flush()
        assert "child ended\n" == stdout.readline()
        assert [("process_ended", "other", child)] == events(source.read(1))

        server.kill()
        server.wait()
        assert [("process_ended", "api_server", server.pid)] == events(source.read(2))
        assert isinstance(samples(source.read(3))["server"]["server_processes"], Absent)


def test_any_real_process_can_be_named_but_the_collector() -> None:
    with real_server() as (server, _, stdout):
        stdout.readline()
        values = samples(processes.open_source(Options(pid=server.pid)).read(0))
    assert any(subject.startswith(f"process:{server.pid}/") for subject in values)

    with pytest.raises(Unavailable, match=f"process {os.getpid()} is the collector itself"):
        processes.open_source(Options(pid=os.getpid()))


def test_the_collectors_own_port_is_no_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        port = own.getsockname()[1]
        with pytest.raises(Unavailable, match=f"port {port} is the collector's own"):
            processes.open_source(Options(endpoint=f"http://127.0.0.1:{port}"))


def test_a_collector_that_descends_from_the_server_is_not_of_it(world: Path) -> None:
    add(world, 95, 10, "python3 /usr/bin/inferometer collect")
    shutil.rmtree(world / "proc" / "self")
    (world / "proc" / "self").symlink_to("95")

    assert samples(processes.open_source(options(world)).read(0))["server"] == {"server_processes": 4}


def test_files_of_a_process_that_ended_are_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(_: object) -> Iterator[os.DirEntry[str]]:
        raise ProcessLookupError(3, "No such process")

    monkeypatch.setattr(os, "scandir", ended)

    with pytest.raises(Unavailable, match="another process namespace"):
        found(VLLM, ENDPOINT)
