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
from knowledge_recycling.reporting.shadow_audit import WEAK, of_protocol, reading, shadow_audit

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


def privacy(results: Results, show_real: bool) -> Chapter:
    """The shadow audit, and the paper's own protocol, labelled as such."""
    blocks = [Text(RULE), *shadow_audit(results), *_paper_protocol(results)]
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
        for name in of_protocol(targets[target], "paper")
    ]
    table = Table("Small print: 95% intervals.", head, rows, prose=True)
    return [*blocks, table, *_roc(results, audit), Text(READING_HELP)]


def _warning(audit: Mapping[str, Any]) -> str:
    own = str(audit.get("warning") or "").strip()
    return f"{SPLIT} {own}".strip()


def _strongest(target: Mapping[str, Any]) -> Mapping[str, Any]:
    auc: Mapping[str, Any] = target["attacks"][target["strongest"]]["auc"]
    return auc


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
        names = [n for n in of_protocol(entry, "paper") if f"{target}.{n}.fpr" in curves]
        if names:
            key = f"{target}.{{}}.{{}}".format
            lines = {n: (curves[key(n, "fpr")], curves[key(n, "tpr")]) for n in names}
            alt = f"ROC of {len(names)} attacks on the {target.title()}, both axes logarithmic."
            png = figures.roc(lines, floor)
            pictures.append(Picture(f"roc_{_slug(target)}", png, alt, target.title()))
    return [Gallery(pictures)] if pictures else []


def _slug(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
