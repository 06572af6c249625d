"""Every choice of a run, as frozen pydantic models that read and write YAML.

A section carries the name of its stage. `Config.resolve` merges, later over earlier:
defaults, preset, YAML file, `stage.field=value` settings.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from knowledge_recycling.errors import KRError

NOT_IDENTITY = ("runtime.", "data.source", "data.groups", "data.canaries", "privacy.budget")


MOST_YAML_BYTES = 2**20

HUB = "hf:"
"""Start of a source that is a set of the Hugging Face Hub, and no path."""


class Section(BaseModel):
    """One stage's fields: immutable, and closed to unknown names."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )


class Data(Section):
    """Where the private images come from and how they are split."""

    source: str = ""
    """`digits`, a path (npz file, image folder, CSV manifest, Parquet), `hf:NAME` or a MedMNIST
    name."""
    size: int | None = Field(None, ge=8, le=224)
    """Side in pixels that images are resized to, with antialiasing; None keeps them as they are."""
    val_fraction: float = Field(0.15, gt=0.0, lt=0.5)
    """Share of the images drawn for validation where the source has no validation split."""
    test_fraction: float = Field(0.2, gt=0.0, lt=0.5)
    """Share of the images drawn for test where the source has no test split."""
    groups: str | None = None
    """CSV file with the columns `file` and `group` (the patient of each image) for a folder."""
    skip_broken: bool = False
    """Go on without the image files that cannot be decoded, and count them."""
    canaries: str | None = None
    """npz file of records appended to train: the audit's canaries, set by the shadows alone."""
    image_column: str | None = None
    """Column of a CSV manifest or a table that holds the images; None finds it."""
    label_column: str | None = None
    """Column of a CSV manifest or a table that holds the labels; None finds it."""
    patient_column: str | None = None
    """Column of a CSV manifest or a table that names the patient; None takes `patient`."""
    color: Literal["grey", "rgb"] | None = None
    """Bring all images to grey (luma) or to three channels; None keeps them, and refuses a mix."""
    range: tuple[float, float] | None = None
    """Values `low,high` that become 0 and 255 in all images, such as 0,4095 for 12 bits; None
    takes the type's own: 0..255, 0..65535, and 0..1 for fractions."""

    @field_validator("range", mode="before")
    @classmethod
    def _split_range(cls, value: Any) -> Any:
        """`0,4095` as well as `[0, 4095]`."""
        return value.split(",") if isinstance(value, str) else value

    @field_validator("range")
    @classmethod
    def _ordered_range(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value and not -math.inf < value[0] < value[1] < math.inf:
            raise ValueError("needs two numbers, the lower one first")
        return value


PASSES = 6
"""Fewest passes over the training images where the steps are not set."""


class Classifier(Section):
    """Network and optimisation of a classifier."""

    steps: int | None = Field(None, ge=1)
    """None takes `least_steps`, or six passes over the training images where that is more."""
    least_steps: ClassVar[int]
    batch_size: int = Field(128, ge=2)
    learning_rate: float = Field(5e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    shift: int = Field(2, ge=0)
    """Training images are moved by up to this many pixels, edges replicated."""
    horizontal_flip: bool = False
    vertical_flip: bool = False

    def steps_for(self, images: int) -> int:
        """Steps of a training whose set has so many images.

        Example:
            >>> Teacher().steps_for(500), Teacher().steps_for(50_000), Teacher(steps=9).steps_for(1)
            (2000, 4688, 9)
        """
        return self.steps or max(self.least_steps, math.ceil(PASSES * images / self.batch_size))


class Teacher(Classifier):
    """Stage 1: the Teacher Classifier T, trained on D_train."""

    network: str = "resnet"
    """`resnet`, or `package.module:factory`, called with (channels, classes, size); `features` in
    a private run, and there alone."""
    width: int = Field(16, ge=4)
    """Channels of the ResNet's first stage; each further stage doubles them."""
    blocks: tuple[int, ...] = (1, 1, 1)
    """Residual blocks of each stage of the ResNet; every stage but the first halves the grid."""
    least_steps = 2000
    batch_size: int = Field(64, ge=2)
    weight_decay: float = Field(0.5, ge=0)
    evaluations: int = Field(20, ge=1)
    """How often the network is looked at on validation, for its curve alone."""
    screening: bool = False
    """First let four Teachers, each of one fold of train and a quarter of the steps, vote on the
    labels of the other folds, and train without the images whose label loses."""


class Generator(Section):
    """Stage 2: the class-conditional Generator G(z, y); what every method reads."""

    method: str
    """`latent`, `biggan` or `r3gan`; each has fields of its own below."""
    width: int = Field(16, ge=4)
    """Channels at the finest grid; coarser grids double them."""
    steps: int = Field(1000, ge=1)
    batch_size: int = Field(64, ge=2)
    learning_rate: float | None = Field(None, gt=0)
    """None takes the method's own: 2e-3 for latent and r3gan, 1e-3 for biggan."""
    snapshots: int = Field(1, ge=1)
    """Averaged weights kept along training, evenly spaced over its second half."""
    averaging: float = Field(0.995, ge=0, lt=1)
    """Decay of the exponential average of the weights."""


class Latent(Generator):
    """An autoencoder, and a mixture of Gaussians per class on its latents."""

    method: Literal["latent"]
    latent_channels: tuple[Annotated[int, Field(ge=1)], ...] = Field((8,), min_length=1)
    """Channels of the latent grid; one Generator for each number, mixed as one source."""
    feature_weight: float = Field(1.0, ge=0)
    """Weight of the loss on the Teacher's features."""
    texture_weight: float = Field(2.0, ge=0)
    """Weight of the loss on each feature map's mean and standard deviation."""
    adversary_weight: float = Field(0.1, ge=0)
    """Weight of the adversary that judges patches."""
    kl_weight: float = Field(1e-2, ge=0)
    """Weight of the Kullback-Leibler term."""
    component_images: int = Field(100, ge=1)
    """A class has one Gaussian for each so many images, 32 at most."""
    component_minimum: int = Field(1, ge=1)
    """Fewest images of a Gaussian: those of fewer are merged into the nearest of their class; 1
    leaves them as k-means makes them."""
    shared_covariance: bool = False
    """All classes have the covariance that they share, instead of each its own shrunken to it."""


class Adversarial(Generator):
    """What the two adversarial methods read."""

    latent_dim: int = Field(64, ge=2)
    """Length of z."""
    discriminator_steps: int = Field(1, ge=1)
    """Discriminator updates for each generator update."""
    augmentation: bool = True
    """Differentiable augmentation (arXiv:2006.10738), for small sets."""


class BigGAN(Adversarial):
    """BigGAN, arXiv:1809.11096."""

    method: Literal["biggan"]


class R3GAN(Adversarial):
    """R3GAN, arXiv:2501.05441."""

    method: Literal["r3gan"]
    penalty: float = Field(1.0, ge=0)
    """gamma, weight of the penalties R1 and R2 on the discriminator's squared gradient."""
    penalty_every: int = Field(1, ge=1)
    """Discriminator updates from one with penalties to the next, which count that much more;
    above 1 is faster, but the paper's proof of convergence no longer holds."""


class Moments(Section):
    """Noisy class means and covariances of low frequencies: the Generator of a private run."""

    method: Literal["moments"]


METHODS: dict[str, type[Section]] = {
    "latent": Latent,
    "biggan": BigGAN,
    "r3gan": R3GAN,
    "moments": Moments,
}


def _positive_range(ends: tuple[float, float]) -> tuple[float, float]:
    if not 0 < ends[0] <= ends[1]:
        raise ValueError("takes two numbers, 0 < lowest <= highest")
    return ends


def _share_range(ends: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= ends[0] <= ends[1] <= 1:
        raise ValueError("takes two numbers, 0 <= lowest <= highest <= 1")
    return ends


PositiveRange = Annotated[tuple[float, float], AfterValidator(_positive_range)]


class Selection(Section):
    """Stage 3: Checkpoint Optimisation by validation CAS."""

    screen_steps: int = Field(60, ge=1)
    """Probe steps in the screen of all snapshots."""
    finalists: int = Field(1, ge=1)
    """Best other snapshots that meet the last one again, in longer probes with fresh seeds."""
    final_steps: int = Field(150, ge=1)


class Tuning(Section):
    """Stage 4: Generator Tuning by validation CAS."""

    trials: int = Field(1, ge=1)
    """Budget; the un-tuned default is always the first trial, and one trial needs no probe."""
    steps: int = Field(80, ge=1)
    """Probe steps of a trial."""
    finalists: int = Field(1, ge=1)
    """Best trials that meet the default again, in longer probes with fresh seeds."""
    final_steps: int = Field(150, ge=1)
    latent_std: PositiveRange = (0.8, 1.8)
    """Range searched for the latent standard deviation s of z ~ N(0, s^2 I)."""
    temperature: PositiveRange = (1.0, 4.0)
    """Range searched for the temperature of the soft labels."""
    filter_threshold: Annotated[tuple[float, float], AfterValidator(_share_range)] = (0.0, 0.8)
    """Range searched for the least Teacher confidence in the wanted class that keeps a sample."""
    label_steps: int = Field(400, ge=1)
    """Probe steps of each kind of labels, where `distillation.labels` leaves the kind open."""


class Distillation(Classifier):
    """Stage 5: Generative Knowledge Distillation of the Student S."""

    network: str | None = None
    """As in `teacher.network`; None takes the Teacher's network, width and blocks."""
    width: int | None = Field(None, ge=4)
    blocks: tuple[int, ...] | None = None
    least_steps = 1500
    labels: Literal["auto", "soft", "hard"] = "auto"
    """soft: the Teacher's softmax; hard: the class that the Generator was asked for; auto: Tuning's
    choice between them, in a private run soft."""
    regeneration_period: int = Field(4, ge=0)
    """Epochs after which the synthetic set is drawn anew; 0 keeps one fixed set. Drawing costs a
    CPU as much as learning: each image seen four times leaves time for half as many steps again."""
    size_multiple: float = Field(1.0, gt=0)
    """Size of the synthetic set as a multiple of |D_train|."""
    blended: float = Field(0.5, ge=0, le=1)
    """soft labels: share of each batch that are blends of two images, labelled by the Teacher."""
    feature_weight: float = Field(3.0, ge=0)
    """soft labels: weight of the squared distance between the Student's feature maps and the
    Teacher's; a Student of another network or width has none of their shape, and goes without."""
    tiny_classes: Literal["leave_out", "keep"] = "leave_out"
    """Whether classes of fewer images or patients than a Generator can hide among, see
    `generators.tiny`, are among the synthetic images that are shown and released."""
    matched_maps: int = Field(2, ge=1)
    """How many of the feature maps are compared, from the image on. All of them bring the Student
    nearest to the Teacher, and the Teacher's memory of its members with it."""


class Evaluation(Section):
    """Stage 6: what Teacher and Student reach on test."""

    bootstrap_draws: int = Field(2000, ge=1000)
    calibration_bins: int = Field(15, ge=2)


class Audit(Section):
    """Stage 7: what leaks."""

    bootstrap_draws: int = Field(1000, ge=1000)
    """How often membership is drawn anew for the blind control."""


class Report(Section):
    """Stage 8: the page to look at."""

    show_real: bool = False
    """Show real images beside the synthetic ones: the report is then private."""


class Privacy(Section):
    """The formal guarantee of a private run."""

    epsilon: float | None = Field(None, gt=0, le=100)
    """Of differential privacy for everything that the run makes; None: an ordinary run."""
    delta: float = Field(1e-5, gt=0, lt=0.1)
    """Probability with which epsilon may fail; under 1 / (number of patients)."""
    unit: Literal["auto", "image", "patient"] = "auto"
    """Whom it is promised to; auto: a patient where patients are known, else an image."""
    symmetry: Literal["none", "flip", "square"] = "none"
    """Changes that mean nothing in these images: none, left-right, or all eight of the square."""
    budget: float | None = Field(None, gt=0)
    """Largest epsilon, at delta, of all private runs on the same data together; None: no limit."""


class Runtime(Section):
    """How the work is done; not part of what a run is, so it may change between resumptions."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    checkpoint_seconds: float = Field(30.0, ge=0)
    """A killed run loses at most this much work."""
    threads: int | None = Field(None, ge=1)
    """CPU threads; None leaves it to torch."""


class Config(Section):
    """The whole run."""

    preset: Literal["demo", "fast", "paper", "private"] = "fast"
    seed: int = Field(0, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bfloat16 autocast where a measurement at the run's start finds it faster than float32;
    the run's precision.json says what was measured, and a resumed run keeps the decision."""
    data: Data = Data()
    teacher: Teacher = Teacher()
    generator: Latent | BigGAN | R3GAN | Moments = Field(
        Latent(method="latent"), discriminator="method"
    )
    selection: Selection = Selection()
    tuning: Tuning = Tuning()
    distillation: Distillation = Distillation()
    evaluation: Evaluation = Evaluation()
    audit: Audit = Audit()
    report: Report = Report()
    privacy: Privacy = Privacy()
    runtime: Runtime = Runtime()

    @model_validator(mode="before")
    @classmethod
    def _default_method(cls, tree: Any) -> Any:
        section = tree.get("generator") if isinstance(tree, Mapping) else None
        if isinstance(section, Mapping) and "method" not in section:
            return {**tree, "generator": {"method": "latent", **section}}
        return tree

    @model_validator(mode="after")
    def _private_throughout(self) -> Config:
        """An epsilon holds only if every stage that reads private images keeps to it."""
        private = self.privacy.epsilon is not None
        parts = self.teacher.network == "features", self.generator.method == "moments"
        if (private, private) != parts:
            raise ValueError(
                "a private run needs all of privacy.epsilon, teacher.network=features and "
                "generator.method=moments, an ordinary run none of them; the preset private with "
                "an epsilon (kr run DATA -o RUN --epsilon 3) sets them"
            )
        if private and self.teacher.screening:
            raise ValueError(
                "teacher.screening: is not for a private run, because the votes of its Teachers, "
                "which are not private, would decide which images train"
            )
        if private and self.report.show_real:
            raise ValueError("report.show_real: real images have no place in a private run")
        return self

    @classmethod
    def resolve(
        cls,
        source: str = "",
        *,
        preset: str | None = None,
        file: Path | Config | None = None,
        settings: Sequence[str] = (),
        **fields: Any,
    ) -> Config:
        """Merges defaults, preset, YAML file, settings and keyword fields, later over earlier.

        Args:
            source: what to train on, see `Data.source`; empty leaves it to the file.
            preset: `demo`, `fast`, `paper` or `private`; None takes the file's, else `fast`.
            file: YAML file of the same shape as `config.yaml` in a run directory; or a `Config`,
                of which the fields that were set count.
            settings: `stage.field=value` strings, the value in YAML.
            fields: top-level fields, such as `seed=1`; None means not given.

        The Generator's method is the last one named. What preset and file say of other methods'
        fields is left out where it is what the preset or the default says; anything else of
        another method is refused.

        Raises:
            KRError: names the field, what it takes, and the nearest known name.

        Example:
            >>> Config.resolve("digits", preset="demo", settings=["teacher.width=8"]).teacher.width
            8
        """
        if isinstance(file, Config):
            from_file = file.model_dump(mode="json", exclude_unset=True)
        else:
            from_file = _read_yaml(file) if file else {}
        name = preset or from_file.get("preset") or "fast"
        if str(name) not in PRESETS:
            raise KRError(f"preset: {name!r} is not one of {', '.join(PRESETS)}")
        given: dict[str, Any] = {"preset": name}
        if source:
            _merge(given, {"data": {"source": _absolute(source)}})
        for setting in settings:
            _merge(given, _parse_setting(setting))
        _merge(given, {key: value for key, value in fields.items() if value is not None})
        method = next(filter(None, map(_method, (given, from_file, PRESETS[name]))), "latent")
        tree: dict[str, Any] = {}
        for layer in (PRESETS[name], from_file):
            _merge(tree, _of_method(layer, method, from_file.get("preset", name)))
        _merge(tree, given)
        return cls.parse(tree)

    @classmethod
    def parse(cls, tree: Mapping[str, Any]) -> Config:
        """Validates a tree of plain values.

        Raises:
            KRError: one line for each wrong field.
        """
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            lines = [_explain(cls, item) for item in error.errors()]
            raise KRError("the configuration is not valid:\n  " + "\n  ".join(lines)) from None

    @classmethod
    def load(cls, path: Path) -> Config:
        """Reads a run's config.yaml, written now or when it held the fields of all methods.

        The run's own copy of the data is looked for beside the file.

        Raises:
            KRError: the file cannot be read, or a field of another method than the Generator's
                says neither what the default says nor what the preset says.
        """
        tree = _read_yaml(path)
        of_method = _of_method(tree, _method(tree) or "latent", tree.get("preset", "fast"))
        config = cls.parse(of_method)
        source, kept = Path(config.data.source), path.parent / "source.npz"
        moved = source.name == kept.name and not (source.is_absolute() and source.exists())
        if not (moved and kept.exists()):
            return config
        section = config.data.model_copy(update={"source": os.path.abspath(kept)})
        return config.model_copy(update={"data": section})

    def dump(self) -> str:
        """The whole configuration as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def changed(self, section: str) -> dict[str, object]:
        """The fields of a section that differ from their defaults, and the Generator's method.

        Example:
            >>> Config.resolve("digits", settings=["generator.steps=9"]).changed("generator")
            {'method': 'latent', 'steps': 9}
        """
        fields: dict[str, object] = getattr(self, section).model_dump(
            mode="json", exclude_defaults=True
        )
        return fields

    def differences(self, other: Config) -> list[str]:
        """Names the fields in which two configurations differ.

        `runtime` is left aside, and where the data lie, for their hash tells them apart. Of two
        methods of the Generator only the fields that both have are compared.

        Example:
            >>> Config(seed=1).differences(Config(seed=2))
            ['seed: 1 here, 2 there']
        """
        mine, theirs = (_flatten(c.model_dump(mode="json")) for c in (self, other))
        return [
            f"{name}: {mine[name]} here, {theirs[name]} there"
            for name in mine
            if name in theirs and mine[name] != theirs[name] and not name.startswith(NOT_IDENTITY)
        ]


def _method(tree: Mapping[str, Any]) -> Any:
    section = tree.get("generator")
    return section.get("method") if isinstance(section, Mapping) else None


def _of_method(tree: Mapping[str, Any], method: Any, preset: Any) -> Mapping[str, Any]:
    """A tree without other methods' fields that say what the default or the preset says."""
    section = tree.get("generator")
    if not isinstance(section, Mapping) or str(method) not in METHODS:
        return tree
    of_preset = PRESETS.get(str(preset), {}).get("generator", {})

    def said_before(name: str, value: Any) -> bool:
        values = [of_preset[name]] if name in of_preset else []
        values += [METHODS[m].model_fields[name].default for m in methods_with(name)]
        return name not in METHODS[method].model_fields and _plain(value) in map(_plain, values)

    return {**tree, "generator": {k: v for k, v in section.items() if not said_before(k, v)}}


def methods_with(field: str) -> list[str]:
    """The Generator's methods that have a field.

    Example:
        >>> methods_with("latent_dim")
        ['biggan', 'r3gan']
    """
    return [name for name, section in METHODS.items() if field in section.model_fields]


def _plain(value: Any) -> Any:
    """As YAML gives it back."""
    return list(value) if isinstance(value, tuple) else value


def _absolute(source: str) -> str:
    """A path that stays right in another working directory; names such as `digits` as they are."""
    if source.startswith(HUB):
        return source
    with contextlib.suppress(RuntimeError):  # no home folder is known
        source = os.path.expanduser(source)
    path = Path(source)
    # abspath, not resolve: a link keeps the name that the user knows.
    return os.path.abspath(source) if path.suffix or path.name != source else source


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _merge(tree: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = dict(value) if isinstance(value, Mapping) else value


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        if (size := path.stat().st_size) > MOST_YAML_BYTES:
            raise ValueError(f"{size} bytes, no configuration has more than {MOST_YAML_BYTES}")
        text = path.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            # A few lines of them can stand for more than memory holds.
            raise ValueError("it refers to itself with * and &, which is not taken")
        tree = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise KRError(f"{path}: cannot be read as YAML: {error}") from None
    if not isinstance(tree, dict):
        raise KRError(f"{path}: holds no configuration (expected sections such as `teacher:`)")
    return tree


def _parse_setting(setting: str) -> dict[str, Any]:
    name, equals, text = setting.partition("=")
    if not equals or not name:
        raise KRError(f"{setting}: expected stage.field=value, such as teacher.steps=500")
    try:
        value: Any = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    for key in reversed(name.split(".")):
        value = {key: value}
    return dict(value)


def _explain(model: type[BaseModel], item: Any) -> str:
    """One line for one pydantic error: the field, what it takes, the nearest known name."""
    location = [str(part) for part in item["loc"]]
    if not location:
        return str(item["ctx"]["error"])
    if item["type"] == "union_tag_invalid":
        return f"generator.method: {item['ctx']['tag']!r} is not one of {', '.join(METHODS)}"
    method = location.pop(1) if location[0] == "generator" and len(location) > 1 else None
    name = ".".join(location)
    if item["type"] == "value_error":
        return f"{name}: {item['ctx']['error']} (got {item['input']!r})"
    if item["type"] != "extra_forbidden":
        return f"{name}: {item['msg']} (got {item['input']!r})"
    if method and (others := methods_with(location[-1])):
        return f"{name}: a field of {' and '.join(others)}, not of {method}"
    known = list(METHODS[method].model_fields) if method else _fields_at(model, location[:-1])
    near = difflib.get_close_matches(location[-1], known, n=1)
    prefix = "".join(part + "." for part in location[:-1])
    hint = f"did you mean {prefix}{near[0]}?" if near else f"known here: {', '.join(known)}"
    return f"{name}: unknown field; {hint}"


def _fields_at(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    for part in path:
        annotation = model.model_fields[part].annotation
        assert isinstance(annotation, type)
        model = annotation
    return list(model.model_fields)


_GPU_CLASSIFIER: dict[str, Any] = {"batch_size": 128, "learning_rate": 1e-3}

PRESETS: dict[str, dict[str, Any]] = {
    # Minutes on two CPU cores, on images of 8 pixels.
    "demo": {
        "teacher": {"steps": 400, "batch_size": 128},
        "generator": {"steps": 600, "latent_channels": (4,), "snapshots": 3},
        "selection": {"screen_steps": 60, "final_steps": 120},
        "tuning": {"trials": 6, "steps": 60, "final_steps": 120},
        "distillation": {"steps": 800, "labels": "soft"},
    },
    # Minutes on two CPU cores, on images of 28 pixels: the defaults.
    "fast": {},
    # A GPU: the paper's family of Generators, and the ResNet-18 of the MedMNIST baselines.
    "paper": {
        "teacher": {"width": 64, "blocks": (2, 2, 2, 2), "steps": 6000, **_GPU_CLASSIFIER},
        "generator": {
            "method": "biggan",
            "width": 64,
            "steps": 30000,
            "batch_size": 128,
            "learning_rate": 4e-4,
            "snapshots": 8,
            "averaging": 0.999,
            "latent_dim": 96,
        },
        "selection": {"screen_steps": 500, "finalists": 3, "final_steps": 2000},
        "tuning": {"trials": 30, "steps": 500, "finalists": 3, "final_steps": 2000},
        "distillation": {
            "steps": 20000,
            "labels": "soft",
            "regeneration_period": 1,
            **_GPU_CLASSIFIER,
        },
    },
    # A minute on one CPU core, with a formal guarantee: needs privacy.epsilon.
    "private": {"teacher": {"network": "features"}, "generator": {"method": "moments"}},
}
"""What each preset sets over the defaults."""
