"""Names of classes and patients as people write them: blanks, case, and words for "unknown"."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from knowledge_recycling.data.words import count, shown
from knowledge_recycling.errors import KRError

NOT_A_VALUE = frozenset({"", "nan", "na", "n/a", "#n/a", "<na>", "nat", "null", "?", "-", "."})
"""What a missing value turns into when a table is written as text; Python writes None."""

UNKNOWN = frozenset({"none", "unknown", "missing", "undefined", "unspecified", "not available"})
"""Words for a patient nobody knows; a class may bear them, with a note, as in "tumour: none"."""


def stripped(name: str) -> str:
    """A name in one Unicode form, without blanks around it."""
    return unicodedata.normalize("NFC", name).strip()


def strip_all(names: np.ndarray) -> np.ndarray:
    """`stripped` for an array of strings, keeping its shape."""
    clean = [stripped(name) for name in names.ravel().tolist()]
    return np.array(clean, np.str_).reshape(names.shape)


def check_classes(names: Iterable[str], where: str) -> list[str]:
    """Refuses class names that cannot be told apart or are none; notes the doubtful ones.

    Args:
        names: one for each class.
        where: what to call them in a message.

    Returns:
        Notes.

    Raises:
        KRError: on a missing value as a name, on two names that differ only in case or blanks,
            and on a name that is no UTF-8.

    Example:
        >>> check_classes(["glioma", "none"], "labels")
        ["the class 'none' may stand for a missing label"]
    """
    names = list(names)
    for name in names:
        check_path_name(name, where)
    if void := [name for name in names if _is_missing(stripped(name))]:
        raise KRError(
            f"{where}: {void[0]!r} as a class is a missing label turned into text; remove its "
            "images, or give them their class"
        )
    if twins := _alike(names):
        raise KRError(
            f"{where}: the class names {twins[0]!r} and {twins[1]!r} are one but for case or "
            "blanks; write each class one way, and once"
        )
    doubtful = [name for name in names if stripped(name).casefold() in UNKNOWN]
    return [f"the class {name!r} may stand for a missing label" for name in doubtful]


def _is_missing(name: str) -> bool:
    return name == "None" or name.casefold() in NOT_A_VALUE


def _alike(names: Sequence[str]) -> tuple[str, str] | None:
    seen: dict[str, str] = {}
    for name in names:
        key = stripped(name).casefold()
        if key in seen:
            return seen[key], name
        seen[key] = name
    return None


def group_codes(groups: np.ndarray, where: str, place: Callable[[int], str]) -> np.ndarray:
    """Maps patients to codes; no message holds a patient's name.

    Args:
        groups: (n,) integers or strings.
        where: what to call them in a message.
        place: says where the i-th stands, such as `line 3`.

    Returns:
        (n,) int64 in 0..G-1.

    Raises:
        KRError: on unknown patients, and on names that differ only in case.

    Example:
        >>> group_codes(np.array(["p2", "p1 ", "p1"]), "groups", str).tolist()
        [1, 0, 0]
    """
    if groups.dtype.kind == "U":
        groups = strip_all(groups)
        folded = np.char.lower(groups)
        unknown = np.isin(folded, sorted(NOT_A_VALUE | UNKNOWN))
        word = "an empty name, NA, nan, none, unknown and the like"
        _check_case(groups, where, place)
    else:
        unknown = groups == -1
        word = "-1, which pandas.factorize gives to missing values"
    if unknown.any():
        first = place(int(np.flatnonzero(unknown)[0]))
        raise KRError(
            f"{where}: the patient of {count(int(unknown.sum()), 'image')} is unknown (first: "
            f"{first}; unknown is {word}); they would count as one large patient: give each "
            "unknown patient a name of its own, or leave these images out"
        )
    return np.unique(groups, return_inverse=True)[1].reshape(len(groups)).astype(np.int64)


def _check_case(groups: np.ndarray, where: str, place: Callable[[int], str]) -> None:
    seen: dict[str, int] = {}
    for i, name in enumerate(groups.tolist()):
        other = seen.setdefault(name.casefold(), i)
        if groups[other] != name:
            raise KRError(
                f"{where}: the patients' names at {place(other)} and {place(i)} differ only in "
                "case; write each patient one way"
            )


def check_path_name(name: str, where: str) -> None:
    """Refuses a file or folder name that no record could hold.

    Raises:
        KRError: shows the name escaped.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise KRError(
            f"{where}: the name {shown(name)} is no UTF-8 (a zip file from an old system?); "
            "rename it"
        ) from None
