"""What every result.json and split.json says, as frozen types.

The stages write them; reporting, the command line and the benchmarks read them. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from knowledge_recycling.auditing.figures import CanaryArm, Control, Copies, Power, Target
from knowledge_recycling.errors import KRError
from knowledge_recycling.statistics.estimate import Estimate
from knowledge_recycling.storage.files import read_json
from knowledge_recycling.synthesis.parameters import Labels, Parameters


class Record(BaseModel):
    """A part of a file: immutable, and closed to unknown names."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), use_attribute_docstrings=True
    )

    def tree(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.model_dump(mode="json")


class SplitRecord(Record):
    """split.json: the data of a run, free of paths and file names."""

    name: str
    data_sha256: str
    size: int
    """Side of the images in pixels."""
    channels: int
    class_names: tuple[str, ...]
    has_groups: bool
    """Whether it is known which images are of one patient."""
    notes: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    """Splits that were drawn, not given."""
    counts: dict[str, tuple[int, ...]]
    """Split -> images of each class."""
    indices: dict[str, tuple[int, ...]]
    """Split -> positions in the source; private."""

    def with_split(self, name: str, indices: Sequence[int], counts: Sequence[int]) -> SplitRecord:
        """The same data with other images in one split."""
        return self.model_copy(
            update={
                "indices": self.indices | {name: tuple(indices)},
                "counts": self.counts | {name: tuple(counts)},
            }
        )


class Result(Record):
    """What every result.json says; a stage leaves these fields to whoever runs it."""

    stage: str
    artefacts: dict[str, str] = {}
    """File in the stage's folder -> first 16 digits of its SHA-256."""
    inputs: dict[str, str] = {}
    """What the stage was made from -> its hash."""
    seconds: float = 0.0
    """Of the process that finished the stage."""
    finished: str = ""
    """When, as ISO 8601 in UTC; empty where it was not recorded."""
    peak_memory_bytes: int = 0
    """Largest resident memory of that process; 0 where unknown."""
    resumed: bool = False
    """Whether an earlier process had begun the stage."""
    versions: dict[str, str] = {}
    """Package -> version."""
    machine: str = ""
    device: str = ""
    precision: str = ""
    taken_over: bool = False
    """Whether another run's result was taken instead of running the stage."""

    def warnings(self) -> list[str]:
        """What is printed when the stage is done."""
        warning = getattr(self, "warning", None)
        return [warning] if warning else []

    def tree(self) -> dict[str, Any]:
        """Plain values for JSON, the stage's own fields before those that all stages have."""
        whole = self.model_dump(mode="json")
        if not self.taken_over:
            del whole["taken_over"]
        common = [name for name in Result.model_fields if name in whole and name != "stage"]
        own = {name: value for name, value in whole.items() if name not in common}
        return own | {name: whole[name] for name in common}


class Validation(Record):
    """Figures of a classifier on validation."""

    accuracy: float
    auc: float | None
    """Macro one-vs-rest; None where the split holds one class only."""
    balanced_accuracy: float
    f1_macro: float
    ece: float
    """Expected calibration error."""


class Guarantee(Record):
    """What a private run promises, and what a stage of it spent."""

    epsilon: float
    """Of the whole run."""
    delta: float
    unit: Literal["image", "patient"]
    symmetry: Literal["none", "flip", "square"]
    """As the user stated it."""
    mu: float
    """Of this stage, in Gaussian differential privacy."""
    entry: str
    """Of the release in the ledger."""


class Screening(Record):
    """What the screening of labels did; of each class, in the order of the classes."""

    outvoted: tuple[int, ...]
    """Train images whose label lost the vote."""
    dropped: tuple[int, ...]
    """Those of them that nothing is trained on: all, or none of a class that would lose more than
    half of its images."""


class TeacherResult(Result):
    """teacher/result.json."""

    stage: Literal["teacher"] = "teacher"
    parameters: int
    """Weights of the network."""
    steps: int
    validation: Validation | None
    """None in a private run, which does not look at validation."""
    guarantee: Guarantee | None = None
    counts: tuple[float, ...] | None = None
    """In a private run the noisy number of images per class, which later stages go by."""
    screening: Screening | None = None
    """None where labels were not screened."""
    warning: str | None = None


class GeneratorResult(Result):
    """generator/result.json."""

    stage: Literal["generator"] = "generator"
    method: str
    count: int
    """Generators in the mixture."""
    parameters: int
    """Weights of all of them."""
    steps: int
    snapshots: tuple[int, ...]
    """Steps of the snapshots that were kept."""
    warning: str | None = None
    tiny_classes: tuple[str, ...] = ()
    """Classes of too few images or patients to be synthesised without copying them."""
    guarantee: Guarantee | None = None


class Look(Record):
    """Figures of a probe on validation."""

    accuracy: float
    """The validation CAS."""
    auc: float | None = None
    """None where validation holds one class only."""
    loss: float
    """Cross-entropy in nats."""


class Candidate(Record):
    """A snapshot; a look is None where it was not taken."""

    snapshot: int
    screen: Look | None = None
    final: Look | None = None


class SelectionResult(Result):
    """selection/result.json."""

    stage: Literal["selection"] = "selection"
    snapshot: int
    """Step of the one that was chosen."""
    table: tuple[Candidate, ...]
    skipped: str | None = None
    """Why nothing was compared."""


class Trial(Look):
    """One setting of the parameters of synthesis and what its probe reached."""

    trial: int
    state: Literal["complete", "pruned"]
    latent_std: float
    prior: Literal["real", "balanced"]
    temperature: float
    filter_threshold: float

    @property
    def parameters(self) -> Parameters:
        """The setting."""
        return Parameters(self.latent_std, self.prior, self.temperature, self.filter_threshold)


class Finalist(Look):
    """A trial's figures in the longer probe."""

    trial: int
    chosen: bool


class LabelsLook(Look):
    """What a probe reached that learned by one kind of labels."""

    labels: Labels
    error: float
    """Standard error of its accuracy less the best kind's, on the same images."""


class TuningResult(Result):
    """tuning/result.json."""

    stage: Literal["tuning"] = "tuning"
    parameters: Parameters
    """Those that were chosen."""
    default: Parameters
    table: tuple[Trial, ...]
    finalists: tuple[Finalist, ...]
    skipped: str | None = None
    """Why nothing was compared."""
    labels: Labels = "soft"
    """The kind that the Student learns by, where `distillation.labels` leaves it open."""
    labels_table: tuple[LabelsLook, ...] = ()
    """The kinds that were compared, the one that leaks least first."""


class DistillationResult(Result):
    """distillation/result.json."""

    stage: Literal["distillation"] = "distillation"
    parameters: int
    """Weights of the network."""
    steps: int
    labels: Labels
    regeneration_period: int
    """Epochs after which the synthetic set was drawn anew; 0: never."""
    synthetic_images: int
    """Drawn in all."""
    acceptance: float
    """Share of the samples that passed the filter."""
    snapshot: int
    synthesis: Parameters


class Calibration(Record):
    """One value per bin of the confidence; None in empty bins."""

    confidence: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    count: tuple[int, ...]


class Classification(Validation):
    """All utility figures of a classifier on one set."""

    recall: tuple[float | None, ...]
    """Per class; None where the class has no image."""
    confusion: tuple[tuple[int, ...], ...]
    """Images by true class (rows) and predicted class."""
    calibration: Calibration
    """In bins of equal width, which the calibration error is made from."""
    reliability: Calibration | None = None
    """In bins of about equally many images; None in results made before it existed."""


class Utility(Classification):
    """Figures of a classifier on test."""

    accuracy_interval: Estimate


class Likeness(Record):
    """How one set of images lies among another; None where there were too few images."""

    fid: float | None
    kid: float | None
    precision: float | None
    recall: float | None
    density: float | None
    coverage: float | None
    expected_coverage: float | None


class Sizes(Record):
    """How many images were compared."""

    reference: int
    synthetic: int


class ClassLikeness(Likeness):
    """The figures of the images of one class alone."""

    images: Sizes


class YardstickSizes(Record):
    """How many images were compared, on average over the draws."""

    reference: int
    compared: int


class Yardstick(Record):
    """Half of the real images beside the other half, and beside as many synthetic ones."""

    images: YardstickSizes
    synthetic: Likeness
    real: Likeness


class Fidelity(Record):
    """How synthetic images lie among real ones in a feature space."""

    neighbours: int
    """k of precision, recall, density and coverage."""
    images: Sizes
    overall: Likeness
    """Contains the mix of classes, which a balanced prior changes."""
    per_class: tuple[ClassLikeness, ...]
    yardstick: Yardstick


class Diagnostics(Fidelity):
    """Fidelity in the Teacher's feature space."""

    space: str
    reference: str
    """The split of the real images."""


class EvaluationResult(Result):
    """evaluation/result.json."""

    stage: Literal["evaluation"] = "evaluation"
    images: int
    teacher: Utility
    student: Utility
    cas_gap: Estimate
    """Student's accuracy less the Teacher's, in percentage points."""
    agreement: float
    """Share of the test images that both put into the same class."""
    diagnostics: Diagnostics | None = None
    """None in a run that was evaluated before they existed."""


class ShadowAudit(Record):
    """What was audited by whole-pipeline shadows, its controls, and what is not of one channel."""

    count: int
    pool: int
    """Records that were in or out by chance, canaries left aside."""
    patients: int | None
    """Of those records; None where patients are not known."""
    reuse_choices: bool
    """Whether the shadows took over the run's snapshot and parameters of synthesis."""
    primary: str
    """The attack that conclusions rest on."""
    powered: bool
    """Whether the primary attack finds the Teacher's leak and the control passed."""
    control: Control
    power: Power
    copies: Copies
    canary_count: int
    canaries: dict[str, CanaryArm] | None
    """By channel; None without canaries."""
    seconds_per_shadow: tuple[float, ...]
    threads_per_shadow: int


class SyntheticCopies(Record):
    """How many synthetic images are copies of training images, see `synthesis.copies`."""

    images: int
    """Drawn as the Student's were."""
    found: int
    share: Estimate
    """`found` / `images`."""
    by_chance: float
    """Share that the rule finds among images that are no copies."""

    @property
    def too_many(self) -> bool:
        """Whether the share's whole interval lies above chance."""
        return self.share.low > self.by_chance

    def sentence(self) -> str:
        """What was found, for people."""
        chance = f"about {100 * self.by_chance:.1f}% would be by chance"
        what = "copy the training images" if self.too_many else "are not known to copy them"
        return (
            f"{self.found} of {self.images} synthetic images lie as near to a training image as "
            f"only a copy should; {chance}. They {what}."
        )


class AuditResult(Result):
    """audit/result.json."""

    stage: Literal["audit"] = "audit"
    protocols: tuple[Literal["paper", "shadows"], ...]
    """`shadows` where `kr shadows` has run; each attack says which of them it is of."""
    warning: str
    """What the paper's protocol cannot tell."""
    members: int
    nonmembers: int
    targets: dict[str, Target]
    """By release channel."""
    copies: SyntheticCopies | None = None
    """None in a private run, where to look for copies would end the guarantee, and in a run that
    was audited before every run looked for them."""
    shadows: ShadowAudit | None = None

    def warnings(self) -> list[str]:
        """Also of copies, where there are more of them than by chance."""
        copies = [self.copies.sentence()] if self.copies and self.copies.too_many else []
        return [*super().warnings(), *copies]

    @model_validator(mode="before")
    @classmethod
    def _of_one_protocol(cls, tree: Any) -> Any:
        """Version 0.1.0's drafts said `protocol: paper`, with and without shadows."""
        if not isinstance(tree, Mapping) or "protocol" not in tree:
            return tree
        protocols = ["paper", *(["shadows"] if tree.get("shadows") else [])]
        return {k: v for k, v in tree.items() if k != "protocol"} | {"protocols": protocols}


class ReportResult(Result):
    """report/result.json."""

    stage: Literal["report"] = "report"
    files: tuple[str, ...]


RESULTS: dict[str, type[Result]] = {
    "teacher": TeacherResult,
    "generator": GeneratorResult,
    "selection": SelectionResult,
    "tuning": TuningResult,
    "distillation": DistillationResult,
    "evaluation": EvaluationResult,
    "audit": AuditResult,
    "report": ReportResult,
}
"""Stage -> what its result.json says."""

R = TypeVar("R", bound=Record)


def read(path: Path, model: type[R], clean: Callable[[Any], Any] = lambda tree: tree) -> R:
    """Reads a file of a run.

    Args:
        path: a result.json or split.json.
        model: what the file says.
        clean: applied to the plain values first.

    Raises:
        KRError: the file cannot be read, or a field in it is missing, unknown or of another type;
            names the file and the first such field.
    """
    try:
        return model.model_validate(clean(read_json(path)))
    except KRError as error:
        raise KRError(f"{error}. {_remedy(path)}") from None
    except ValidationError as error:
        raise KRError(f"{path}: {_explain(error)}. {_remedy(path)}") from None


def schema() -> dict[str, Any]:
    """The JSON Schema of each file, by the file's path in the run directory."""
    files: dict[str, type[Record]] = {"split.json": SplitRecord}
    files |= {f"{stage}/result.json": model for stage, model in RESULTS.items()}
    return {path: model.model_json_schema() for path, model in files.items()}


def _explain(error: ValidationError) -> str:
    """The first field at fault, in words; never the value, which may be private."""
    item = error.errors(include_input=False, include_url=False, include_context=False)[0]
    field = ".".join(map(str, item["loc"]))
    if not field:
        return "does not hold a JSON object"
    words = {
        "missing": "is missing",
        "extra_forbidden": "is unknown to this version",
        "unexpected_keyword_argument": "is unknown to this version",
    }
    return f"the field `{field}` {words.get(item['type'], _lower(item['msg']))}"


def _lower(message: str) -> str:
    return f"is not valid: {message[0].lower()}{message[1:]}"


def _remedy(path: Path) -> str:
    again = "The file is damaged or of another version"
    if path.name == "result.json":
        return f"{again}: delete it and run the same command again to redo `{path.parent.name}`."
    return f"{again}: start a new run in another directory."
