"""Where the wall time went, and what was observed beside it: one shape for a trace and for a run.

Every window's seconds are split into disjoint ``PARTS``, so that rules can claim them without overlap and the
shares of a verdict sum to one.
"""

#: The parts, in words.
PARTS = {
    "compute_bound": "busy with work under the compute roof",
    "memory_bound": "busy with work under the memory roof",
    "busy_other": "busy with work of which the roof is not known, or near neither roof",
    "exposed_communication": "collectives that no computation hides",
    "exposed_copy": "copies that no computation hides",
    "idle_starved": "idle while requests were being served: the host had not launched the next work",
    "idle_no_demand": "idle while no request was there",
    "idle_device": "idle although the next work had been launched: the device waited for itself",
    "idle_unknown": "idle for a cause the evidence does not show",
}

#: A process that keeps one core this busy queues work itself: an M/M/1 queue at 0.8 waits four service times, and
#: one Python interpreter has one core.
FRONT_END_SATURATED_CORES = 0.8

#: From this mean number of waiting requests on, there was always one that a larger batch could have taken.
QUEUE_REQUESTS = 1.0
