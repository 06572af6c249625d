"""A mixture of Gaussians for each class, fitted to latents.

k-means gives a class one component for each so many records, 32 at most. Components under a
minimum are then merged, the smallest first, into the one whose mean is nearest. With C_y the
covariance of the class about its components' means, P the Ledoit-Wolf covariance of all latents
about theirs, and d the latents' dimension,

    S_y = (n_y C_y + d P) / (n_y + d) + diag(mean posterior variance):

a class needs d records to be trusted as much as what all classes share, because classes can have
fewer records than latents have dimensions. Where the covariance is shared, S_y = P + diag(...).

Means of few records, and covariances of single classes, depend on each of these records more: the
minimum and the shared covariance are there to give away less, and fit the latents less closely.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans
from sklearn.covariance import ledoit_wolf

MOST_COMPONENTS = 32


@dataclass(frozen=True)
class Mixtures:
    """A mixture of Gaussians for each class; lists over the classes."""

    means: list[np.ndarray]
    """mu_y (K_y, d)."""
    weights: list[np.ndarray]
    """p_y (K_y,), which sum to 1."""
    factors: list[np.ndarray]
    """L_y (d, d), lower triangular, L_y L_y^T = S_y."""


def fit_mixtures(
    means: np.ndarray,
    variances: np.ndarray,
    labels: np.ndarray,
    classes: int,
    *,
    component_images: int,
    minimum: int = 1,
    shared_covariance: bool = False,
) -> Mixtures:
    """Fits sum_k p_yk N(mu_yk, S_y) to the latents of each class.

    Args:
        means: (n, d) posterior means of the images.
        variances: (n, d) posterior variances.
        labels: (n,) in 0..C-1.
        classes: C; each has at least one image.
        component_images: fewest images for which k-means makes a further component.
        minimum: fewest images of a component, where the class has as many.
        shared_covariance: all classes have the covariance P.
    """
    centred = np.empty_like(means)
    centres, weights = [], []
    for y in range(classes):
        of_class = means[labels == y]
        count = int(np.clip(len(of_class) // component_images, 1, MOST_COMPONENTS))
        nearest = KMeans(count, n_init=1, random_state=0, max_iter=50).fit_predict(of_class)
        nearest = merged(of_class, nearest, minimum)
        sizes = np.bincount(nearest)
        centres.append(np.stack([of_class[nearest == k].mean(0) for k in range(len(sizes))]))
        weights.append(sizes / len(of_class))
        centred[labels == y] = of_class - centres[-1][nearest]
    d = means.shape[1]
    shared = ledoit_wolf(centred, assume_centered=True)[0]
    posterior = np.diag(variances.mean(0))
    if shared_covariance:
        return Mixtures(centres, weights, [np.linalg.cholesky(shared + posterior)] * classes)
    factors = []
    for y in range(classes):
        of_class = centred[labels == y]
        scatter = of_class.T @ of_class
        covariance = (scatter + d * shared) / (len(of_class) + d) + posterior
        factors.append(np.linalg.cholesky(covariance))
    return Mixtures(centres, weights, factors)


def merged(points: np.ndarray, component: np.ndarray, minimum: int) -> np.ndarray:
    """Merges the smallest component into the nearest until none has fewer points than `minimum`.

    Args:
        points: (n, d).
        component: (n,) whole numbers; some may be left out.
        minimum: of points in a component; with fewer points in all, one component is left.

    Returns:
        (n,) int64 in 0..K-1, none left out.

    Example:
        >>> merged(np.array([[0.0], [0.1], [5.0], [9.0], [9.1]]), np.array([7, 7, 1, 4, 4]), 2)
        array([1, 1, 0, 0, 0])
    """
    while True:
        # Far fewer distinct latents than images (duplicates) leave components empty.
        _, component, sizes = np.unique(component, return_inverse=True, return_counts=True)
        smallest = int(sizes.argmin())
        if sizes[smallest] >= minimum or len(sizes) == 1:
            return component
        means = np.stack([points[component == k].mean(0) for k in range(len(sizes))])
        distance = np.square(means - means[smallest]).sum(1)
        distance[smallest] = np.inf
        component = np.where(component == smallest, distance.argmin(), component)
