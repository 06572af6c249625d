"""report.json of a bundle: everything that its cards say, as one typed record."""

from __future__ import annotations

from knowledge_recycling.auditing.figures import Estimate, Target
from knowledge_recycling.auditing.gate import Gate
from knowledge_recycling.bundle.form import Form
from knowledge_recycling.results import Record, ShadowAudit, Utility

FORMAT = 1


class SyntheticFacts(Record):
    """The synthetic set, where there is one."""

    images: int
    labels: str
    """`soft`, `hard` or `rounded:DECIMALS`."""
    per_class: tuple[int, ...]
    drawn: int
    copies_removed: int | None
    """None where copies were not looked for, see the data card."""
    left_out: tuple[str, ...] = ()
    """Classes of too few images to be synthesised without copying them."""


class Facts(Record):
    """What is known of a release; nothing about a single record, and no path."""

    format: int = FORMAT
    name: str
    date: str
    version: str
    """Of knowledge-recycling."""
    class_names: tuple[str, ...]
    size: int
    channels: int
    input_range: tuple[float, float] | None
    """Values that became 0 and 255; None: 8-bit images."""
    private_images: dict[str, int]
    """Split -> number; of train without those that the screening of labels dropped."""
    patients_known: bool
    patients: int | None
    """In the audit's pool; None where not known."""
    parameters: int
    """Weights of the Student."""
    seconds: float
    """Of all stages."""
    test_images: int
    teacher: Utility
    student: Utility
    accuracy_gap: Estimate
    """In percentage points."""
    gate: Gate
    override: str | None
    """Why it was released all the same; None where the gate was open."""
    targets: dict[str, Target]
    shadows: ShadowAudit | None
    synthetic: SyntheticFacts | None
    form: Form
