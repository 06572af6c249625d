"""The one exception a user is meant to read, and how a text of theirs is shown."""

from __future__ import annotations

import unicodedata


class KRError(Exception):
    """A problem that the user can solve: says what is wrong, where, and what to do.

    The command line prints its message without a traceback and exits with 2.
    """


def printable(text: object, keep: str = "") -> str:
    r"""A text that moves no cursor, breaks no line and can be encoded, however it came about.

    Names of files and classes and the notes that quote them may hold terminal escapes, line
    breaks, marks that turn the direction of writing, or bytes that are no UTF-8.

    Args:
        text: anything.
        keep: control characters that stay, such as the line breaks of a message of ours.

    Example:
        >>> print(printable("benign\x1b[2J\n"))
        benign\x1b[2J\n
        >>> printable("Größe 28 x 28")
        'Größe 28 x 28'
    """
    return "".join(
        c
        if c in keep or c.isprintable() or unicodedata.category(c) == "Zs"
        else c.encode("unicode_escape").decode()
        for c in str(text)
    )
