"""The one exception a user is meant to read."""


class KRError(Exception):
    """A problem that the user can solve: says what is wrong, where, and what to do.

    The command line prints its message without a traceback and exits with 2.
    """
