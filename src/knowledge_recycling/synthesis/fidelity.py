"""How a synthetic set lies among real images in a feature space: statistics on features alone.

Diagnostics, not goals: snapshot and parameters of synthesis are chosen by CAS. A figure means
something within one feature space only, so figures of two Teachers cannot be compared.

torchmetrics 1.9 gives the same FID and KID for given features, but through a network that passes
features on, KID from random subsets only, and with none of the other four; two packages more would
be installed for two short formulas. So these stand here, on NumPy and scikit-learn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_chunked

from knowledge_recycling.results import (
    ClassLikeness,
    Fidelity,
    Likeness,
    Sizes,
    Yardstick,
    YardstickSizes,
)

NEIGHBOURS = 5
"""k of precision, recall, density and coverage, as in arXiv:2002.09797."""
LEAST_IMAGES = NEIGHBOURS + 2
"""On either side; with fewer every figure is None."""
HALVINGS = 10
"""Random halves of the reference that the yardstick is a mean over."""
CHUNK_ROWS, CHUNK_MIB = 512, 64
FIGURES = tuple(Likeness.model_fields)

Features = NDArray[np.floating[Any]]


def diagnose(
    reference: Features,
    labels: np.ndarray,
    made: Features,
    classes: np.ndarray,
    *,
    class_count: int,
    groups: np.ndarray | None,
    seed: int,
) -> Fidelity:
    """All figures of a synthetic set: overall, class by class, and beside those of real images.

    Args:
        reference: (n, d) features of real images.
        labels: (n,) their classes in 0..C-1.
        made: (m, d) features of synthetic images.
        classes: (m,) the classes that the Generator was asked for.
        class_count: C.
        groups: (n,) the patients of the real images, or None.
        seed: of the yardstick's halves.
    """
    real, synthetic = reference.astype(np.float64), made.astype(np.float64)
    rows = []
    for c in range(class_count):
        pair = real[labels == c], synthetic[classes == c]
        images = Sizes(reference=len(pair[0]), synthetic=len(pair[1]))
        rows.append(ClassLikeness(images=images, **dict(compare(*pair))))
    return Fidelity(
        neighbours=NEIGHBOURS,
        images=Sizes(reference=len(real), synthetic=len(synthetic)),
        overall=compare(real, synthetic),
        per_class=tuple(rows),
        yardstick=yardstick(real, synthetic, groups, seed),
    )


def yardstick(
    reference: Features, made: Features, groups: np.ndarray | None, seed: int
) -> Yardstick:
    """What real images score in the synthetic ones' place, for figures say little by themselves.

    A random half of the reference is compared with its other half and, because most figures
    depend on the sizes of the sets, with as many synthetic images. Patients are not divided.
    One such draw is noisy: the figures are means over `HALVINGS`.

    Args:
        reference: (n, d) features of real images.
        made: (m, d) features of synthetic images.
        groups: (n,) the patients of the real images, or None.
        seed: of the draws.

    Returns:
        The figures, all None where a half was too small.
    """
    unit = np.arange(len(reference))
    if groups is not None:
        unit = np.unique(groups, return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    synthetic, real, sizes = [], [], []
    for _ in range(HALVINGS):
        rank = rng.permutation(unit.max() + 1)
        inside = rank[unit] < len(rank) // 2
        half, other = reference[inside], reference[~inside]
        size = min(len(other), len(made))
        chosen = rng.permutation(len(made))[:size]
        synthetic.append(compare(half, made[chosen]))
        real.append(compare(half, other[:size]))
        sizes.append((len(half), size))
    halves, compared = (round(mean) for mean in np.mean(sizes, axis=0))
    return Yardstick(
        images=YardstickSizes(reference=halves, compared=compared),
        synthetic=_mean(synthetic),
        real=_mean(real),
    )


def _mean(rows: list[Likeness]) -> Likeness:
    columns = {name: [getattr(row, name) for row in rows] for name in FIGURES}
    return Likeness(
        **{
            name: None if None in values else float(np.mean(np.array(values, dtype=np.float64)))
            for name, values in columns.items()
        }
    )


def compare(reference: Features, made: Features) -> Likeness:
    """The six figures, and the coverage that equal distributions would have.

    Args:
        reference: (n, d) features of real images.
        made: (m, d) features of what is compared with them.

    Returns:
        The figures; all None where either side has fewer than `LEAST_IMAGES`.
    """
    if min(len(reference), len(made)) < LEAST_IMAGES:
        return Likeness(**dict.fromkeys(FIGURES))
    return Likeness(
        fid=frechet_distance(reference, made),
        kid=kernel_distance(reference, made),
        **neighbourhoods(reference, made),
        expected_coverage=expected_coverage(len(reference), len(made)),
    )


def frechet_distance(x: Features, y: Features) -> float:
    """Squared Frechet distance between Gaussians of the same moments: FID without Inception.

    |mu_x - mu_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)), covariances over n - 1; arXiv:1706.08500.
    With S = R^T R from the QR decomposition of the centred features, the last trace is the sum of
    the singular values of R_x R_y^T: no root of a matrix that n < d makes singular.

    Biased upwards, the more so the smaller the sets: compare sets of equal sizes only.

    Args:
        x: (n, d), n at least 2.
        y: (m, d), m at least 2.

    Returns:
        At least 0, in squared units of the features.

    Example:
        >>> x = np.array([[0.0], [2.0]])
        >>> round(frechet_distance(x, x + 3), 9), round(frechet_distance(x, 2 * x - 1), 9)
        (9.0, 2.0)
    """
    roots = [np.linalg.qr(z - z.mean(0), mode="r") / np.sqrt(len(z) - 1) for z in (x, y)]
    means = ((x.mean(0) - y.mean(0)) ** 2).sum()
    traces = sum((root**2).sum() for root in roots)
    cross = np.linalg.norm(roots[0] @ roots[1].T, "nuc")
    return float(max(means + traces - 2 * cross, 0.0))


def kernel_distance(x: Features, y: Features) -> float:
    """Unbiased squared maximum mean discrepancy, kernel (a.b / d + 1)^3: KID without Inception.

    Source: arXiv:1801.01401. Its authors average over subsets to save memory; here all
    pairs are used, in chunks, which estimates the same with less variance.

    Args:
        x: (n, d), n at least 2.
        y: (m, d), m at least 2.

    Returns:
        About 0 for equal distributions, by chance also below.

    Example:
        >>> x = np.array([[0.0], [1.0]])
        >>> kernel_distance(x, x)  # 1 + 1 - 2 * (1 + 1 + 1 + 8) / 4
        -3.5
    """
    within = 0.0
    for z in (x, y):
        itself = (((z**2).sum(1) / z.shape[1] + 1) ** 3).sum()
        within += (_kernel_sum(z, z) - itself) / (len(z) * (len(z) - 1))
    return float(within - 2 * _kernel_sum(x, y) / (len(x) * len(y)))


def _kernel_sum(x: Features, y: Features) -> float:
    chunks = (x[start : start + CHUNK_ROWS] for start in range(0, len(x), CHUNK_ROWS))
    return sum(float(((chunk @ y.T / x.shape[1] + 1) ** 3).sum()) for chunk in chunks)


def neighbourhoods(reference: Features, made: Features, k: int = NEIGHBOURS) -> dict[str, float]:
    """Precision, recall, density and coverage.

    The ball of an image reaches to its k-th nearest neighbour in its own set, edge included.

    - precision: share of `made` in a ball of `reference`; recall: share of `reference` in a ball
      of `made` (arXiv:1904.06991, section 2).
    - density: balls of `reference` that one of `made` lies in, mean over `made`, divided by k;
      coverage: share of balls of `reference` that hold any of `made` (arXiv:2002.09797, section 3).

    Args:
        reference: (n, d), n above k.
        made: (m, d), m above k.
        k: neighbours.

    Returns:
        The four by name; in 0..1, but density, which has no upper bound and is expected to be 1
        for equal distributions.
    """
    real_radii, made_radii = _radii(reference, k), _radii(made, k)
    recalled = np.zeros(len(reference), dtype=bool)
    covered = np.zeros(len(reference), dtype=bool)
    precise = hits = start = 0
    for distances in pairwise_distances_chunked(made, reference, working_memory=CHUNK_MIB):
        in_real = distances <= real_radii
        in_made = distances <= made_radii[start : start + len(distances), None]
        precise += int(in_real.any(1).sum())
        hits += int(in_real.sum())
        covered |= in_real.any(0)
        recalled |= in_made.any(0)
        start += len(distances)
    return {
        "precision": precise / len(made),
        "recall": float(recalled.mean()),
        "density": hits / (k * len(made)),
        "coverage": float(covered.mean()),
    }


def _radii(x: Features, k: int) -> Features:
    """Distance (n,) of each to its k-th nearest neighbour; itself is the one at position 0."""
    chunks = pairwise_distances_chunked(x, working_memory=CHUNK_MIB)
    return np.concatenate([np.partition(chunk, k)[:, k] for chunk in chunks])


def expected_coverage(reference: int, made: int, k: int = NEIGHBOURS) -> float:
    """Expected coverage of n real images by m from the same distribution, whatever it is.

    1 - (n-1)...(n-k) / ((n+m-1)...(n+m-k)): an image is not covered when its k nearest of all
    others are all real. Source: arXiv:2002.09797.

    Example:
        >>> round(expected_coverage(1000, 1000), 3), round(expected_coverage(20, 7), 3)
        (0.969, 0.823)
    """
    j = np.arange(1, k + 1)
    return float(1 - np.prod((reference - j) / (reference + made - j)))
