"""One file a command: options in, one call, something printed.

The file's name is the command. A plugin defines ``run``, a function that typer reads: its parameters are the
options, its docstring is the help, with examples. Heavy modules load inside ``run``, through ``import_extra``.
"""

from collections.abc import Callable

CONTRACT = {"run": Callable}
