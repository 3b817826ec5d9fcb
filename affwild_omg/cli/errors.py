"""The exception whose message is for users, and how it lists names."""

from collections.abc import Sequence


class UserError(ValueError):
    """Input that cannot be used, told to the user in one line.

    The message says what is wrong, where, which rule it breaks and what to
    do about it. Command lines print it without a traceback and exit with 2.
    """


def listed(names: Sequence[str], most: int = 4) -> str:
    """Returns the first few of some names, for a message of one line."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more
