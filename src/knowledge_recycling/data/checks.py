"""Checks of arrays as users have them; every refusal says what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from knowledge_recycling.data.names import check_classes, group_codes, strip_all
from knowledge_recycling.data.scale import Range, Seen
from knowledge_recycling.data.types import OPEN
from knowledge_recycling.data.words import shown
from knowledge_recycling.errors import KRError


def image_shape(shape: tuple[int, ...], where: str) -> tuple[int, int, int, int]:
    """The (n, h, w, c) of an array of images.

    Args:
        shape: (n, h, w), (n, h, w, 1) or (n, h, w, 3).
        where: what to call them in a message.

    Raises:
        KRError: on another shape, or no image at all.
    """
    full = (*shape, 1) if len(shape) == 3 else shape
    if len(full) != 4 or full[-1] not in (1, 3):
        hint = (
            "; channels come last here: images.transpose(0, 2, 3, 1)"
            if len(full) == 4 and full[1] in (1, 3)
            else ""
        )
        raise KRError(
            f"{where}: expected images of shape (n, h, w), (n, h, w, 1) or (n, h, w, 3), "
            f"found {shape}{hint}"
        )
    if 0 in full:
        raise KRError(f"{where}: holds no image (shape {full})")
    return full


def image_dtype(dtype: np.dtype, where: str) -> None:
    """Refuses values that are no plain numbers.

    Raises:
        KRError: on complex numbers, dates, text and records.
    """
    if dtype.kind not in "biuf":
        raise KRError(f"{where}: expected uint8 values 0..255 or float values 0..1, found {dtype}")


def as_images(
    images: np.ndarray, where: str, limits: Range | None = None
) -> tuple[np.ndarray, list[str]]:
    """Brings images to one shape and dtype.

    Args:
        images: (n, h, w), (n, h, w, 1) or (n, h, w, 3); uint8, bool, or float in 0..1; any numbers
            where `limits` are stated.
        where: what to call them in a message.
        limits: (low, high) that become 0 and 255.

    Returns:
        (n, h, w, c) uint8, and the notes to state.

    Raises:
        KRError: on another shape, dtype or range, NaN or no image at all.

    Example:
        >>> images, notes = as_images(np.ones((2, 8, 8), bool), "mine")
        >>> images.shape, int(images.max()), notes
        ((2, 8, 8, 1), 255, ['True and False read as 255 and 0'])
    """
    shape = image_shape(images.shape, where)
    image_dtype(images.dtype, where)
    seen = Seen()
    result = seen.convert(images.reshape(shape), limits)
    return result, seen.judge(images.dtype, limits, where)


MULTI_LABEL = (
    "multi-label sets are not supported yet: an image is of one class. Several findings per image, "
    "each a yes or no, are planned; until then choose one finding and give it as 0 or 1"
)


def as_vector(labels: np.ndarray, where: str) -> np.ndarray:
    """Flattens labels of shape (n, 1) and refuses what is not one label for each image.

    Args:
        labels: (n,) or (n, 1) integers, booleans or strings.
        where: what to call them in a message.

    Returns:
        (n,) int64 or strings.

    Raises:
        KRError: on multi-label arrays and on other dtypes.
    """
    if labels.ndim == 2 and labels.shape[1] > 1:
        what = f"{where}: has {labels.shape[1]} labels for each image (shape {labels.shape})"
        if _one_hot(labels):
            raise KRError(
                f"{what}, one of which is 1 in each row; give one class for each image with "
                "labels.argmax(axis=1)"
            )
        raise KRError(f"{what}; {MULTI_LABEL}")
    if labels.ndim > 2 or labels.ndim == 0:
        raise KRError(f"{where}: expected labels of shape (n,) or (n, 1), found {labels.shape}")
    labels = labels.reshape(len(labels))
    if labels.dtype.kind in "iub":
        return labels.astype(np.int64)
    if labels.dtype.kind == "U":
        return strip_all(labels)
    raise KRError(
        f"{where}: expected whole numbers 0..C-1 or class names, found {labels.dtype}"
        f"{_missing(labels)}"
    )


def _one_hot(labels: np.ndarray) -> bool:
    if labels.dtype.kind not in "iubf":
        return False
    ones = labels == 1
    return bool(((labels == 0) | ones).all() and (ones.sum(axis=1) == 1).all())


def _missing(values: np.ndarray) -> str:
    """How many values are NaN or None, where the dtype allows it."""
    if values.dtype.kind == "O":
        kept = values.ravel().tolist()
        lost = sum(v is None or (isinstance(v, float) and v != v) for v in kept)
    else:
        lost = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
    return f" with {lost} missing values (NaN or None)" if lost else ""


def as_codes(
    labels: np.ndarray, where: str, names: Sequence[str] | None = None
) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """Maps labels to 0..C-1.

    Args:
        labels: (n,) int64 or strings, of all splits together.
        where: what to call them in a message.
        names: the C class names, where they are known.

    Returns:
        (n,) int64 codes, the class names, and the notes to state.

    Raises:
        KRError: where integer labels are not 0..C-1, or class names cannot be told apart.

    Example:
        >>> codes, names, notes = as_codes(np.array(["sick", "healthy"]), "labels")
        >>> codes.tolist(), names
        ([1, 0], ('healthy', 'sick'))
    """
    if labels.dtype.kind == "U":
        found = order_names(np.unique(labels).tolist())
        place = {name: code for code, name in enumerate(found)}
        codes = np.array([place[name] for name in labels.tolist()], np.int64)
        mapped = ", ".join(f"{shown(name)}={code}" for name, code in place.items())
        notes = [f"class names mapped to labels in order: {_short(mapped)}"]
        return codes, found, notes + check_classes(found, where)
    if names is None:
        present = np.unique(labels)
        _check_gaps(present, where)
        names = [str(code) for code in present]
    elif len(labels) and (labels.min() < 0 or labels.max() >= len(names)):
        raise KRError(
            f"{where}: {len(names)} class names are given, so labels must be "
            f"0..{len(names) - 1}; found {labels.min()}..{labels.max()}"
        )
    return labels.astype(np.int64), tuple(names), check_classes(names, where)


def _check_gaps(present: np.ndarray, where: str) -> None:
    low, high = int(present[0]), int(present[-1])
    if low == 0 and high == len(present) - 1:
        return
    found = _short(", ".join(map(str, present)))
    if low != 0:
        problem = f"the first is {low}"
    else:
        first_gap = int(np.flatnonzero(present != np.arange(len(present)))[0])
        problem = f"no image has label {first_gap}"
    raise KRError(
        f"{where}: labels must be 0..C-1 without gaps, but {problem} (found {found}); renumber "
        "them with numpy.unique(labels, return_inverse=True)[1], or give class names as strings"
    )


def order_names(names: Iterable[str]) -> tuple[str, ...]:
    """Sorts class names: as numbers where all are, else alphabetically.

    Example:
        >>> order_names(["10", "9"]), order_names(["b", "a"])
        (('9', '10'), ('a', 'b'))
    """
    names = sorted(names)
    if all(name.isdecimal() for name in names):
        names.sort(key=int)
    return tuple(names)


def as_groups(groups: np.ndarray, n: int, where: str) -> np.ndarray:
    """Maps any group names (patients) to codes.

    Args:
        groups: (n,) or (n, 1) integers or strings.
        n: number of images.
        where: what to call them in a message.

    Returns:
        (n,) int64 codes in 0..G-1.

    Raises:
        KRError: on another length or dtype, and on unknown patients.
    """
    if groups.size != n:
        raise KRError(f"{where}: {groups.size} groups for {n} images; one for each is needed")
    if groups.dtype.kind not in "iuU":
        raise KRError(
            f"{where}: expected whole numbers or strings, found {groups.dtype}{_missing(groups)}"
        )
    return group_codes(groups.reshape(n), where, lambda i: f"image {i}")


def check_enough(
    labels: np.ndarray,
    assigned: np.ndarray,
    names: Sequence[str],
    groups: np.ndarray | None,
    where: str,
) -> None:
    """Refuses classes with too few images: 2 in train, and 1 in each split still to be drawn.

    Args:
        labels: (n,) int64 in 0..C-1.
        assigned: (n,) int8 split codes, -1 where still to be drawn.
        names: C class names.
        groups: (n,) int64 or None; where known, 1 group for each split is needed as well.
        where: what to call the data in a message.

    Raises:
        KRError: names each class that is short, how many images it has and how many it needs.
    """
    present = np.unique(labels)
    if len(present) < 2:
        name = names[int(present[0])]
        raise KRError(f"{where}: all images are of one class ({name!r}); at least 2 are needed")
    trainable = np.isin(assigned, (OPEN, 0))
    drawn = _to_draw(assigned)
    counts = np.bincount(labels[trainable], minlength=len(names))
    purpose = " and ".join(["2 in train", *(f"1 in {name}" for name in drawn)])
    need = 2 + len(drawn)
    if short := [f"{names[c]!r} has {counts[c]}" for c in range(len(names)) if counts[c] < need]:
        raise KRError(
            f"{where}: too few images in a class: {_short('; '.join(short))}; at least {need} "
            f"are needed ({purpose}). Add images, or leave the class out"
        )
    if groups is not None and drawn:
        _check_enough_groups(labels[trainable], groups[trainable], names, drawn, where)


def _to_draw(assigned: np.ndarray) -> list[str]:
    if not (assigned == OPEN).any():
        return []
    return [name for code, name in ((1, "val"), (2, "test")) if code not in assigned]


def _check_enough_groups(
    labels: np.ndarray, groups: np.ndarray, names: Sequence[str], drawn: list[str], where: str
) -> None:
    need = 1 + len(drawn)
    for code, name in enumerate(names):
        found = len(np.unique(groups[labels == code]))
        if found < need:
            raise KRError(
                f"{where}: class {name!r} has images of {found} group(s) (patients) only; {need} "
                f"are needed, since no group may lie in two of train, {', '.join(drawn)}"
            )


def _short(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[:limit] + " ..."
