"""Who is in and who is out: complementary random halves of one pool."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from knowledge_recycling.errors import KRError

LEAST_SHADOWS = 8
LEAST_OF_A_CLASS = 4
"""Images of a class, or its patients, below which a half could hold too few to train on."""


def check_count(count: int) -> None:
    """Refuses a number of shadows that is odd or too small.

    Raises:
        KRError: says which numbers are taken.
    """
    if count < LEAST_SHADOWS or count % 2:
        raise KRError(
            f"shadows: {count} is not possible. They come in complementary pairs, and fewer than "
            f"{LEAST_SHADOWS} show no variance; use an even number from {LEAST_SHADOWS} up (16 is "
            "better)"
        )


def complementary_halves(
    labels: np.ndarray, groups: np.ndarray | None, count: int, seed: int
) -> NDArray[np.bool_]:
    """Draws `count` halves in complementary pairs: each record is in exactly count / 2 of them.

    Halves are stratified by class; whole groups (patients) stay together, then stratified by the
    class that most of a group's records have. The halves of a pair may differ by one unit a class.

    Args:
        labels: (N,) classes.
        groups: (N,) or None.
        count: K, even and at least 8; rows 2i and 2i + 1 are complements.
        seed: of the draw.

    Returns:
        (K, N) bool, true for members.

    Raises:
        KRError: K is odd or too small, or a class has too few images or patients to halve.

    Example:
        >>> halves = complementary_halves(np.array([0, 0, 0, 0, 1, 1, 1, 1]), None, 8, seed=0)
        >>> halves.shape, set(halves.sum(0).tolist()), set(halves.sum(1).tolist())
        ((8, 8), {4}, {4})
    """
    check_count(count)
    unit = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    votes = np.zeros((unit.max() + 1, labels.max() + 1), dtype=np.int64)
    np.add.at(votes, (unit, labels), 1)
    what = "images" if groups is None else "patients"
    for y, size in enumerate((votes > 0).sum(0)):
        if size < LEAST_OF_A_CLASS:
            raise KRError(
                f"class {y} has {size} {what} in the pool; {LEAST_OF_A_CLASS} are needed so that "
                "each half can train"
            )
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count // 2):
        inside = _half(votes.argmax(1), rng)[unit]
        rows += [inside, ~inside]
    return np.stack(rows)


def complementary_coins(units: np.ndarray, count: int, seed: int) -> NDArray[np.bool_]:
    """Draws the canaries' membership: in each pipeline an independent fair coin for each unit.

    The one-run bound rests on that independence, which stratified halves do not have.

    Args:
        units: (M,) whole numbers from 0; records of one unit go together.
        count: K, even; rows 2i and 2i + 1 are complements.
        seed: of the draw.

    Returns:
        (K, M) bool, true for members.

    Example:
        >>> coins = complementary_coins(np.array([0, 1, 1]), 8, seed=0)
        >>> set(coins.sum(0).tolist()), bool((coins[:, 1] == coins[:, 2]).all())
        ({4}, True)
    """
    rng = np.random.default_rng(seed)
    coins = rng.integers(2, size=(count // 2, int(units.max(initial=-1)) + 1), dtype=np.int8)
    rows = (coins == 1)[:, units]
    return np.stack([rows, ~rows], axis=1).reshape(count, len(units))


def _half(unit_class: np.ndarray, rng: np.random.Generator) -> NDArray[np.bool_]:
    inside = np.zeros(len(unit_class), dtype=bool)
    for y in np.unique(unit_class):
        members = rng.permutation(np.flatnonzero(unit_class == y))
        # An odd class gives its extra unit to either side by chance.
        inside[members[: (len(members) + rng.integers(2)) // 2]] = True
    return inside
