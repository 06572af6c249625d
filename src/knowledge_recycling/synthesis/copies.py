"""Which synthetic images are copies of training images.

    q(s) = distance to the nearest training image / distance to the nearest validation image

A synthetic image is a copy if q(s) is at most that of the lowest 1% of validation images, each
compared with the images of other patients: they did not train, so they are no copies. A blurred
image lies near everything, in training and in validation alike, and is no copy by that rule; of
images that are no copies about 1 in 100 is removed too. Distances are Euclidean, between images
averaged down to 14 pixels a side: a copy that was turned or shifted is not found.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from knowledge_recycling.arrays import Stored
from knowledge_recycling.training.images import CHUNK

SIDE = 14
SHARE = 0.01


class CopyFinder:
    """Holds private images: it stays with who made it and is never stored.

    Args:
        train: (n, h, w, c) uint8.
        validation: (m, h, w, c) uint8, images that did not train the Generator.
        groups: (m,) patients of the validation images; None: each image is its own.
    """

    def __init__(
        self,
        train: Stored,
        validation: Stored,
        groups: np.ndarray | None = None,
    ) -> None:
        self._train, self._validation = _features(train), _features(validation)
        own = torch.as_tensor(np.arange(len(validation)) if groups is None else groups)
        ratios = self._ratios(self._validation, own, own).sort().values
        place = int(SHARE * (len(ratios) - 1))
        self._limit = ratios[place]
        self.by_chance = (place + 1) / (len(ratios) + 1)
        """Share of images that are no copies, but as new as validation, that is found too."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Which of the images (k, h, w, c) uint8 are copies, (k,) bool."""
        nobody = torch.full((len(images),), -1)
        others = torch.zeros(len(self._validation))
        return (self._ratios(_features(images), nobody, others) <= self._limit).numpy()

    def _ratios(self, x: Tensor, groups: Tensor, of_validation: Tensor) -> Tensor:
        found = []
        for chunk, who in zip(x.split(256), groups.split(256), strict=True):
            among = _distances(chunk, self._validation)
            among = among.masked_fill(who[:, None] == of_validation, torch.inf)
            near = _distances(chunk, self._train).amin(1)
            found.append(near / among.amin(1).clamp(min=1e-9))
        return torch.cat(found)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # Not by way of matrix products, whose rounding hides that a distance is 0.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _features(images: Stored) -> Tensor:
    starts = range(0, max(len(images), 1), CHUNK)
    return torch.cat([_averaged(images[start : start + CHUNK]) for start in starts])


def _averaged(images: np.ndarray) -> Tensor:
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    return F.adaptive_avg_pool2d(x, min(SIDE, x.shape[-1])).flatten(1)
