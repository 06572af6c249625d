"""Which column of a manifest or a table is what: found by its name, or stated."""

from __future__ import annotations

import re
from collections.abc import Sequence

from knowledge_recycling.data.words import count, listed, shown
from knowledge_recycling.errors import KRError

PATIENT = "patient"
LIKE_PATIENT = re.compile(r"(patient|subject|case)[ _-]?(id|name|number)|pid|subject|groups?")
"""Names, in lower case, of columns that are likely to name the patient."""


def pick(
    columns: Sequence[str], stated: str | None, setting: str, usual: str | None, where: str
) -> str | None:
    """The column that is stated, else the one of the usual name; case does not count in the latter.

    Args:
        columns: those there are.
        stated: what the setting says.
        setting: its name.
        usual: the name that is taken without a setting, lower case; None: no name is.
        where: what to call the table in a message.

    Returns:
        Its name; None where none is stated and there is none of the usual name.

    Raises:
        KRError: a stated column is not there, or two columns have the name.

    Example:
        >>> pick(["Path", "dx"], None, "data.image_column", "path", "x.csv")
        'Path'
    """
    wanted = stated or usual
    if wanted is None:
        return None
    found = [c for c in columns if c == wanted] if stated else []
    found = found or [c for c in columns if c.casefold() == wanted.casefold()]
    if len(found) > 1:
        raise KRError(
            f"{where}: has {len(found)} columns called {shown(wanted)}; rename all but one"
        )
    if stated and not found:
        raise KRError(
            f"{where}: has no column {shown(stated)}, which {setting} names; it has "
            f"{listed(columns, 8)}"
        )
    return found[0] if found else None


def pick_patient(columns: Sequence[str], stated: str | None, where: str) -> str | None:
    """The column of patients; refuses to overlook one that goes by another name.

    Raises:
        KRError: there is a column that is likely to hold the patient, and it is not stated.
    """
    found = pick(columns, stated, "data.patient_column", PATIENT, where)
    likely = [c for c in columns if LIKE_PATIENT.fullmatch(c.casefold())]
    if found is None and likely:
        name = shown(likely[0])
        raise KRError(
            f"{where}: the column {name} is likely to name the patient, whose images must stay "
            f"together; use the setting data.patient_column={name}, or remove the column"
        )
    return found


def unused(columns: Sequence[str], used: Sequence[str | None]) -> list[str]:
    """A note on the columns that are not read.

    Example:
        >>> unused(["path", "label", "age"], ["path", "label", None])
        ['1 column of the table is not read: age']
    """
    rest = [c for c in columns if c not in used and c]
    verb = "is" if len(rest) == 1 else "are"
    what = f"{count(len(rest), 'column')} of the table {verb} not read: {listed(rest, 8)}"
    return [what] if rest else []
