"""Checks of arrays as users have them; every refusal says what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from knowledge_recycling.data.types import OPEN
from knowledge_recycling.errors import KRError


def as_images(images: np.ndarray, where: str) -> tuple[np.ndarray, str | None]:
    """Brings images to one shape and dtype.

    Args:
        images: (n, h, w), (n, h, w, 1) or (n, h, w, 3); uint8, or float in [0, 1].
        where: what to call them in a message.

    Returns:
        (n, h, w, c) uint8, and the note to state, if any.

    Raises:
        KRError: on another shape, dtype or range, NaN or no image at all.
    """
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        hint = (
            "; channels come last here: images.transpose(0, 2, 3, 1)"
            if images.ndim == 4 and images.shape[1] in (1, 3)
            else ""
        )
        raise KRError(
            f"{where}: expected images of shape (n, h, w), (n, h, w, 1) or (n, h, w, 3), "
            f"found {images.shape}{hint}"
        )
    if 0 in images.shape:
        raise KRError(f"{where}: holds no image (shape {images.shape})")
    if images.dtype == np.uint8:
        return images, None
    if not np.issubdtype(images.dtype, np.floating):
        raise KRError(
            f"{where}: expected uint8 values 0..255 or float values 0..1, found {images.dtype}; "
            "convert with images.astype('uint8') if no value exceeds 255"
        )
    return _from_float(images, where), "float values 0..1 scaled to 0..255"


def _from_float(images: np.ndarray, where: str) -> np.ndarray:
    broken = len(images) - int(np.isfinite(images).all(axis=(1, 2, 3)).sum())
    if broken:
        raise KRError(
            f"{where}: {broken} of {len(images)} images hold NaN or infinite values; "
            "remove or repair them"
        )
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        hint = "divide by 255" if low >= 0 and high <= 255 else "rescale them"
        raise KRError(
            f"{where}: float images must lie in 0..1, found {low:g}..{high:g}; {hint} first"
        )
    return np.rint(images * 255).astype(np.uint8)


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
        raise KRError(
            f"{where}: has {labels.shape[1]} labels for each image (shape {labels.shape}); "
            "multi-label sets are not supported: give one class for each image "
            "(labels.argmax(axis=1) if the rows are one-hot)"
        )
    if labels.ndim > 2 or labels.ndim == 0:
        raise KRError(f"{where}: expected labels of shape (n,) or (n, 1), found {labels.shape}")
    labels = labels.reshape(len(labels))
    if labels.dtype.kind in "iub":
        return labels.astype(np.int64)
    if labels.dtype.kind == "U":
        return labels
    nan = " with NaN" if labels.dtype.kind == "f" and np.isnan(labels).any() else ""
    raise KRError(
        f"{where}: expected whole numbers 0..C-1 or class names, found {labels.dtype}{nan}"
    )


def as_codes(
    labels: np.ndarray, where: str, names: Sequence[str] | None = None
) -> tuple[np.ndarray, tuple[str, ...], str | None]:
    """Maps labels to 0..C-1.

    Args:
        labels: (n,) int64 or strings, of all splits together.
        where: what to call them in a message.
        names: the C class names, where they are known.

    Returns:
        (n,) int64 codes, the class names, and the note to state, if any.

    Raises:
        KRError: where integer labels are not 0..C-1.

    Example:
        >>> codes, names, note = as_codes(np.array(["sick", "healthy"]), "labels")
        >>> codes.tolist(), names
        ([1, 0], ('healthy', 'sick'))
    """
    if labels.dtype.kind == "U":
        found = order_names(np.unique(labels).tolist())
        place = {name: code for code, name in enumerate(found)}
        codes = np.array([place[name] for name in labels.tolist()], np.int64)
        mapped = ", ".join(f"{name}={code}" for name, code in place.items())
        return codes, found, f"class names mapped to labels in order: {_short(mapped)}"
    if names is None:
        present = np.unique(labels)
        _check_gaps(present, where)
        names = [str(code) for code in present]
    elif labels.min() < 0 or labels.max() >= len(names):
        raise KRError(
            f"{where}: {len(names)} class names are given, so labels must be "
            f"0..{len(names) - 1}; found {labels.min()}..{labels.max()}"
        )
    return labels.astype(np.int64), tuple(names), None


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
        KRError: on another length or dtype.
    """
    if groups.size != n:
        raise KRError(f"{where}: {groups.size} groups for {n} images; one for each is needed")
    if groups.dtype.kind not in "iuU":
        raise KRError(f"{where}: expected whole numbers or strings, found {groups.dtype}")
    return np.unique(groups.reshape(n), return_inverse=True)[1].astype(np.int64)


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
