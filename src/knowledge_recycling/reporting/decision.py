"""The chapters for the person who signs: one patient, what goes out, what next, what is open."""

from __future__ import annotations

import math
from collections.abc import Callable

from knowledge_recycling.auditing.answer import RULE, answer
from knowledge_recycling.auditing.figures import Estimate
from knowledge_recycling.bundle.form import NOT_STATED
from knowledge_recycling.reporting.document import (
    Block,
    Cell,
    Chapter,
    Items,
    Step,
    Steps,
    Table,
    Text,
    cells,
)
from knowledge_recycling.reporting.judgement import Judgement, gate_of
from knowledge_recycling.reporting.reader import RunResults
from knowledge_recycling.results import ShadowAudit

NEVER = "NEVER"
THINGS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("Student", ("student",), ""),
    (
        "Synthetic images, sorted by class",
        ("synthetic", "hard_labels"),
        "--synthetic N --labels hard",
    ),
    (
        "Synthetic images with rounded labels",
        ("synthetic", "rounded_labels"),
        "--synthetic N --labels rounded:1",
    ),
    (
        "Synthetic images with soft labels",
        ("synthetic", "soft_labels"),
        "--synthetic N --labels soft",
    ),
)
"""What could be handed out, the audit's channels of it, and what `kr release` is told."""
AUDIT = "kr shadows RUN -n 16 --canaries 60"
MORE = "kr run DATA -o RUN --fork NEW --shadows 32 --canaries 120"
PRIVATE = "kr run DATA -o NEW --epsilon 3"
HARD = "kr run DATA -o RUN --fork NEW --set distillation.labels=hard --shadows 16 --canaries 60"
GATE = "kr gate RUN --limits limits.yaml"
RELEASE = "kr release RUN -o BUNDLE --form release.yaml"


def patient(run: RunResults, judgement: Judgement) -> Chapter:
    """What the figures mean for somebody whose image was, or was not, trained on."""
    return Chapter("patient", "What this means for one patient", _patient(run, judgement))


def _patient(run: RunResults, judgement: Judgement) -> list[Block]:
    own = run.teacher.guarantee if run.teacher else None
    about = run.audit.shadows if run.audit else None
    blocks: list[Block] = []
    if own and judgement.kind == "formal":
        blocks.append(Text(_promised(own.epsilon, own.unit)))
    if about and about.powered:
        blocks += _suspected(run, about)
    elif not blocks:
        text = (
            "It is not known. Somebody who holds a patient\u2019s image and the Student may be "
            "able to find out whether that patient was among the training images, and with it "
            "what being among them tells, such as a diagnosis. Nobody has measured how well."
        )
        blocks.append(Text(text))
    unit = (
        "Patients are known here, so that whole patients were kept together."
        if run.split and run.split.has_groups
        else "It is not known which images are of one patient. A patient of several images gives "
        "more away than a single image."
    )
    return [*blocks, Text(unit)]


def _promised(epsilon: float, unit: str) -> str:
    most = 100 / (1 + math.exp(-epsilon))
    return (
        f"Whoever believes with 50 in 100 that one {unit} was trained on may believe it "
        f"afterwards with at most {most:.0f} in 100, and with no less than {100 - most:.0f}, but "
        "for failures of probability delta, whatever they do with all that was made. That is the "
        "worst case, also for the most unusual one."
    )


def _suspected(run: RunResults, about: ShadowAudit) -> list[Block]:
    assert run.audit is not None
    student = run.audit.targets["student"]
    found = (student.groups or student.attacks)[about.primary]
    rate = found.tpr_at_fpr.get("0.01")
    who = "patients" if student.groups else "images"
    blocks: list[Block] = [Text(_accused(rate, who))] if rate else []
    text = (
        "For a patient who is unlike all others, read the figures of the planted images above: "
        "they are the worst case that was measured, and the mean hides it. To be found among the "
        "training images tells no more than that, and what being there tells, such as a diagnosis."
    )
    return [*blocks, Text(text)]


def _accused(rate: Estimate, who: str) -> str:
    """Bayes in whole numbers: 1,000 suspected, 100 of whom were trained on."""
    right, most = round(100 * rate.value), round(100 * rate.high)
    return (
        f"Somebody suspects 1,000 {who}, 100 of which were trained on. The attack, set so as to "
        f"accuse wrongly 1 in 100 outsiders, accuses 9 of the 900 outsiders wrongly and {right} of "
        f"the 100 insiders rightly (at most {most}, by its interval); the other {100 - right} "
        "insiders stay unknown to it. Guessing would accuse 1 of the 100."
    )


def handing_out(run: RunResults, judgement: Judgement) -> Chapter:
    """A verdict for each thing that could be handed out."""
    rows = [
        [Cell(name), *_verdict(run, judgement, channels, flags)] for name, channels, flags in THINGS
    ]
    own = run.teacher.guarantee if run.teacher else None
    teacher = (
        "It carries the guarantee, but no bundle holds it."
        if own
        else "It was trained on the private images and knows them by heart."
    )
    rows.append([Cell("Teacher"), Cell(NEVER, tone="bad"), Cell(teacher)])
    folder = "Networks, positions of images, scores of single records, paths."
    rows.append([Cell("Run folder"), Cell(NEVER, tone="bad"), Cell(folder)])
    caption = "Each is judged by the rule below, as kr gate would judge it alone."
    table = Table(caption, ("What", "Verdict", "How, or why not"), rows, words=True)
    rule = [cells(words, when) for words, when in RULE]
    words = "The rule: which answer is given when, X being who set the limits."
    printed = Table(words, ("Answer", "When"), rule, words=True)
    return Chapter("handing-out", "What could be handed out", [table, printed])


def _verdict(
    run: RunResults, judgement: Judgement, channels: tuple[str, ...], flags: str
) -> list[Cell]:
    gate = gate_of(run, channels)
    words = answer(gate, judgement.set_by)
    if gate.exit_code:
        return [Cell(words, tone="bad"), Cell("The gate is shut.")]
    return [Cell(words), Cell(f"kr release RUN -o BUNDLE {flags}".strip())]


def next_steps(run: RunResults, judgement: Judgement) -> Chapter:
    """What to do, most telling first, each with its command."""
    steps = list(STEPS[judgement.kind])
    if run.split and not run.split.has_groups and judgement.kind != "formal":
        steps.append(_PATIENTS_STEP)
    words = "RUN is this run\u2019s folder, DATA what it was made from, NEW another folder."
    return Chapter("next", "What to do next", [Text(words), Steps(steps)])


_AUDIT_STEP = Step(
    "Audit it: whole pipelines on random halves, with planted unusual images.", AUDIT
)
_MORE_STEP = Step("Run more shadows, which narrow the intervals.", MORE)
_DP_STEP = Step(
    "Train with differential privacy, the only promise about every attack and every patient.",
    PRIVATE,
)
_HARD_STEP = Step(
    "Train the Student on hard labels: they tell less than the Teacher\u2019s probabilities, and "
    "cost some accuracy.",
    HARD,
)
_DROP_STEP = Step(
    "Look at the images that are given away most (audit/exposed_records_private.json, which is "
    "private), correct or remove those whose label is doubtful, and run again.",
    "kr run CLEANED_DATA -o NEW --shadows 16 --canaries 60",
)
_GATE_STEP = Step("Set limits, write down who set them and why, and ask the gate again.", GATE)
_PATIENTS_STEP = Step(
    "Say which images are of one patient, so that whole patients are in or out together.",
    "kr run DATA -o NEW --set data.groups=patients.csv",
)
_RELEASE_STEPS = (
    Step("State owner, contact, purpose and who set the limits.", "kr release --init"),
    Step("Write the bundle, and check it as whoever receives it will.", RELEASE),
    Step("", "kr verify BUNDLE"),
)
STEPS: dict[str, tuple[Step, ...]] = {
    "not audited": (_AUDIT_STEP, _GATE_STEP, _DP_STEP),
    "too weak": (_MORE_STEP, _GATE_STEP, _DP_STEP),
    "outside": (_DP_STEP, _HARD_STEP, _DROP_STEP, _MORE_STEP),
    "within": (_GATE_STEP, _DP_STEP, _HARD_STEP, _DROP_STEP, *_RELEASE_STEPS),
    "not found": (_MORE_STEP, *_RELEASE_STEPS),
    "formal": (
        Step("Add up what was spent on these data so far.", "kr budget DATA"),
        Step("Check the promise by attacking it.", AUDIT),
        *_RELEASE_STEPS,
    ),
}
"""Answer -> what to do."""


def cannot_say(run: RunResults, judgement: Judgement) -> Chapter:
    """What no figure on the page shows."""
    about = run.audit.shadows if run.audit else None
    texts = [
        "That nothing leaks: attacks find lower bounds, and a stronger one may find more.",
        "Whether somebody can be recognised in a synthetic image by eye, or be found out by what "
        "is known from elsewhere.",
        "What other runs, seeds or settings on the same images give away together with this one.",
        "How the Student does on images of other hospitals, devices or times, or of none of its "
        "classes.",
    ]
    if about:
        texts.insert(
            1,
            "What the pipeline leaks with all its images: it was measured on halves of them, so "
            "with half the data.",
        )
    else:
        texts.insert(1, "Anything about single patients: no shadows were run.")
    if about and about.reuse_choices:
        texts.append(
            "What the choice of snapshot and of parameters of synthesis leaks: the shadows took "
            "it over."
        )
    if not about or not about.canaries:
        texts.append("The worst case: no unusual images were planted.")
    return Chapter("open", "What the audit cannot say", [Items(texts)])


def sign_off(run: RunResults, judgement: Judgement) -> Chapter:
    """Who decides what, on which files."""
    form = judgement.form
    code = judgement.gate.exit_code
    gate = f"The gate is shut (exit status {code})." if code else "The gate is open."
    rows = [
        cells("Answer", judgement.answer),
        cells("kr gate", gate),
        cells("Limits set by", judgement.set_by),
        cells("Legal basis", form.legal_basis),
        *(cells(f"SHA-256 of {name}", value) for name, value in hashes(run).items()),
        cells("Signed by, on", "" if form.signed_by == NOT_STATED else form.signed_by),
        cells("Decision and reason", judgement.override or ""),
    ]
    caption = "What was judged. An empty line is for a pen."
    table = Table(caption, ("Item", "What"), rows, words=True)
    return Chapter("sign-off", "Sign-off", [table])


JUDGED = {
    "the Student": "distillation/network.safetensors",
    "its evaluation": "evaluation/result.json",
    "its audit": "audit/result.json",
}
"""What is judged -> its file in the run directory."""


def hashes(run: RunResults) -> dict[str, str]:
    """SHA-256 of each file that was judged and is there."""
    found = {name: run.sha256(path) for name, path in JUDGED.items()}
    if run.split:
        found["the data"] = run.split.data_sha256
    return {name: value for name, value in found.items() if value}


DECISION: tuple[Callable[[RunResults, Judgement], Chapter], ...] = (
    patient,
    handing_out,
    next_steps,
    cannot_say,
    sign_off,
)
"""The chapters before the second page, in order."""
