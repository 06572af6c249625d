"""Classes too small to be synthesised without copying those who are in them.

A Gaussian's mean is the mean of the latents that it was fitted to. Where n independent latents of
equal size are averaged, the mean correlates with each of them by 1/sqrt(n): 0.5 for n = 4, which
is what the images of such a class were measured to have with the nearest training image (with
held-out images 0.1), 0.32 for n = 10, 0.1 for n = 100. The Student still learns from synthetic
images of every class, for it must know all of them; what is left out is what would be shown.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST_PATIENTS = 10
"""Fewest patients (images, where patients are not known) of a class that may be shown."""


def classes(labels: np.ndarray, groups: np.ndarray | None, class_count: int) -> list[int]:
    """Classes with fewer than `LEAST_PATIENTS` patients among the train images.

    Args:
        labels: (n,) in 0..C-1.
        groups: (n,) the patient of each image, or None: each image then counts as a patient.
        class_count: C.

    Example:
        >>> classes(np.repeat([0, 1], [12, 9]), None, 2)
        [1]
        >>> classes(np.repeat([0, 1], [12, 12]), np.arange(24) // 2, 2)
        [0, 1]
    """
    who = np.arange(len(labels)) if groups is None else groups
    patients = [len(np.unique(who[labels == y])) for y in range(class_count)]
    return [y for y, count in enumerate(patients) if count < LEAST_PATIENTS]


def notes(found: Sequence[int], names: Sequence[str]) -> list[str]:
    """What is said at the start of a run with such classes; nothing where there are none."""
    if not found:
        return []
    listed = ", ".join(names[y] for y in found)
    return [
        f"fewer than {LEAST_PATIENTS} patients (or images, where patients are not known) in train "
        f"of: {listed}. Synthetic images of so few resemble them; the Student learns from these "
        "images, but they are neither shown nor released unless distillation.tiny_classes=keep"
    ]
