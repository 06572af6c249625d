"""Which synthetic images are nearer to a training image than other people's images are.

A synthetic image counts as a copy if its distance to the nearest training image is at most that
of the closest 1% of validation images, which are no copies. So about 1 in 100 images that are no
copies is removed too. Distances are Euclidean, between images averaged down to 14 pixels a side:
a copy that was turned or shifted is not found.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 14
SHARE = 0.01


class CopyFinder:
    """Holds private images: it stays with who made it and is never stored.

    Args:
        train: (n, h, w, c) uint8.
        validation: (m, h, w, c) uint8, images that did not train the Generator.
    """

    def __init__(self, train: np.ndarray, validation: np.ndarray) -> None:
        self._train = _features(train)
        near = self._nearest(validation).sort().values
        self._limit = near[int(SHARE * (len(near) - 1))]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Which of the images (k, h, w, c) uint8 are copies, (k,) bool."""
        return (self._nearest(images) <= self._limit).numpy()

    def _nearest(self, images: np.ndarray) -> Tensor:
        return torch.cat(
            [
                torch.cdist(chunk, self._train, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
                for chunk in _features(images).split(256)
            ]
        )


def _features(images: np.ndarray) -> Tensor:
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    return F.adaptive_avg_pool2d(x, min(SIDE, x.shape[-1])).flatten(1)
