"""One file a page, one question it answers. The panels that name it as their ``PAGE`` stand on it by themselves.

A plugin's docstring says which question. It defines the names in ``CONTRACT``:

- ``TITLE``: what its tab says.
- ``ORDER``: its place among the tabs.
- ``KINDS``: the kinds of source that have the page: ``run``, ``trace``.
- ``tables(view)``: what stands beneath the panels.
"""

from collections.abc import Callable

CONTRACT = {"TITLE": str, "ORDER": int, "KINDS": tuple, "tables": Callable}
