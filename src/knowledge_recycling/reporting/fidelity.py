"""Tables on how the synthetic images lie among real ones, for the chapter that shows them."""

from __future__ import annotations

from collections.abc import Sequence

from knowledge_recycling.reporting.document import Block, Cell, Heading, Table, Text, cells
from knowledge_recycling.reporting.formats import NONE, count, decimal, finite, percent
from knowledge_recycling.reporting.reader import RunResults
from knowledge_recycling.results import ClassLikeness, Diagnostics, Likeness

MEANINGS = {
    "fid": "Distance between the two sets, each taken for one Gaussian; less is nearer. It grows "
    "as sets get smaller.",
    "kid": "Distance without that assumption and whatever the size; 0 for equals, by chance also "
    "below.",
    "precision": "Share of the synthetic images that lie among real ones: do they look real to "
    "the Teacher?",
    "recall": "Share of the real images that lie among synthetic ones: are all kinds made?",
    "density": "How densely synthetic images fill the surroundings of real ones; 1 for equals, "
    "more where they crowd.",
    "coverage": "Share of the real images with a synthetic one in their surroundings; low where "
    "a kind is forgotten.",
}
OTHERS = ("precision", "recall", "density", "fid", "kid")
"""Beside coverage, which stands first so that a phone shows it."""
SHARES = ("precision", "recall", "coverage")


def fidelity(run: RunResults) -> list[Block]:
    """The figures overall, beside real images in the synthetic ones' place, and by class.

    Nothing where the evaluation is not done or, in an older run, has no diagnostics.
    """
    evaluation = run.evaluation
    if not evaluation or not evaluation.diagnostics:
        return []
    found = evaluation.diagnostics
    images = found.images
    space = found.space.replace("teacher", "Teacher's", 1)
    intro = (
        f"{count(images.synthetic)} synthetic images, drawn as the Student's were, and "
        f"{count(images.reference)} {found.reference} images, compared in the space of the "
        f"{space}. That space holds what this Teacher looks at and no more: figures of another "
        "Teacher cannot be compared with these. None of them was a goal; how much such "
        "images teach is the Student's accuracy (CAS), "
        f"{percent(evaluation.student.accuracy)}."
    )
    by_class = _by_class(run.class_names, found.per_class)
    return [Heading("Beside real images"), Text(intro), _overall(found), by_class]


def _overall(found: Diagnostics) -> Table:
    measured, sizes = found.yardstick, found.yardstick.images
    columns = (found.overall, measured.synthetic, measured.real)
    rows = [
        [Cell(_title(key)), *(Cell(_shown(key, figures)) for figures in columns), Cell(words)]
        for key, words in MEANINGS.items()
    ]
    small = f"{count(sizes.compared)} synthetic", f"{count(sizes.compared)} real instead"
    head = ("Figure", "All synthetic", *small, "What it says")
    caption = (
        "All synthetic images against all real ones. For a yardstick, fewer synthetic images and "
        f"real ones in their place, both against {count(sizes.reference)} other real images, "
        "mean over random draws: compare these two columns, because sizes matter."
    )
    return Table(caption, head, rows, prose=True)


def _by_class(names: Sequence[str], found: Sequence[ClassLikeness]) -> Table:
    caption = (
        "Each class's images alone. Small print: images, and the coverage that as many real "
        "images would have."
    )
    rows = [_class_row(name, row) for name, row in zip(names, found, strict=True)]
    return Table(caption, ("Class", "Coverage", *map(_title, OTHERS)), rows)


def _class_row(name: str, row: ClassLikeness) -> list[Cell]:
    sizes = f"{count(row.images.synthetic)} for {count(row.images.reference)} real"
    if row.coverage is None:
        return [Cell(name, f"{sizes}: too few"), *cells(*[NONE] * len(MEANINGS))]
    figures = [Cell(_shown(key, row)) for key in OTHERS]
    return [Cell(name, sizes), _coverage(row), *figures]


def _coverage(row: ClassLikeness) -> Cell:
    """Set off where less than half of what real images would reach is covered."""
    value, expected = finite(row.coverage), finite(row.expected_coverage)
    low = value is not None and expected is not None and value < expected / 2
    note = f"{'hardly covered; ' if low else ''}real {percent(expected)}"
    return Cell(percent(value), note, share=value, tone="bad" if low else "")


def _title(key: str) -> str:
    return key.upper() if key in ("fid", "kid") else key.title()


def _shown(key: str, figures: Likeness) -> str:
    value = getattr(figures, key)
    return percent(value) if key in SHARES else decimal(value)
