"""The privacy chapter. Its words are bound by a rule: attacks give lower bounds, no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from knowledge_recycling.reporting import figures
from knowledge_recycling.reporting.document import (
    Block,
    Cell,
    Chapter,
    Gallery,
    Heading,
    Notice,
    Picture,
    Table,
    Text,
)
from knowledge_recycling.reporting.formats import count, decimal, interval, percent
from knowledge_recycling.reporting.results import Results

RULE = (
    "A membership inference attack guesses whether an image was trained on. Attacks give lower "
    "bounds: they can show a leak, never its absence. Where an attack's interval contains chance, "
    "this report says \u201cNot found at this power\u201d and no more."
)
SPLIT = (
    "Membership here is the official or drawn split, not random: this row is no evidence of "
    "safety. An AUC above 0.5 may come from a difference between the splits as well as from a leak."
)
READING_HELP = (
    "AUC 0.5 is chance. AOP = accuracy / (2 max(AUC, 0.5))\u00b2 weighs accuracy against the "
    "attack; read it only beside the rate at 1% false positives and the CAS gap. The strongest "
    "attack is named after the fact, and its interval is not corrected for that choice."
)
WEAK = (
    "Not even the Teacher, which was trained on the members themselves, is told apart from chance. "
    "An attack without power on the Teacher says nothing about the Student."
)


NOT_RUN = (
    "Shadow audit: not run. Only it draws membership at random and repeats the whole pipeline, "
    "Generator and Student included; nothing above stands in for it."
)


def privacy(results: Results, show_real: bool) -> Chapter:
    """The paper's own protocol, labelled as such, and the place of the shadow audit."""
    blocks = [Text(RULE), *_paper_protocol(results), *_shadows(results)]
    return Chapter("privacy", "Privacy", blocks)


def _paper_protocol(results: Results) -> list[Block]:
    audit = results.stages.get("audit")
    heading = Heading("The paper\u2019s own protocol")
    if not audit:
        return [heading, Text("Audit: not run.")]
    targets = audit["targets"]
    intro = (
        f"Attacks on the released classifier: {count(audit['members'])} training images as "
        f"members, {count(audit['nonmembers'])} test images as non-members."
    )
    blocks: list[Block] = [heading, Notice("No evidence of safety.", _warning(audit)), Text(intro)]
    if "teacher" in targets and reading(_strongest(targets["teacher"])) != "Above chance":
        blocks.append(Notice("Attack too weak to conclude.", WEAK))
    head = ("Target and attack", "AUC", "TPR at 1% FPR", "AOP", "Reading")
    rows = [
        _attack_row(target, name, targets[target])
        for target in targets
        for name in _of_protocol(targets[target], "paper")
    ]
    table = Table("Small print: 95% intervals.", head, rows, prose=True)
    return [*blocks, table, *_roc(results, audit), Text(READING_HELP)]


def _of_protocol(target: Mapping[str, Any], protocol: str) -> list[str]:
    attacks = target["attacks"]
    return [name for name in attacks if attacks[name].get("protocol", "paper") == protocol]


def _warning(audit: Mapping[str, Any]) -> str:
    own = str(audit.get("warning") or "").strip()
    return f"{SPLIT} {own}".strip()


def _strongest(target: Mapping[str, Any]) -> Mapping[str, Any]:
    auc: Mapping[str, Any] = target["attacks"][target["strongest"]]["auc"]
    return auc


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


def _attack_row(target: str, name: str, entry: Mapping[str, Any]) -> list[Cell]:
    attack = entry["attacks"][name]
    rate = (attack.get("tpr_at_fpr") or {}).get("0.01") or {}
    strongest = "strongest" if name == entry["strongest"] else ""
    found = reading(attack["auc"])
    return [
        Cell(f"{target.title()}: {name.replace('_', ' ')}", strongest),
        Cell(decimal(attack["auc"]["value"]), interval(attack["auc"])),
        Cell(percent(rate.get("value")), interval(rate, as_percent=True)),
        Cell(decimal(attack.get("aop"))),
        Cell(found, tone="" if found.startswith("Not") else "bad"),
    ]


def _roc(results: Results, audit: Mapping[str, Any]) -> list[Block]:
    curves = results.arrays("audit/curves.npz")
    # Below one non-member in all, a rate is no more than noise.
    floor = 10.0 ** -max(1, len(str(int(audit["nonmembers"]))) - 1)
    pictures = []
    for target, entry in audit["targets"].items():
        names = [n for n in _of_protocol(entry, "paper") if f"{target}.{n}.fpr" in curves]
        if names:
            key = f"{target}.{{}}.{{}}".format
            lines = {n: (curves[key(n, "fpr")], curves[key(n, "tpr")]) for n in names}
            alt = f"ROC of {len(names)} attacks on the {target.title()}, both axes logarithmic."
            png = figures.roc(lines, floor)
            pictures.append(Picture(f"roc_{_slug(target)}", png, alt, target.title()))
    return [Gallery(pictures)] if pictures else []


def _slug(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name)


def _shadows(results: Results) -> list[Block]:
    """The whole-pipeline audit, where shadows were run."""
    heading = Heading("Whole-pipeline shadows")
    audit = results.stages.get("audit") or {}
    about = audit.get("shadows")
    if not about:
        return [heading, Text(NOT_RUN)]
    blocks: list[Block] = [heading]
    if not about["powered"]:
        blocks.append(Notice("Attack too weak to conclude.", _why_weak(audit)))
    head = ("Channel and attack", "AUC", "TPR at 1% FPR", "TPR at 0.1% FPR", "Reading")
    rows = [
        _shadow_row(channel, name, target["attacks"][name], about["primary"])
        for channel, target in audit["targets"].items()
        for name in _of_protocol(target, "shadows")
    ]
    table = Table("95% intervals over records and pipelines.", head, rows, prose=True)
    return [
        *blocks,
        Text(_how(about)),
        table,
        *_shadow_roc(results, about),
        Text(about["power"]["text"]),
    ]


def _why_weak(audit: Mapping[str, Any]) -> str:
    about = audit["shadows"]
    if not about["control"]["passed"]:
        auc = interval(about["control"]["auc"])
        return (
            "A classifier that never saw a target tells members from non-members "
            f"(AUC {auc}): membership was not random, and no figure here is evidence."
        )
    return WEAK


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
        "data. Conclusions rest on the attack named primary beforehand. Control: a classifier "
        f"that never saw a target scores AUC {decimal(about['control']['auc']['value'])} "
        f"({interval(about['control']['auc'])})."
    )


def _shadow_row(channel: str, name: str, attack: Mapping[str, Any], primary: str) -> list[Cell]:
    found = reading(attack["auc"])
    rates = attack["tpr_at_fpr"]
    cells = [
        Cell(percent(rate["value"]), interval(rate, as_percent=True)) if rate else Cell("too few")
        for rate in (rates["0.01"], rates["0.001"])
    ]
    return [
        Cell(f"{_title(channel)}: {name.replace('_', ' ')}", "primary" if name == primary else ""),
        Cell(decimal(attack["auc"]["value"]), interval(attack["auc"])),
        *cells,
        Cell(found, tone="bad" if found == "Above chance" else ""),
    ]


def _shadow_roc(results: Results, about: Mapping[str, Any]) -> list[Block]:
    curves = results.arrays("audit/curves.npz")
    channels = [key.split(".")[1] for key in curves if key.startswith("shadows.")]
    lines = {
        _title(channel): (curves[f"shadows.{channel}.fpr"], curves[f"shadows.{channel}.tpr"])
        for channel in dict.fromkeys(channels)
    }
    floor = 10.0 ** -max(1, len(str(about["pool"] * about["count"] // 2)) - 1)
    alt = f"ROC of the primary attack on {len(lines)} channels, both axes logarithmic."
    picture = Picture("roc_shadows", figures.roc(lines, floor), alt, "Primary attack by channel")
    return [Gallery([picture])] if lines else []


def _title(channel: str) -> str:
    return channel.replace("_", " ").capitalize()
