"""Hypothesis strategies for inputs that try to break a bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from knowledge_recycling.privacy.clipping import Units

Floats = NDArray[np.float64]
MAGNITUDES = [0.0, 5e-324, 1e-310, 1e-170, 1e-8, 0.5, 1.0, 3.0, 1e4, 1e99, 1e100]
VALUES = st.one_of(
    st.floats(-10, 10),
    st.builds(
        lambda sign, size: sign * size, st.sampled_from([1, -1]), st.sampled_from(MAGNITUDES)
    ),
)
CLIPS = st.sampled_from([1e-3, 0.5, 1.0, 7.0])


@dataclass
class Images:
    """A small data set: two arrays of rows, labels of 3 classes and patients, of n images."""

    rows: Floats
    others: Floats
    labels: NDArray[np.int64]
    patients: NDArray[np.int64]

    def take(self, chosen: NDArray[np.bool_]) -> Images:
        return Images(
            self.rows[chosen], self.others[chosen], self.labels[chosen], self.patients[chosen]
        )

    def units(self, unit: str) -> Units:
        return Units("patient", self.patients) if unit == "patient" else Units()

    def without_first_image(self) -> Images:
        return self.take(np.arange(len(self.rows)) > 0)

    def without_first_patient(self) -> Images:
        return self.take(self.patients != self.patients[0])


@st.composite
def rows(draw: st.DrawFn, n: int, k: int) -> Floats:
    """(n, k): random and adversarial values, scaled, sometimes all rows alike."""
    found: Floats = draw(arrays(np.float64, (n, k), elements=VALUES))
    if draw(st.booleans()):
        found[:] = found[0]
    return np.clip(found * draw(st.sampled_from([1.0, 1e-3, 1e6])), -1e100, 1e100)


@st.composite
def images(draw: st.DrawFn) -> Images:
    n = draw(st.integers(1, 12))
    return Images(
        draw(rows(n, 4)),
        draw(rows(n, 3)),
        draw(arrays(np.int64, n, elements=st.integers(0, 2))),
        draw(arrays(np.int64, n, elements=st.integers(-2, 2))),
    )


def one_patient(n: int, row: list[float], rest: int = 5) -> Images:
    """One patient with n equal images, and some other patients with one image each."""
    size = n + rest
    every = np.tile(np.asarray(row), (size, 1))
    patients = np.concatenate([np.zeros(n, np.int64), 1 + np.arange(rest)])
    return Images(every, every, np.zeros(size, np.int64), patients)
