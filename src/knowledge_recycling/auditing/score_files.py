"""Reads scores or signals that anybody computed, for the auditor; nothing is unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from knowledge_recycling.auditing.auditor import audit_scores, audit_signals
from knowledge_recycling.auditing.figures import Audit
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership.members import Membership

_FILES = (
    ({"member_scores", "nonmember_scores"}, {"member_groups", "nonmember_groups"}),
    ({"signals", "membership"}, {"groups", "pairs"}),
)


def load_scores(path: Path) -> dict[str, NDArray[Any]]:
    """Reads scores or signals from an npz file; nothing in it is unpickled.

    Args:
        path: holds `member_scores` (n,) and `nonmember_scores` (m,), optionally `member_groups`
            and `nonmember_groups`; or `signals` (K, N) and `membership` (K, N) bool, optionally
            `groups` (N,) and `pairs` (K,).

    Returns:
        The arrays, ready as keyword arguments of `audit_scores`, or, `signals` apart, of
        `Membership.of`.

    Raises:
        KRError: the file is missing, no npz, holds Python objects, or lacks or mixes arrays.
    """
    arrays = _read_npz(path)
    kinds = [kind for kind in _FILES if kind[0] <= arrays.keys()]
    if len(kinds) != 1:
        raise KRError(
            f"{path}: expected either member_scores and nonmember_scores, or signals and "
            f"membership; found {', '.join(sorted(arrays)) or 'nothing'}"
        )
    required, optional = kinds[0]
    unknown = sorted(arrays.keys() - required - optional)
    if unknown:
        raise KRError(f"{path}: unknown array {unknown[0]}; also taken: {', '.join(optional)}")
    return arrays


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, NpzFile):
            raise KRError(f"{path}: is a single array, not an npz file; use numpy.savez")
        with loaded as file:
            arrays = {name: file[name] for name in file}
    except FileNotFoundError:
        raise KRError(f"{path}: there is no such file") from None
    except (KRError, MemoryError):
        raise
    except Exception as error:  # zipfile and NumPy raise nearly anything on corrupt bytes
        raise KRError(f"{path}: cannot be read as an npz file of plain arrays: {error}") from None
    wrong = [n for n, a in arrays.items() if a.dtype.kind not in "biuf" and "groups" not in n]
    if wrong:
        raise KRError(f"{path}: {wrong[0]} holds {arrays[wrong[0]].dtype}, expected numbers")
    return arrays


def audit_file(path: Path, *, seed: int = 0) -> Audit:
    """Audits an npz file of scores or signals: `load_scores`, then the fitting function.

    Raises:
        KRError: as `load_scores`, `audit_scores` and `audit_signals`.
    """
    arrays: dict[str, Any] = load_scores(path)
    try:
        if "signals" not in arrays:
            return audit_scores(**arrays, seed=seed)
        signals, mask = arrays.pop("signals"), arrays.pop("membership")
        return audit_signals(signals, Membership.of(mask, **arrays), seed=seed)
    except KRError as error:
        raise KRError(f"{path}: {error}") from None
