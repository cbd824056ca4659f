"""The error every floor of the house shares.

::

    Exception
    └── UserError            a mistake of the user: one sentence, exit code 2, no traceback
        └── NewerSchemaError   a file written by a newer Inferometer

Anything else that escapes is a fault of ours and keeps its traceback (exit code 1).
"""


class UserError(Exception):
    """A mistake of the user: the message is one sentence that names the thing and the remedy."""


class NewerSchemaError(UserError):
    """A run folder or file was written by a newer Inferometer than this one."""
