"""The one exception that users are meant to read."""


class UserError(ValueError):
    """Input that can't be used, told to the user in one line.

    The message says what is wrong, where, which rule it breaks and what to
    do about it. Command lines print it without a traceback and exit with 2.
    """
