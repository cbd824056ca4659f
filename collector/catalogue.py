"""Every measured quantity, once: its name, kind, unit, meaning and source.

The store takes its columns from here, the exposition its metric names, the dashboard its labels. Units are in
the names; ratios run from 0 to 1; a ``counter`` only grows (a fall is a reset), a ``flag`` is 0 or 1, a
``histogram`` is stored as ``collector.schema.Histogram``.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "flag", "histogram"]


@dataclass(frozen=True)
class Quantity:
    """One measured quantity."""

    name: str
    kind: Kind
    unit: str
    #: One sentence for a person.
    meaning: str
    #: Where it is read: the call, the field or the metric.
    source: str


def _gpm(name: str, metric: int, meaning: str) -> Quantity:
    return Quantity(name, "gauge", "ratio", meaning, f"NVML GPM metric {metric}, over the window since the last sample")


def _gpm_rate(name: str, metric: int, meaning: str) -> Quantity:
    return Quantity(name, "gauge", "bytes/s", meaning, f"NVML GPM metric {metric}, MiB/s converted")


def _clock_event(name: str, bit: int, meaning: str) -> Quantity:
    source = f"nvmlDeviceGetCurrentClocksEventReasons, bit 0x{bit:03x}"
    return Quantity(f"clock_event_{name}", "flag", "1", meaning, source)


def _throttled(name: str, field: int, meaning: str) -> Quantity:
    source = f"nvmlDeviceGetFieldValues, field {field}, ns converted"
    return Quantity(f"throttled_{name}_seconds_total", "counter", "s", meaning, source)


#: Bits of the clock event mask, in the driver's order, with the quantity each one becomes.
CLOCK_EVENT_BITS = {
    0x001: "clock_event_gpu_idle",
    0x004: "clock_event_sw_power_cap",
    0x008: "clock_event_hw_slowdown",
    0x010: "clock_event_sync_boost",
    0x020: "clock_event_sw_thermal_slowdown",
    0x040: "clock_event_hw_thermal_slowdown",
    0x080: "clock_event_hw_power_brake",
}

_QUANTITIES = (
    # GPU: what NVML calls utilization, and what the performance monitors see.
    Quantity(
        "gpu_utilization_ratio",
        "gauge",
        "ratio",
        "Share of time in which any kernel or copy ran; says nothing about how full the GPU was.",
        "nvmlDeviceGetUtilizationRates.gpu, refreshed about every 200 ms",
    ),
    Quantity(
        "memory_busy_ratio",
        "gauge",
        "ratio",
        "Share of time in which the memory interface was busy (NVML's “memory utilization”).",
        "nvmlDeviceGetUtilizationRates.memory",
    ),
    _gpm("graphics_active_ratio", 1, "Share of time in which a compute or graphics context was active."),
    _gpm("sm_active_ratio", 2, "Share of SMs that had work, averaged over time."),
    _gpm("sm_occupancy_ratio", 3, "Active warps over the most the SMs can hold."),
    _gpm("integer_active_ratio", 4, "Activity of the integer pipe."),
    _gpm("tensor_active_ratio", 5, "Activity of the tensor cores, any type."),
    _gpm("tensor_dfma_active_ratio", 6, "Activity of the tensor cores on fp64."),
    _gpm("tensor_hmma_active_ratio", 7, "Activity of the tensor cores on fp16 and bf16."),
    _gpm("tensor_imma_active_ratio", 9, "Activity of the tensor cores on int8."),
    _gpm("dram_active_ratio", 10, "Bytes moved to and from HBM over the vendor's peak."),
    _gpm("fp64_active_ratio", 11, "Activity of the FP64 pipe."),
    _gpm("fp32_active_ratio", 12, "Activity of the FP32 pipe."),
    _gpm("fp16_active_ratio", 13, "Activity of the FP16 pipe, tensor cores apart."),
    _gpm_rate("pcie_tx_bytes_per_s", 20, "Bytes a second from the GPU over PCIe."),
    _gpm_rate("pcie_rx_bytes_per_s", 21, "Bytes a second to the GPU over PCIe."),
    _gpm_rate("nvlink_rx_bytes_per_s", 60, "Bytes a second received over all NVLinks."),
    _gpm_rate("nvlink_tx_bytes_per_s", 61, "Bytes a second sent over all NVLinks."),
    Quantity("memory_used_bytes", "gauge", "bytes", "GPU memory in use.", "nvmlDeviceGetMemoryInfo.used"),
    Quantity("memory_total_bytes", "gauge", "bytes", "GPU memory there is.", "nvmlDeviceGetMemoryInfo.total"),
    Quantity("power_watts", "gauge", "W", "Power drawn by the GPU board.", "nvmlDeviceGetPowerUsage, a 1 s average"),
    Quantity(
        "power_instant_watts",
        "gauge",
        "W",
        "Power drawn by the GPU board at this instant.",
        "nvmlDeviceGetFieldValues, field 186, mW converted; refreshed about every 100 ms",
    ),
    Quantity(
        "power_average_watts",
        "gauge",
        "W",
        "Power drawn by the GPU board, averaged by the driver.",
        "nvmlDeviceGetFieldValues, field 185, mW converted",
    ),
    Quantity(
        "power_limit_watts",
        "gauge",
        "W",
        "Power at which the driver lowers the clocks.",
        "nvmlDeviceGetEnforcedPowerLimit",
    ),
    Quantity(
        "energy_joules_total",
        "counter",
        "J",
        "Energy drawn by the GPU board since the driver was loaded.",
        "nvmlDeviceGetTotalEnergyConsumption",
    ),
    Quantity("sm_clock_hz", "gauge", "Hz", "SM clock.", "nvmlDeviceGetClockInfo(SM)"),
    Quantity("memory_clock_hz", "gauge", "Hz", "Memory clock.", "nvmlDeviceGetClockInfo(MEM)"),
    Quantity("temperature_celsius", "gauge", "°C", "Temperature of the GPU.", "nvmlDeviceGetTemperature"),
    Quantity(
        "memory_temperature_celsius",
        "gauge",
        "°C",
        "Temperature of the GPU's memory.",
        "nvmlDeviceGetFieldValues, field 82",
    ),
    _clock_event("gpu_idle", 0x001, "Clocks are low because nothing runs."),
    _clock_event("sw_power_cap", 0x004, "Clocks are lowered to respect the power limit; normal at full load."),
    _clock_event("hw_slowdown", 0x008, "Clocks are halved or worse by heat, power brake or a fast trigger."),
    _clock_event("sync_boost", 0x010, "Clocks are held down by another GPU of the boost group."),
    _clock_event("sw_thermal_slowdown", 0x020, "Clocks are lowered because GPU or memory is too hot."),
    _clock_event("hw_thermal_slowdown", 0x040, "Clocks are halved or worse by temperature."),
    _clock_event("hw_power_brake", 0x080, "Clocks are lowered by an external power brake."),
    Quantity(
        "clock_event_other",
        "flag",
        "1",
        "Clocks are lowered for a reason that has no name here, such as a display.",
        "nvmlDeviceGetCurrentClocksEventReasons, every other bit",
    ),
    _throttled("sw_power_cap", 74, "Time in which clocks were lowered to respect the power limit."),
    _throttled("sync_boost", 76, "Time in which clocks were held down by another GPU of the boost group."),
    _throttled("sw_thermal", 269, "Time in which clocks were lowered because GPU or memory was too hot."),
    _throttled("hw_thermal", 270, "Time in which clocks were halved or worse by temperature."),
    _throttled("hw_power_brake", 271, "Time in which clocks were lowered by an external power brake."),
    # GPU: health.
    Quantity(
        "ecc_corrected_errors_total",
        "counter",
        "errors",
        "Memory errors that ECC corrected since the driver was loaded.",
        "nvmlDeviceGetTotalEccErrors(corrected, volatile)",
    ),
    Quantity(
        "ecc_uncorrected_errors_total",
        "counter",
        "errors",
        "Memory errors that ECC could not correct since the driver was loaded.",
        "nvmlDeviceGetTotalEccErrors(uncorrected, volatile)",
    ),
    Quantity(
        "remapped_rows_corrected_total",
        "counter",
        "rows",
        "Memory rows replaced after correctable errors, over the life of the GPU.",
        "nvmlDeviceGetRemappedRows",
    ),
    Quantity(
        "remapped_rows_uncorrected_total",
        "counter",
        "rows",
        "Memory rows replaced after uncorrectable errors, over the life of the GPU.",
        "nvmlDeviceGetRemappedRows",
    ),
    Quantity(
        "row_remapping_pending",
        "flag",
        "1",
        "A memory row will be replaced when the GPU is reset.",
        "nvmlDeviceGetRemappedRows",
    ),
    Quantity(
        "row_remapping_failed",
        "flag",
        "1",
        "A memory row could not be replaced: the GPU should be.",
        "nvmlDeviceGetRemappedRows",
    ),
    Quantity(
        "xid_errors_total",
        "counter",
        "errors",
        "XID errors the driver reported since the collector started; each one is an event with its code.",
        "nvmlEventSetWait, event XidCriticalError",
    ),
    Quantity(
        "pcie_replays_total",
        "counter",
        "replays",
        "PCIe packets sent again: a bad link or slot when it grows.",
        "nvmlDeviceGetPcieReplayCounter",
    ),
    Quantity("pcie_link_generation", "gauge", "1", "PCIe generation in use.", "nvmlDeviceGetCurrPcieLinkGeneration"),
    Quantity("pcie_link_lanes", "gauge", "lanes", "PCIe lanes in use.", "nvmlDeviceGetCurrPcieLinkWidth"),
    # GPU: by process.
    Quantity(
        "process_gpu_memory_bytes",
        "gauge",
        "bytes",
        "GPU memory that a process holds.",
        "nvmlDeviceGetComputeRunningProcesses",
    ),
    Quantity(
        "process_sm_utilization_ratio",
        "gauge",
        "ratio",
        "Share of time in which a process had a kernel running.",
        "nvmlDeviceGetProcessUtilization.smUtil, the driver's newest sample",
    ),
    Quantity(
        "process_memory_busy_ratio",
        "gauge",
        "ratio",
        "Share of time in which a process kept the memory interface busy.",
        "nvmlDeviceGetProcessUtilization.memUtil, the driver's newest sample",
    ),
    # Serving: one vocabulary for every engine.
    Quantity("requests_running", "gauge", "requests", "Requests in the running batch.", "the engine's /metrics"),
    Quantity("requests_waiting", "gauge", "requests", "Requests waiting to be scheduled.", "the engine's /metrics"),
    Quantity("kv_cache_usage_ratio", "gauge", "ratio", "Share of the KV cache in use.", "the engine's /metrics"),
    Quantity(
        "requests_ok_total",
        "counter",
        "requests",
        "Requests that finished with an answer (stop, length, repetition).",
        "the engine's /metrics, by finish reason",
    ),
    Quantity(
        "requests_failed_total",
        "counter",
        "requests",
        "Requests that ended without an answer (abort, error).",
        "the engine's /metrics, by finish reason",
    ),
    Quantity(
        "http_requests_total",
        "counter",
        "requests",
        "HTTP requests for an answer that ended in any way.",
        "the engine's /metrics, by handler",
    ),
    Quantity("input_tokens_total", "counter", "tokens", "Prompt tokens processed.", "the engine's /metrics"),
    Quantity("output_tokens_total", "counter", "tokens", "Tokens generated.", "the engine's /metrics"),
    Quantity(
        "preemptions_total",
        "counter",
        "requests",
        "Requests pushed out of the batch for want of KV cache.",
        "the engine's /metrics",
    ),
    Quantity(
        "prefix_cache_queries_total",
        "counter",
        "tokens",
        "Prompt tokens looked up in the prefix cache.",
        "the engine's /metrics",
    ),
    Quantity(
        "prefix_cache_hits_total",
        "counter",
        "tokens",
        "Prompt tokens found in the prefix cache.",
        "the engine's /metrics",
    ),
    Quantity(
        "spec_drafts_total",
        "counter",
        "drafts",
        "Drafts of speculative decoding that were verified, one a request and step.",
        "the engine's /metrics",
    ),
    Quantity("spec_draft_tokens_total", "counter", "tokens", "Tokens in those drafts.", "the engine's /metrics"),
    Quantity(
        "spec_accepted_tokens_total",
        "counter",
        "tokens",
        "Tokens of drafts that were accepted.",
        "the engine's /metrics",
    ),
    Quantity(
        "front_end_cpu_seconds_total",
        "counter",
        "s",
        "CPU time of the process that answers HTTP: tokenising, detokenising, streaming.",
        "process_cpu_seconds_total on the engine's /metrics",
    ),
    Quantity(
        "front_end_memory_bytes",
        "gauge",
        "bytes",
        "Resident memory of the process that answers HTTP.",
        "process_resident_memory_bytes on the engine's /metrics",
    ),
    Quantity(
        "scrape_s",
        "gauge",
        "s",
        "Time that one reading of the engine's /metrics took, whether it succeeded or not.",
        "the collector's own clock",
    ),
    Quantity("ttft_s", "histogram", "s", "Time to first token, from arrival at the server.", "the engine's /metrics"),
    Quantity("itl_s", "histogram", "s", "Inter-token latency: each gap between two tokens.", "the engine's /metrics"),
    Quantity(
        "tpot_s",
        "histogram",
        "s",
        "Time per output token: a request's mean after its first token.",
        "the engine's /metrics",
    ),
    Quantity("e2e_latency_s", "histogram", "s", "Arrival to last token.", "the engine's /metrics"),
    Quantity(
        "queue_time_s",
        "histogram",
        "s",
        "Arrival to first scheduling; written when the request ends.",
        "the engine's /metrics",
    ),
    Quantity(
        "prefill_s",
        "histogram",
        "s",
        "First scheduling to first token; written when the request ends.",
        "the engine's /metrics",
    ),
    Quantity(
        "decode_s", "histogram", "s", "First to last token; written when the request ends.", "the engine's /metrics"
    ),
    Quantity(
        "step_tokens",
        "histogram",
        "tokens",
        "Tokens processed by one engine step, prompt and output.",
        "the engine's /metrics",
    ),
)

#: The collector itself, and how its sources are doing.
_OWN = (
    Quantity("collector_cpu_seconds_total", "counter", "s", "CPU time the collector itself has used.", "getrusage"),
    Quantity("collector_memory_bytes", "gauge", "bytes", "Resident memory of the collector.", "/proc/self/statm"),
    Quantity("collector_written_bytes_total", "counter", "bytes", "Bytes the collector wrote.", "/proc/self/io"),
    Quantity("collector_lost_records_total", "counter", "1", "Records dropped while the disk refused them.", "counted"),
    Quantity(
        "collector_slowdown_factor",
        "gauge",
        "1",
        "What every interval is stretched by, to keep the limit on the collector's own CPU use.",
        "counted",
    ),
    Quantity("source_success", "flag", "1", "Whether the last reading of a source succeeded.", "counted"),
    Quantity("source_age_s", "gauge", "s", "Time since a source was last read with success.", "counted"),
    Quantity("source_readings_total", "counter", "1", "Readings of a source that succeeded.", "counted"),
    Quantity("source_failures_total", "counter", "1", "Readings of a source that failed.", "counted"),
    Quantity("source_missed_ticks_total", "counter", "1", "Ticks that passed while a source was read.", "counted"),
    Quantity("source_read_seconds_total", "counter", "s", "Time spent reading a source.", "counted"),
    Quantity("source_cpu_seconds_total", "counter", "s", "CPU time spent reading a source.", "its thread's CPU clock"),
)


def _host(name: str, unit: str, meaning: str, source: str) -> Quantity:
    return Quantity(name, "counter" if name.endswith("_total") else "gauge", unit, meaning, source)


def _pressure(prefix: str, where: str) -> tuple[Quantity, ...]:
    """Time in which tasks waited for something, for the whole host or for a cgroup."""
    return tuple(
        _host(
            f"{prefix}{waited}_pressure_{kind}_seconds_total",
            "s",
            f"Time in which {tasks} waited for {waited} (PSI).",
            f"{where.format(waited)}, {kind}",
        )
        for waited in ("cpu", "memory", "io")
        for kind, tasks in (("some", "at least one task"), ("full", "every task that was not idle"))
    )


#: The machine, the cgroups of server and collector, and the server's processes.
_HOST = (
    _host(
        "cpu_busy_seconds_total", "s", "Core time in use, over all cores.", "/proc/stat: all but idle, iowait, steal"
    ),
    _host("cpu_iowait_seconds_total", "s", "Core time idle while a task waited for a disk.", "/proc/stat, iowait"),
    _host("cpu_steal_seconds_total", "s", "Core time the hypervisor gave to others.", "/proc/stat, steal"),
    _host("core_busy_seconds_total", "s", "Time in which this core was in use.", "/proc/stat, as for all cores"),
    _host("load_1min", "tasks", "Tasks running or in uninterruptible sleep, over about a minute.", "/proc/loadavg"),
    _host(
        "runnable_tasks", "tasks", "Tasks running or waiting for a core at this instant.", "/proc/stat, procs_running"
    ),
    *_pressure("", "/proc/pressure/{}"),
    _host("host_memory_total_bytes", "bytes", "Memory of the host.", "/proc/meminfo, MemTotal"),
    _host("host_memory_available_bytes", "bytes", "Memory that can be had without swapping.", "/proc/meminfo"),
    _host("disk_read_bytes_total", "bytes", "Bytes read from the disk.", "/proc/diskstats, sectors of 512 bytes"),
    _host("disk_written_bytes_total", "bytes", "Bytes written to the disk.", "/proc/diskstats, sectors of 512 bytes"),
    _host("disk_reads_total", "operations", "Reads that ended.", "/proc/diskstats"),
    _host("disk_writes_total", "operations", "Writes that ended.", "/proc/diskstats"),
    _host("disk_read_seconds_total", "s", "Latency of all reads, added up: over reads, their mean.", "/proc/diskstats"),
    _host("disk_write_seconds_total", "s", "Latency of all writes, added up.", "/proc/diskstats"),
    _host("disk_busy_seconds_total", "s", "Time in which the disk had something to do.", "/proc/diskstats"),
    _host("net_received_bytes_total", "bytes", "Bytes received by the network interface.", "/proc/net/dev"),
    _host("net_sent_bytes_total", "bytes", "Bytes sent by the network interface.", "/proc/net/dev"),
    _host("net_receive_errors_total", "packets", "Packets received with an error.", "/proc/net/dev"),
    _host("net_send_errors_total", "packets", "Packets that could not be sent.", "/proc/net/dev"),
    _host("net_receive_drops_total", "packets", "Received packets dropped for want of room.", "/proc/net/dev"),
    _host("net_send_drops_total", "packets", "Packets dropped before they were sent.", "/proc/net/dev"),
    _host("cgroup_cpu_limit_cores", "cores", "Cores' worth of CPU time allowed.", "cgroup v2, the tightest cpu.max"),
    _host("cgroup_cpu_seconds_total", "s", "CPU time used by the cgroup.", "cgroup v2 cpu.stat, usage_usec"),
    _host("cgroup_cpu_periods_total", "periods", "Periods in which the CPU limit applied.", "cpu.stat, nr_periods"),
    _host(
        "cgroup_cpu_throttled_periods_total",
        "periods",
        "Periods in which the CPU limit was hit.",
        "cpu.stat, nr_throttled",
    ),
    _host(
        "cgroup_cpu_throttled_seconds_total",
        "s",
        "Time for which the CPU limit held tasks back.",
        "cpu.stat, throttled_usec",
    ),
    _host("cgroup_memory_limit_bytes", "bytes", "Memory allowed.", "cgroup v2, the tightest memory.max"),
    _host("cgroup_memory_bytes", "bytes", "Memory charged against the limit, caches too.", "memory.current"),
    _host("cgroup_oom_kills_total", "processes", "Processes killed for want of memory.", "memory.events, oom_kill"),
    *_pressure("cgroup_", "cgroup v2 {}.pressure"),
    _host("server_processes", "processes", "Processes of the server's tree.", "/proc/<pid>/stat, parents followed"),
    _host("process_cpu_seconds_total", "s", "CPU time of the process, all threads.", "/proc/<pid>/stat, utime + stime"),
    _host("process_resident_bytes", "bytes", "Resident memory of the process.", "/proc/<pid>/stat, rss"),
    _host("process_threads", "threads", "Threads of the process.", "/proc/<pid>/stat, num_threads"),
    _host("process_voluntary_switches_total", "switches", "Times its main thread waited.", "/proc/<pid>/status"),
    _host(
        "process_involuntary_switches_total",
        "switches",
        "Times its main thread was put off for another.",
        "/proc/<pid>/status",
    ),
    _host("process_cpu_wait_seconds_total", "s", "Time its main thread waited for a core.", "/proc/<pid>/schedstat"),
    _host("thread_cpu_seconds_total", "s", "CPU time of the thread.", "/proc/<pid>/task/<tid>/stat"),
    _host("thread_voluntary_switches_total", "switches", "Times the thread waited.", "/proc/<pid>/task/<tid>/status"),
    _host(
        "thread_involuntary_switches_total",
        "switches",
        "Times the thread was put off for another.",
        "/proc/<pid>/task/<tid>/status",
    ),
    _host(
        "thread_cpu_wait_seconds_total", "s", "Time the thread waited for a core.", "/proc/<pid>/task/<tid>/schedstat"
    ),
)

#: Every quantity by its name.
CATALOGUE: dict[str, Quantity] = {quantity.name: quantity for quantity in (*_QUANTITIES, *_OWN, *_HOST)}
