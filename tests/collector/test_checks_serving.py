"""What the doctor says of a server: its page, its buckets, its flags, and what could look inside it."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.checks import Finding, _buckets, serving, tracing
from collector.checks._settings import contradicted
from collector.checks._world import Tree, World, look
from collector.dialects import Mapped, plugins
from collector.options import Options
from collector.scrape import read
from tests.collector.checking import DATA, findings, only, recorded, served, states, timed, tree, world
from tests.collector.servers import Server, answering

PAGE = (DATA / "vllm_0_23.prom").read_text()


def without(*families: str) -> str:
    """The recorded page without these families."""
    return "".join(line for line in PAGE.splitlines(keepends=True) if not any(family in line for family in families))


def of(text: str, name: str) -> Finding:
    return only(serving.check(world(served(text))), name)


# ------------------------------------------------------------------------------------------------ the page


def test_a_recorded_vllm_lacks_nothing_but_finer_buckets() -> None:
    found = states(serving.check(world(recorded("vllm_0_23", "0.23.0"), tree("vllm", "serve"))))

    assert {"buckets", "settings"} == {name for (name, _), state in found.items() if state != "ok"}
    assert {"page", "requests_running", "requests_waiting", "front_end_cpu_seconds_total"} <= {
        name for name, _ in found
    }


@pytest.mark.parametrize("engine", sorted(plugins()))
def test_every_engine_is_looked_at(engine: str) -> None:
    page = next(path.stem for path in sorted(DATA.glob(f"{engine}*.prom")))
    found = states(serving.check(world(recorded(page))))

    assert "ok" == found["page", "server"]
    assert "ok" == found["requests_running", "engine:0"]
    assert "ok" == found["names", "engine:0"]


def test_without_an_endpoint_one_is_asked_for() -> None:
    here = look(Options())
    (finding,) = findings(serving.check(here))

    assert ("page", "missing", "verdict") == (finding.name, finding.state, finding.needed_for)
    assert "no --endpoint was given" == finding.reason
    assert "name the server's address, such as http://127.0.0.1:8000" == finding.remedy


@pytest.mark.parametrize(
    "text", ["", "{}", "<html>", "# TYPE up gauge\nup 1\n", "vllm:num_requests_running{" + "a" * 3000 + "} 1\n"]
)
def test_a_page_that_is_none_names_the_flags_that_make_one(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector._pages.PLACES", (("/metrics", None),))
    server = Server(answering(text))
    try:
        (finding,) = findings(serving.check(look(Options(endpoint=server.url))))
    finally:
        server.stop()

    assert "missing" == finding.state
    assert finding.remedy is not None
    assert "--disable-log-stats" in finding.remedy
    assert "--enable-metrics" in finding.remedy


@pytest.mark.parametrize(
    ("family", "name", "state"),
    [
        ("vllm:num_requests_waiting", "requests_waiting", "degraded"),
        ("process_cpu_seconds_total", "front_end_cpu_seconds_total", "degraded"),
    ],
)
def test_what_a_verdict_is_poorer_without_is_said(family: str, name: str, state: str) -> None:
    finding = of(without(family), name)

    assert (state, "verdict") == (finding.state, finding.needed_for)
    assert "cannot be told" in finding.reason


def test_several_front_ends_are_why_their_cpu_is_not_shown() -> None:
    remedy = of(without("process_cpu_seconds_total"), "front_end_cpu_seconds_total").remedy
    assert remedy is not None
    assert "--api-server-count 1" in remedy


def test_a_mapping_without_the_requests_leaves_no_verdict() -> None:
    page = recorded("vllm_0_23")
    mapped = Mapped(FAMILIES={"vllm:prompt_tokens_total": "input_tokens_total"})
    scrape = read(PAGE, 0, ("generic", mapped))

    here = world(type(page)(text=PAGE, scrape=scrape, plugin=mapped, engine=page.engine))
    finding = only(serving.check(here), "requests_running")
    assert ("missing", "verdict") == (finding.state, finding.needed_for)


def test_missing_quantities_and_histograms_are_named() -> None:
    finding = of(without("vllm:num_preemptions", "vllm:request_prefill_time"), "quantities")

    assert "degraded" == finding.state
    assert {"preemptions_total", "prefill_s"} == set(finding.evidence["absent"])  # type: ignore[arg-type]


def test_an_older_name_is_said_with_the_one_of_today() -> None:
    old = PAGE.replace("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")

    finding = of(old, "names")
    assert {"vllm:gpu_cache_usage_perc": "vllm:kv_cache_usage_perc"} == finding.evidence["renamed"]
    # One that shows both hides nothing.
    assert "ok" == of(PAGE + "# TYPE vllm:gpu_cache_usage_perc gauge\nvllm:gpu_cache_usage_perc 0\n", "names").state


def test_names_that_were_rewritten_are_said() -> None:
    finding = of(PAGE.replace("vllm:", "vllm_"), "names")

    assert "degraded" == finding.state
    assert "renamed" not in finding.evidence
    assert "vllm:num_requests_running" in finding.evidence["rewritten"]  # type: ignore[operator]


def test_processes_that_share_a_page_are_counted() -> None:
    gauges = "".join(f'vllm:num_requests_running{{pid="{pid}"}} {pid - 1}\n' for pid in (1, 2, 3))

    finding = of(f"# TYPE vllm:num_requests_running gauge\n{gauges}", "one_process")
    assert ("degraded", 3) == (finding.state, finding.evidence["processes"])


# ------------------------------------------------------------------------------------------------ buckets


def test_the_line_replaces_the_families_that_are_too_coarse() -> None:
    """GIVEN vLLM's own edges under load, THEN each replaced family holds its percentiles to ±20 %."""
    page = recorded("vllm_0_23", "0.33.0")
    finding = only(serving.check(world(page)), "buckets")

    assert finding.remedy is not None
    flag, _, quoted = finding.remedy.partition(" ")
    assert "--custom-histogram-buckets" == flag
    families = json.loads(quoted.strip("'"))
    assert {"request_latency", "time_to_first_token", "inter_token_latency"} == set(families)
    for edges in families.values():
        assert edges == sorted(set(edges))
        assert 0 < edges[0]
    itl = [edge for edge in families["inter_token_latency"] if 0.01 <= edge <= 0.033]
    assert [0.01, 0.015, 0.022, 0.033] == itl
    # What lay beyond is kept, for slower days.
    assert 7680 == families["request_latency"][-1]


@pytest.mark.parametrize(
    ("version", "has"),
    [("0.31.0", "no"), ("0.32.0", "yes"), ("0.33.0+cpu", "yes"), ("1.0", "yes"), (None, "no"), ("dev", "no")],
)
def test_the_flag_is_offered_from_the_release_that_has_it(version: str | None, has: str) -> None:
    line = _buckets.line("vllm", version, {"itl_s": timed((0.0, 500.0, 500.0), (0.01, 0.05))})

    assert line is not None
    assert line.startswith("--custom-histogram-buckets" if has == "yes" else "with vLLM 0.32 or newer: --custom")


def test_a_family_that_is_fine_keeps_its_edges() -> None:
    line = _buckets.line(
        "vllm",
        "0.33.0",
        {"itl_s": timed((0.0, 500.0, 500.0), (0.01, 0.05)), "ttft_s": timed((0.0, 500.0, 500.0), (0.01, 0.015))},
    )

    assert line is not None
    assert [0.01, 0.015] == json.loads(line.split(" ", 1)[1].strip("'"))["time_to_first_token"]


def test_sglang_has_a_flag_for_each_latency() -> None:
    coarse = {name: timed((0.0, 500.0, 500.0), (0.1, 1.0)) for name in ("ttft_s", "queue_time_s")}

    assert "--bucket-time-to-first-token 0.1 0.15 0.22 0.33 0.47 0.68 1.0" == _buckets.line("sglang", "0.5", coarse)
    assert None is _buckets.line("sglang", "0.5", {"queue_time_s": coarse["queue_time_s"]})
    assert None is _buckets.line("tgi", "3", coarse)


def test_fine_buckets_are_well_and_few_observations_tell_nothing() -> None:
    def page(counts: list[int], *edges: float) -> str:
        family = "vllm:inter_token_latency_seconds"
        bounds = [*map(str, edges), "+Inf"]
        buckets = (f'{family}_bucket{{le="{bound}"}} {n}\n' for bound, n in zip(bounds, counts, strict=True))
        rest = f"{family}_sum 1\n{family}_count {counts[-1]}\n"
        head = "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 1\n"
        return f"{head}# TYPE {family} histogram\n{''.join(buckets)}{rest}"

    assert "ok" == of(page([0, 500, 500], 0.01, 0.014), "buckets").state
    few = of(page([0, 3, 3], 0.01, 0.1), "buckets")
    assert ("degraded", True) == (few.state, few.reason.startswith("too few"))
    beyond = of(page([0, 0, 500], 0.01, 0.1), "buckets")
    assert "p50/p95/p99 > 0.1 s" in beyond.reason


@given(
    edges=st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=25, unique=True).map(sorted)
    | st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5, unique=True).map(sorted),
    data=st.data(),
)
def test_edges_hold_every_percentile_whatever_was_seen(edges: list[float], data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, 500), min_size=len(edges) + 1, max_size=len(edges) + 1))
    cumulative = tuple(float(sum(counts[: i + 1])) for i in range(len(counts)))
    total = data.draw(st.floats(allow_nan=False, allow_infinity=False))
    histogram = timed(cumulative, tuple(edges), total)
    wide = _buckets.wide(histogram)
    if not wide:
        return

    better = _buckets.better([histogram])
    assert better == sorted(set(better))
    assert 0 < better[0]
    assert all(map(math.isfinite, better))
    assert len(better) <= len(edges) + 80
    for low, high in wide.values():
        # Between the old edges every step is one of ±20 %, where both were known.
        if _buckets._SHORTEST_S <= low < high <= _buckets._LONGEST_S:
            inside = [edge for edge in better if low <= edge <= high]
            steps = zip([low, *inside], [*inside, high], strict=True)
            assert all(b <= _buckets._WIDEST * a for a, b in steps)


def test_the_new_edges_are_not_too_wide_themselves() -> None:
    edges = tuple(_buckets._series(1e-3, 1e3))

    for place in range(1, len(edges)):
        counts = tuple(500.0 * (place <= i) for i in range(len(edges) + 1))
        assert {} == _buckets.wide(timed(counts, edges))


def test_nobody_waits_for_less_than_a_millisecond() -> None:
    assert {} == _buckets.wide(timed((500.0, 500.0), (0.001,)))
    assert {0.5, 0.95, 0.99} == set(_buckets.wide(timed((500.0, 500.0), (0.002,))))


def test_percentiles_need_as_many_observations_as_bound_them() -> None:
    assert {} == _buckets.intervals(timed((4.0, 4.0), (1.0,)))
    assert [0.5] == list(_buckets.intervals(timed((5.0, 5.0), (1.0,))))
    assert [0.5, 0.95] == list(_buckets.intervals(timed((298.0, 298.0), (1.0,))))
    assert [0.5, 0.95, 0.99] == list(_buckets.intervals(timed((299.0, 299.0), (1.0,))))


# ------------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("command", "settings", "wrong"),
    [
        ("--gpu-memory-utilization 0.9", {"gpu_memory_utilization": 0.6}, ["--gpu-memory-utilization"]),
        ("--gpu_memory_utilization=0.60", {"gpu_memory_utilization": 0.6}, []),
        ("--gpu-memory-utilization 0.9 --gpu-memory-utilization 0.6", {"gpu_memory_utilization": 0.6}, []),
        ("--block-size 16", {"block_size": 32}, ["--block-size"]),
        ("--enable-prefix-caching", {"enable_prefix_caching": False}, ["--enable-prefix-caching"]),
        ("--no-enable-prefix-caching", {"enable_prefix_caching": False}, []),
        ("--no-enable-prefix-caching", {"enable_prefix_caching": True}, ["--no-enable-prefix-caching"]),
        ("--kv-cache-dtype fp8", {"cache_dtype": "fp8_e4m3"}, []),
        ("--kv-cache-dtype fp8", {"cache_dtype": "auto"}, ["--kv-cache-dtype"]),
        ("--kv-cache-dtype auto", {"cache_dtype": "fp8"}, []),
        ("--num-gpu-blocks-override 100", {"num_gpu_blocks": 34607}, ["--num-gpu-blocks-override"]),
        ("--disable-radix-cache", {"disable_radix_cache": True}, []),
        ("--max-num-seqs 256 -- --", {"block_size": 16}, []),
        ("--block-size", {"block_size": 16}, ["--block-size"]),
        ("", {"block_size": 16}, []),
    ],
)
def test_a_flag_that_did_not_take_effect_is_found(
    command: str, settings: dict[str, str | int | float | bool], wrong: list[str]
) -> None:
    assert wrong == [flag for flag, _, _ in contradicted(["vllm", "serve", "m", *command.split()], settings)]


@given(st.lists(st.text(max_size=20), max_size=20))
def test_no_command_line_breaks_the_comparison(command: list[str]) -> None:
    list(contradicted(command, {"block_size": 16, "cache_dtype": "auto", "enable_prefix_caching": True}))


def test_flags_are_compared_where_both_are_known() -> None:
    page = served(PAGE, settings={"gpu_memory_utilization": 0.6})

    wrong = only(serving.check(world(page, tree("vllm", "--gpu-memory-utilization", "0.9"))), "settings")
    assert ("degraded", 0.6) == (wrong.state, wrong.evidence["has"])
    assert "--gpu-memory-utilization 0.9 was given, but the server says 0.6" == wrong.reason
    assert "ok" == only(serving.check(world(page, tree("vllm", "serve"))), "settings").state
    hidden = only(serving.check(world(page)), "settings")
    assert ("degraded", "share the namespace") == (hidden.state, hidden.remedy)
    silent = only(serving.check(world(served(PAGE), tree("vllm"))), "settings")
    assert "states no settings" in silent.reason


# ------------------------------------------------------------------------------------------------ traces


def machine(
    folder: Path, *, capable: bool = False, scope: int | None = None, uids: tuple[int, int] = (1000, 1000)
) -> Tree:
    """A ``/proc`` with the collector, the server and what restricts the one from looking into the other."""
    for who, uid in zip(("self", "10"), uids, strict=True):
        (folder / who).mkdir(parents=True)
        lines = f"Name:\tpython3\nUid:\t0\t{uid}\t0\t0\nCapEff:\t{(1 << 19) * capable:016x}\n"
        (folder / who / "status").write_text(lines)
    if scope is not None:
        yama = folder / "sys" / "kernel" / "yama"
        yama.mkdir(parents=True)
        (yama / "ptrace_scope").write_text(f"{scope}\n")
    return tree("vllm", "serve")


@pytest.mark.parametrize(
    ("how", "state", "grant"),
    [
        ({"capable": True}, "ok", None),
        ({"capable": True, "scope": 1, "uids": (0, 1000)}, "ok", None),
        ({"capable": True, "scope": 3}, "missing", "boots"),
        ({"scope": 0}, "ok", None),
        ({}, "ok", None),
        ({"scope": 1}, "missing", "ptrace_scope=0"),
        ({"uids": (1000, 2000)}, "missing", "--cap-add SYS_PTRACE"),
    ],
)
def test_who_may_read_stacks_is_what_ptrace_says(
    tmp_path: Path, how: dict[str, object], state: str, grant: str | None
) -> None:
    seen = machine(tmp_path, **how)  # type: ignore[arg-type]

    finding = only(tracing.check(world(tree=seen, proc=tmp_path)), "stacks")
    assert state == finding.state
    assert (finding.remedy is None) if grant is None else (grant in (finding.remedy or ""))


def test_without_a_tree_stacks_cannot_be_promised(tmp_path: Path) -> None:
    machine(tmp_path)
    finding = only(tracing.check(world(proc=tmp_path)), "stacks")

    assert ("missing", "share the namespace") == (finding.state, finding.remedy)


_CLIENT = "ffff8a: 00000002 00000000 00000000 0002 01 12345 @dynoconfigclient7c1e@\n"
_DAEMON = "ffff8b: 00000002 00000000 00000000 0002 01 12346 @dynolog@\n"
_OTHER = "ffff8c: 00000002 00000000 00000000 0002 01 12347\nffff8d: 2 0 0 2 1 9 /run/dynoconfigclient0\n"


@pytest.mark.parametrize(
    ("sockets", "environ", "state", "words"),
    [
        (_CLIENT, "", "ok", "1 torch"),
        (_OTHER, "", "ok", "1 torch"),
        (_CLIENT + _DAEMON, "", "degraded", "dynolog"),
        ("", "PATH=/bin\0KINETO_USE_DAEMON=0\0", "degraded", "is set"),
        (_DAEMON, "PATH=/bin\0", "missing", "without KINETO_USE_DAEMON"),
        ("", "", "missing", "cannot be read"),
    ],
)
def test_a_torch_process_that_waits_for_requests_shows_its_socket(
    tmp_path: Path, sockets: str, environ: str, state: str, words: str
) -> None:
    seen = machine(tmp_path)
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "unix").write_text(f"Num RefCount Protocol Flags Type St Inode Path\n{sockets}")
    (tmp_path / "10" / "environ").write_text(environ)

    finding = only(tracing.check(world(tree=seen, proc=tmp_path)), "on_demand_traces")
    assert state == finding.state
    assert words in finding.reason
    assert (finding.remedy is None) == (state == "ok")


@pytest.mark.parametrize(
    ("page", "command", "state"),
    [
        ("vllm_0_23", ("vllm", "serve", "--profiler-config", "{}"), "ok"),
        ("vllm_0_23", ("vllm", "serve", "--profiler_config={}"), "ok"),
        ("vllm_0_23", ("vllm", "serve"), "missing"),
        ("vllm_0_23", (), "degraded"),
        ("sglang", (), "ok"),
    ],
)
def test_profile_endpoints_follow_from_the_flags(page: str, command: tuple[str, ...], state: str) -> None:
    here: World = world(recorded(page), tree(*command))
    assert state == only(tracing.check(here), "profile_endpoint").state


def test_an_engine_without_profile_endpoints_is_left_alone() -> None:
    assert ("profile_endpoint", "server") not in states(tracing.check(world(recorded("tgi"))))
