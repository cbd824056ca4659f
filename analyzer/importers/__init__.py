"""One file a format that can be analysed.

A plugin defines the names in ``CONTRACT``:

- ``FORMAT``: what it reads, in a few words for a person.
- ``claims(path, head)``: whether this path is in its format. ``head`` holds the first bytes of a file, inflated
  where it is compressed, and is empty for a folder.
- ``load(path, progress)``: read it, as a ``Trace`` or a ``RunData``. ``progress(done, total)`` is called now and
  then with bytes. Raises ``UserError`` in one sentence for a file that cannot be used.
"""

from collections.abc import Callable
from typing import TypeAlias

CONTRACT = {"FORMAT": str, "claims": Callable, "load": Callable}

#: Called with what is done and the whole, in bytes.
Progress: TypeAlias = Callable[[int, int], None]
