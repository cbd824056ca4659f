"""One file an inference engine: what its /metrics calls the quantities of the catalogue.

A plugin defines the names in ``CONTRACT``:

- ``FAMILIES``: metric family (as its ``# TYPE`` line names it) → quantity of the catalogue. A histogram family
  maps to a histogram quantity, any other to a sampled one; a family's samples are added up.
- ``RECOGNISED_BY``: a family whose presence on a page tells this engine from every other.
- ``COUNTERS_BY_LABEL``: family → (label, {label value → quantity}), for a counter whose label decides what it means.
"""

CONTRACT = {"FAMILIES": dict, "RECOGNISED_BY": str, "COUNTERS_BY_LABEL": dict}
