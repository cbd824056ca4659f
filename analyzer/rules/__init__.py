"""One file a bottleneck class; its name is the class's id, its docstring is its page.

The docstring's sections, in this order: what it is in one sentence, *What you see*, *Why*, *What to try*, *What
it is confused with*. ``inferometer explain`` prints it. A rule defines the names in ``CONTRACT``:

- ``REMEDY``: the first thing to try, in one sentence.
- ``check(evidence)``: the part of each window it claims, as a ``Finding``; None when there is nothing to claim;
  raises ``CannotTell`` when the evidence it needs was not observed.

Rules look at the same ``Evidence`` and claim disjoint parts of it. No rule imports another.
"""

from collections.abc import Callable

CONTRACT = {"REMEDY": str, "check": Callable}
