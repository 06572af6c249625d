"""How counts and names are written in notes and errors, so that both can be read and printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from knowledge_recycling.errors import KRError


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun.

    Example:
        >>> count(1, "image"), count(1200, "class", "classes")
        ('1 image', '1,200 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def shown(name: str) -> str:
    r"""A name that can be printed anywhere: bytes that are no UTF-8 and control codes are escaped.

    Example:
        >>> print(shown("gl\udcfcck"), shown("a\x1b[31m"))
        gl\xfcck a\x1b[31m
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in name)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that it could not decode
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def listed(names: Iterable[str], most: int = 5) -> str:
    """The first few names, and how many more there are.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown(name) for name in names[:most]) + more


def size_of(number: float) -> str:
    """Bytes as people read them.

    Example:
        >>> size_of(170_000), size_of(3.4e9)
        ('170 kB', '3.4 GB')
    """
    for power, unit in ((12, "TB"), (9, "GB"), (6, "MB"), (3, "kB")):
        if number >= 10**power:
            return f"{number / 10**power:.3g} {unit}"
    return f"{number:.0f} bytes"


MOST_PROBLEMS = 10
"""How many are told at once."""


class Problem(NamedTuple):
    """Something that stands in the way: the sentence, and the settings that cure it."""

    text: str
    settings: tuple[str, ...] = ()


def refuse(where: str, problems: Sequence[Problem]) -> None:
    """Raises one error that says all that stands in the way, and all settings that cure it.

    Raises:
        KRError: where there is a problem.
    """
    if not problems:
        return
    settings = list(dict.fromkeys(s for problem in problems for s in problem.settings))
    cure = ""
    if settings:
        one = "the setting" if len(settings) == 1 else "the settings"
        cure = f"{one} {' '.join(settings)}"
    if len(problems) == 1:
        raise KRError(f"{where}: {problems[0].text}" + (f"; use {cure}" if cure else ""))
    shortened = problems[:MOST_PROBLEMS]
    lines = "".join(f"\n  {n}. {problem.text}" for n, problem in enumerate(shortened, start=1))
    if len(problems) > MOST_PROBLEMS:
        lines += f"\n  and {len(problems) - MOST_PROBLEMS} more"
    raise KRError(
        f"{where}: {len(problems)} things stand in the way:{lines}"
        + (f"\nUse {cure}" if cure else "")
    )
