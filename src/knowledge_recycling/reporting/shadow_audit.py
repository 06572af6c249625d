"""The privacy chapter's part that is to be trusted: whole-pipeline shadows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
)
from knowledge_recycling.reporting.formats import count, decimal, interval, percent
from knowledge_recycling.reporting.results import Results

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


def shadow_audit(results: Results) -> list[Block]:
    """Heading and blocks, or a line that says that no shadows were run."""
    heading = Heading("Whole-pipeline shadows")
    audit = results.stages.get("audit") or {}
    about = audit.get("shadows")
    if not about:
        return [heading, Text(NOT_RUN)]
    weak = [] if about["powered"] else [Notice("Attack too weak to conclude.", why_weak(about))]
    return [
        heading,
        *weak,
        Text(_how(about)),
        _primary(audit),
        *_roc(results, about),
        Text(about["power"]["text"]),
        *_patients(audit),
        *_canaries(about),
        *_labels(audit),
        Text(_copies(about["copies"])),
        _all_attacks(audit),
    ]


def of_protocol(target: Mapping[str, Any], protocol: str) -> list[str]:
    """Names of a target's attacks that are of the protocol `paper` or `shadows`."""
    attacks = target["attacks"]
    return [name for name in attacks if attacks[name].get("protocol", "paper") == protocol]


def reading(auc: Mapping[str, Any]) -> str:
    """What an attack's AUC and its interval allow to be said.

    Example:
        >>> reading({"value": 0.52, "low": 0.49, "high": 0.55})
        'Not found at this power'
    """
    if auc["low"] > 0.5:
        return "Above chance"
    if auc["high"] < 0.5:
        return "Below chance: the splits differ"
    return "Not found at this power"


def why_weak(about: Mapping[str, Any]) -> str:
    """Which of the two controls failed."""
    if not about["control"]["passed"]:
        auc = interval(about["control"]["auc"])
        return (
            "A classifier that never saw a target tells members from non-members "
            f"(AUC {auc}): membership was not random, and no figure here is evidence."
        )
    return WEAK


def first_words(audit: Mapping[str, Any]) -> str:
    """The shadow audit in one sentence, for the first screen."""
    about = audit.get("shadows")
    if not about:
        return "Shadow audit: not run."
    if not about["powered"]:
        return why_weak(about)
    teacher, student = (_primary_auc(audit, who) for who in ("teacher", "student"))
    found = reading(student)
    words = found[0].lower() + found[1:]
    return (
        f"Membership attack on the Student: AUC {_with_interval(student)}, {words}; on the "
        f"Teacher {_with_interval(teacher)}, 0.5 being chance."
    )


def leak_notice(audit: Mapping[str, Any]) -> Notice | None:
    """The box of the first screen that says what the shadow audit found in what is released."""
    about = audit.get("shadows")
    if not about or not about["powered"]:
        return None
    leaks = [
        f"{CHANNELS[channel]}: AUC {_with_interval(auc)}"
        for channel in ("student", "synthetic", "soft_labels")
        if (auc := _primary_auc(audit, channel))["low"] > 0.5
    ]
    if about["canaries"]:
        auc = about["canaries"]["student"]["attacks"][about["primary"]]["auc"]
        if auc["low"] > 0.5:
            leaks.append(f"Student, planted worst cases: AUC {_with_interval(auc)}")
    if not leaks:
        return None
    text = "; ".join(leaks) + ". 0.5 is chance, 1 gives every member away. See Privacy."
    return Notice("Membership in the training data leaks.", text)


def _primary_auc(audit: Mapping[str, Any], channel: str) -> Mapping[str, Any]:
    auc: Mapping[str, Any] = audit["targets"][channel]["attacks"][audit["shadows"]["primary"]][
        "auc"
    ]
    return auc


def _with_interval(estimate: Mapping[str, Any]) -> str:
    return f"{decimal(estimate['value'])} ({interval(estimate)})"


def _how(about: Mapping[str, Any]) -> str:
    choices = (
        "Snapshot and parameters of synthesis were taken over from the run, not chosen anew in "
        "each pipeline: a cheaper mode, which leaves out what those choices leak. "
        if about["reuse_choices"]
        else "Every stage up to distillation was repeated in each. "
    )
    unit = f"{count(about['patients'])} patients" if about["patients"] else "records"
    return (
        f"{about['count']} whole pipelines on complementary random halves of the "
        f"{count(about['pool'])} training images (drawn by {unit}); each was the target once, its "
        f"complement left out of its shadows. {choices}This measures the pipeline at half the "
        f"data. Conclusions rest on one attack named beforehand ({_name(about['primary'])}). "
        "Control: a classifier that never saw a target scores AUC "
        f"{decimal(about['control']['auc']['value'])} (99% interval "
        f"{interval(about['control']['auc'])})."
    )


def _primary(audit: Mapping[str, Any]) -> Table:
    primary = audit["shadows"]["primary"]
    head = (
        "Primary attack on",
        "AUC",
        "TPR at 1% FPR",
        "TPR at 0.1% FPR",
        "One target: TPR",
        "at its FPR",
        "Reading",
    )
    rows = []
    for channel, title in CHANNELS.items():
        target = audit["targets"][channel]
        single = target["single"]
        rows.append(
            [
                Cell(title),
                *_estimates(target["attacks"][primary]),
                _rate(single["tpr"]),
                _rate(single["fpr"]),
                _reading_cell(target["attacks"][primary]["auc"]),
            ]
        )
    caption = (
        "Small print: 95% intervals over records and pipelines. One target: the first pipeline at "
        "a threshold fixed on its shadows for 1% FPR, exact binomial intervals."
    )
    return Table(caption, head, rows, prose=True)


def _patients(audit: Mapping[str, Any]) -> list[Block]:
    about = audit["shadows"]
    if not about["patients"]:
        return []
    rows = []
    for channel, title in CHANNELS.items():
        figures_ = audit["targets"][channel]["groups"][about["primary"]]
        rows.append([Cell(title), *_estimates(figures_), _reading_cell(figures_["auc"])])
    head = ("Whole patients", "AUC", "TPR at 1% FPR", "TPR at 0.1% FPR", "Reading")
    return [Table("A patient\u2019s score is the mean over the images.", head, rows, prose=True)]


def _canaries(about: Mapping[str, Any]) -> list[Block]:
    heading = Heading("Canaries")
    arm = about["canaries"]
    if not arm:
        return [
            heading,
            Text("Canary arm: not run (--canaries M). The worst case is not measured."),
        ]
    head = (
        "Primary attack on",
        "AUC, all",
        "TPR at 1% FPR",
        "wrong label",
        "scrambled",
        "entered thrice",
        "Epsilon at least",
    )
    rows = [
        [
            Cell(CHANNELS[channel]),
            *_estimates(found["attacks"][about["primary"]])[:2],
            *(
                Cell(decimal(found["kinds"][kind]["value"]), interval(found["kinds"][kind]))
                for kind in ("mislabelled", "outlier", "near_duplicate")
            ),
            Cell(
                decimal(found["one_run"]["epsilon"], 2),
                f"{found['one_run']['correct']} of {found['one_run']['guesses']} guesses right",
            ),
        ]
        for channel, found in arm.items()
    ]
    text = CANARIES.format(n=about["canary_count"])
    return [heading, Text(text), Table("AUC by kind of canary.", head, rows)]


def _labels(audit: Mapping[str, Any]) -> list[Block]:
    primary = audit["shadows"]["primary"]
    rows = []
    for channel, title in LABELS.items():
        found = audit["targets"][channel]["attacks"][primary]
        rows.append([Cell(title), *_estimates(found)[:2], _reading_cell(found["auc"])])
    head = ("Labels", "AUC", "TPR at 1% FPR", "Reading")
    caption = (
        "What the labels of the synthetic images nearest to a record give away; the images are "
        "the same in all rows."
    )
    return [Heading("The labels of the synthetic images"), Table(caption, head, rows, prose=True)]


def _copies(copies: Mapping[str, Any]) -> str:
    excess = copies["excess"]
    found = excess["low"] > 0
    return COPIES.format(
        members=percent(copies["members"]["value"]),
        nonmembers=percent(copies["nonmembers"]["value"]),
        excess=percent(excess["value"], " points"),
        low=percent(excess["low"], ""),
        high=percent(excess["high"], ""),
        words="the Generator repeats members" if found else "not found at this power",
    )


def _all_attacks(audit: Mapping[str, Any]) -> Table:
    primary = audit["shadows"]["primary"]
    rows = []
    for channel, title in CHANNELS.items():
        target = audit["targets"][channel]
        for name in of_protocol(target, "shadows"):
            attack = target["attacks"][name]
            label = Cell(f"{title}: {_name(name)}", "primary" if name == primary else "")
            rows.append([label, *_estimates(attack), _reading_cell(attack["auc"])])
    head = ("Channel and attack", "AUC", "TPR at 1% FPR", "TPR at 0.1% FPR", "Reading")
    caption = "All attacks. Picking the best of them after the fact is no test."
    return Table(caption, head, rows, folded=True, prose=True)


def _estimates(attack: Mapping[str, Any]) -> list[Cell]:
    """AUC, TPR at 1% and TPR at 0.1% FPR."""
    rates = attack["tpr_at_fpr"]
    return [
        Cell(decimal(attack["auc"]["value"]), interval(attack["auc"])),
        *(_rate(rates[fpr]) for fpr in ("0.01", "0.001")),
    ]


def _rate(rate: Mapping[str, Any] | None) -> Cell:
    if not rate:
        return Cell("too few")
    return Cell(percent(rate["value"]), interval(rate, as_percent=True))


def _reading_cell(auc: Mapping[str, Any]) -> Cell:
    found = reading(auc)
    return Cell(found, tone="bad" if found == "Above chance" else "")


def _roc(results: Results, about: Mapping[str, Any]) -> list[Block]:
    curves = results.arrays("audit/curves.npz")

    def of(channel: str, *names: str) -> tuple[Any, ...]:
        return tuple(curves[f"shadows.{channel}.{name}"] for name in names)

    floor = 10.0 ** -max(1, len(str(about["pool"] * about["count"] // 2)) - 1)
    pictures = []
    for name, channels, words in (
        ("roc_shadows_models", ("teacher", "student"), "Teacher and Student"),
        ("roc_shadows_images", ("synthetic", "soft_labels"), "What the synthetic images tell"),
    ):
        lines = {CHANNELS[c]: of(c, "fpr", "tpr") for c in channels}
        bands = {CHANNELS[c]: of(c, "band_fpr", "band_low", "band_high") for c in channels}
        alt = f"ROC of the primary attack, both axes logarithmic: {', '.join(lines)}."
        caption = "Primary attack; shaded: 95% intervals."
        png = figures.roc(lines, floor, bands)
        pictures.append(Picture(name, png, alt, words, caption))
    return [Gallery(pictures)]


def _name(attack: str) -> str:
    return attack.replace("_", " ")
