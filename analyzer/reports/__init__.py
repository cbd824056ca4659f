"""One file an output; its name is what the user types after ``--format``.

A plugin defines the names in ``CONTRACT``:

- ``SUFFIX``: the ending of a file of this format, such as ``.html``.
- ``write(analyses, out, *, full)``: write the analyses to a text stream; ``full`` asks for everything where the
  default leaves something out.

It may also define:

- ``WITH_DATA``: true where ``write`` also takes ``data``, what was loaded of each source (or None).
- ``write_comparison(comparison, out, *, full)``: the same for what ``compare`` finds.
"""

from collections.abc import Callable

CONTRACT = {"SUFFIX": str, "write": Callable}
