"""The answer band: whether there is a formal guarantee, what it means, what it leaves out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from knowledge_recycling.reporting.reader import RunResults

UNITS = {
    "patient": "every patient",
    "image": "every image (of a patient with several images it says less)",
}


@dataclass(frozen=True)
class Band:
    """A sentence to remember, and what to know about it."""

    title: str
    lines: tuple[str, ...]
    formal: bool


def band(run: RunResults) -> Band | None:
    """The band of a run; None before its Teacher is trained."""
    if not run.teacher:
        return None
    found = run.teacher.guarantee
    if found is None:
        return Band(
            "No formal guarantee.",
            (
                "The audit below finds lower bounds on what leaks; nothing here bounds it from "
                "above. A run with an epsilon does: kr run DATA -o RUN --epsilon 3.",
            ),
            formal=False,
        )
    odds = math.exp(found.epsilon)
    who = found.unit
    return Band(
        f"Formal guarantee: ({found.epsilon:g}, {found.delta:g})-differential privacy for "
        f"{UNITS[who]}.",
        (
            f"What it means: whatever anybody concludes about whether one {who} was among the "
            f"training images, the odds change by a factor of at most {odds:,.3g} "
            f"(exp {found.epsilon:g}), but for failures of probability {found.delta:g}. It does "
            "not mean that nothing is learnt: what is true of patients in general is.",
            "It covers the Teacher, the Generator, the synthetic images, their soft labels and "
            "the Student, and whatever is made from these.",
            "It does not cover: the figures on test images and of the audit on this page, the "
            "numbers of images, the class names, the size and the symmetry "
            f"({found.symmetry}), which the user states, and other runs on the same data, which "
            "add up (kr budget DATA).",
        ),
        formal=True,
    )
