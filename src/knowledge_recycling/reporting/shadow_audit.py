"""The privacy chapter's part that is to be trusted: whole-pipeline shadows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from knowledge_recycling.auditing.figures import Copies, Estimate, Figures, Target
from knowledge_recycling.reporting import figures
from knowledge_recycling.reporting.document import (
    Block,
    Cell,
    Gallery,
    Heading,
    Notice,
    Picture,
    Table,
    Text,
    cells,
)
from knowledge_recycling.reporting.formats import NONE, count, decimal, interval, percent
from knowledge_recycling.reporting.reader import RunResults
from knowledge_recycling.results import ShadowAudit

WEAK = (
    "Not even the Teacher, which was trained on the members themselves, is told apart from chance. "
    "An attack without power on the Teacher says nothing about the Student."
)
NOT_RUN = (
    "Shadow audit: not run. Only it draws membership at random and repeats the whole pipeline, "
    "Generator and Student included; the protocol below does not stand in for it."
)
CHANNELS = {
    "teacher": "Teacher (control)",
    "student": "Student",
    "synthetic": "Synthetic images",
    "soft_labels": "Images with soft labels",
}
LABELS = {
    "soft_labels": "soft: the Teacher\u2019s softmax",
    "hard_labels": "hard: the class asked for",
    "tempered_labels": "tempered: soft at twice the temperature",
    "rounded_labels": "rounded: soft to one decimal",
}
CANARIES = (
    "The worst case: {n} records of the pool were replaced by ones made to be given away: a third "
    "under a wrong label, a third scrambled, a third entered three times with slight changes. Each "
    "was in or out by a fair coin. The last column is the lower bound of epsilon that the first "
    "pipeline\u2019s guesses allow (one-run audit); 0 means that none was found."
)
COPIES = (
    "Copy detector: {members} of the members have a synthetic image nearer than any record that "
    "did not train the pipeline; of the non-members, for whom chance alone can make one, "
    "{nonmembers}. The difference is {excess} ({low} to {high}): {words}."
)


def shadow_audit(run: RunResults) -> list[Block]:
    """Heading and blocks, or a line that says that no shadows were run."""
    heading = Heading("Whole-pipeline shadows")
    audit = run.audit
    if not audit or not audit.shadows:
        return [heading, Text(NOT_RUN)]
    about, targets = audit.shadows, audit.targets
    weak = [] if about.powered else [Notice("Attack too weak to conclude.", why_weak(about))]
    return [
        heading,
        *weak,
        Text(_how(about)),
        _primary(targets, about),
        *_roc(run, about),
        Text(about.power.text),
        *_patients(targets, about),
        *_canaries(about),
        *_labels(targets, about),
        Text(_copies(about.copies)),
        _all_attacks(targets, about),
    ]


def of_protocol(target: Target, protocol: str) -> list[str]:
    """Names of a target's attacks that are of the protocol `paper` or `shadows`."""
    return [name for name, attack in target.attacks.items() if attack.protocol == protocol]


def strongest(target: Target) -> Figures:
    """Of the paper's protocol."""
    assert target.strongest is not None
    return target.attacks[target.strongest]


def reading(auc: Estimate) -> str:
    """What an attack AUC and its interval allow to be said.

    Example:
        >>> reading(Estimate(0.52, 0.49, 0.55))
        'Not found at this power'
    """
    if auc.low > 0.5:
        return "Above chance"
    if auc.high < 0.5:
        return "Below chance: the splits differ"
    return "Not found at this power"


def why_weak(about: ShadowAudit) -> str:
    """Which of the two controls failed."""
    if not about.control.passed:
        auc = interval(about.control.auc)
        return (
            "A classifier that never saw a target tells members from non-members "
            f"(attack AUC {auc}): membership was not random, and no figure here is evidence."
        )
    return WEAK


def _how(about: ShadowAudit) -> str:
    choices = (
        "Snapshot and parameters of synthesis were taken over from the run, not chosen anew in "
        "each pipeline: a cheaper mode, which leaves out what those choices leak. "
        if about.reuse_choices
        else "Every stage up to distillation was repeated in each. "
    )
    unit = f"{count(about.patients)} patients" if about.patients else "records"
    return (
        f"{about.count} whole pipelines on complementary random halves of the "
        f"{count(about.pool)} training images (drawn by {unit}); each was the target once, its "
        f"complement left out of its shadows. {choices}This measures the pipeline at half the "
        f"data. Conclusions rest on one attack named beforehand ({_name(about.primary)}). "
        "Control: a classifier that never saw a target scores an attack AUC "
        f"{decimal(about.control.auc.value)} (99% interval "
        f"{interval(about.control.auc)})."
    )


def _primary(targets: Mapping[str, Target], about: ShadowAudit) -> Table:
    head = (
        "Primary attack on",
        "Attack AUC",
        "TPR at 1% FPR",
        "TPR at 0.1% FPR",
        "One target: TPR",
        "at its FPR",
        "Reading",
    )
    rows = []
    for channel, title in CHANNELS.items():
        attack, single = targets[channel].attacks[about.primary], targets[channel].single
        one = (rate_cell(single.tpr), rate_cell(single.fpr)) if single else cells(NONE, NONE)
        rows.append([Cell(title), *_estimates(attack), *one, _reading_cell(attack.auc)])
    caption = (
        "Small print: 95% intervals over records and pipelines. One target: the first pipeline at "
        "a threshold fixed on its shadows for 1% FPR, exact binomial intervals."
    )
    return Table(caption, head, rows, prose=True)


def _patients(targets: Mapping[str, Target], about: ShadowAudit) -> list[Block]:
    rows = []
    for channel, title in CHANNELS.items():
        if whole := targets[channel].groups:
            found = whole[about.primary]
            rows.append([Cell(title), *_estimates(found), _reading_cell(found.auc)])
    if not rows:
        return []
    head = ("Whole patients", "Attack AUC", "TPR at 1% FPR", "TPR at 0.1% FPR", "Reading")
    return [Table("A patient\u2019s score is the mean over the images.", head, rows, prose=True)]


def _canaries(about: ShadowAudit) -> list[Block]:
    heading = Heading("Canaries")
    arm = about.canaries
    if not arm:
        return [
            heading,
            Text("Canary arm: not run (--canaries M). The worst case is not measured."),
        ]
    head = (
        "Primary attack on",
        "Attack AUC, all",
        "TPR at 1% FPR",
        "wrong label",
        "scrambled",
        "entered thrice",
        "Epsilon at least",
    )
    rows = [
        [
            Cell(CHANNELS[channel]),
            *_estimates(found.attacks[about.primary])[:2],
            *(
                Cell(decimal(found.kinds[kind].value), interval(found.kinds[kind]))
                for kind in ("mislabelled", "outlier", "near_duplicate")
            ),
            Cell(
                decimal(found.one_run.epsilon, 2),
                f"{found.one_run.correct} of {found.one_run.guesses} guesses right",
            ),
        ]
        for channel, found in arm.items()
    ]
    text = CANARIES.format(n=about.canary_count)
    return [heading, Text(text), Table("Attack AUC by kind of canary.", head, rows)]


def _labels(targets: Mapping[str, Target], about: ShadowAudit) -> list[Block]:
    rows = []
    for channel, title in LABELS.items():
        found = targets[channel].attacks[about.primary]
        rows.append([Cell(title), *_estimates(found)[:2], _reading_cell(found.auc)])
    head = ("Labels", "Attack AUC", "TPR at 1% FPR", "Reading")
    caption = (
        "What the labels of the synthetic images nearest to a record give away; the images are "
        "the same in all rows."
    )
    return [Heading("The labels of the synthetic images"), Table(caption, head, rows, prose=True)]


def _copies(copies: Copies) -> str:
    excess = copies.excess
    found = excess.low > 0
    return COPIES.format(
        members=percent(copies.members.value),
        nonmembers=percent(copies.nonmembers.value),
        excess=percent(excess.value, " points"),
        low=percent(excess.low, ""),
        high=percent(excess.high, ""),
        words="the Generator repeats members" if found else "not found at this power",
    )


def _all_attacks(targets: Mapping[str, Target], about: ShadowAudit) -> Table:
    rows = []
    for channel, title in CHANNELS.items():
        for name in of_protocol(targets[channel], "shadows"):
            attack = targets[channel].attacks[name]
            label = Cell(f"{title}: {_name(name)}", "primary" if name == about.primary else "")
            rows.append([label, *_estimates(attack), _reading_cell(attack.auc)])
    head = ("Channel and attack", "Attack AUC", "TPR at 1% FPR", "TPR at 0.1% FPR", "Reading")
    caption = "All attacks. Picking the best of them after the fact is no test."
    return Table(caption, head, rows, folded=True, prose=True)


def _estimates(attack: Figures) -> list[Cell]:
    """Attack AUC, TPR at 1% and TPR at 0.1% FPR."""
    return [
        Cell(decimal(attack.auc.value), interval(attack.auc)),
        *(rate_cell(attack.tpr_at_fpr[fpr]) for fpr in ("0.01", "0.001")),
    ]


def rate_cell(rate: Estimate | None) -> Cell:
    """A rate in percent with its interval; there may have been too few trials for it."""
    if not rate:
        return Cell("too few")
    return Cell(percent(rate.value), interval(rate, as_percent=True))


def _reading_cell(auc: Estimate) -> Cell:
    found = reading(auc)
    return Cell(found, tone="bad" if found == "Above chance" else "")


def _roc(run: RunResults, about: ShadowAudit) -> list[Block]:
    curves = run.arrays("audit/curves.npz")

    def of(channel: str, *names: str) -> tuple[np.ndarray, ...]:
        return tuple(curves[f"shadows.{channel}.{name}"] for name in names)

    floor = 10.0 ** -max(1, len(str(about.pool * about.count // 2)) - 1)
    pictures = []
    for name, channels, words in (
        ("roc_shadows_models", ("teacher", "student"), "Teacher and Student"),
        ("roc_shadows_images", ("synthetic", "soft_labels"), "What the synthetic images tell"),
    ):
        lines = {CHANNELS[c]: of(c, "fpr", "tpr") for c in channels}
        bands = {CHANNELS[c]: of(c, "band_fpr", "band_low", "band_high") for c in channels}
        alt = f"ROC of the primary attack; {figures.roc_words(lines)}."
        caption = "Primary attack; shaded: 95% intervals."
        png = figures.roc(lines, floor, bands)
        pictures.append(Picture(name, png, alt, words, caption))
    return [Gallery(pictures)]


def _name(attack: str) -> str:
    return attack.replace("_", " ")
