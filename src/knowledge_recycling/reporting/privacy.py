"""The privacy chapter. Its words are bound by a rule: attacks give lower bounds, no more."""

from __future__ import annotations

from knowledge_recycling.auditing.figures import Target
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
from knowledge_recycling.reporting.formats import count, decimal, interval
from knowledge_recycling.reporting.reader import RunResults
from knowledge_recycling.reporting.shadow_audit import (
    WEAK,
    of_protocol,
    rate_cell,
    reading,
    shadow_audit,
    strongest,
)
from knowledge_recycling.results import AuditResult

RULE = (
    "A membership inference attack guesses whether an image was trained on. Attacks give lower "
    "bounds: they can show a leak, never its absence. Where an attack's interval contains chance, "
    "this report says \u201cNot found at this power\u201d and no more."
)
SPLIT = (
    "Membership here is the official or drawn split, not random: this row is no evidence of "
    "safety. An attack AUC above 0.5 may come from a difference between the splits as well as "
    "from a leak."
)
NOT_LOOKED = (
    "Copies of training images are not looked for among the synthetic images of a private run: "
    "the comparison reads the private images, and what it says would end the guarantee."
)
READING_HELP = (
    "An attack AUC of 0.5 is chance. AOP = accuracy / (2 max(attack AUC, 0.5))\u00b2 weighs "
    "accuracy against the attack; read it only beside the rate at 1% false positives and the CAS "
    "gap. The strongest attack is named after the fact, and its interval is not corrected for that "
    "choice."
)


def privacy(run: RunResults, show_real: bool) -> Chapter:
    """The shadow audit, and the paper's own protocol, labelled as such."""
    blocks = [Text(RULE), *_copies(run), *shadow_audit(run), *_paper_protocol(run)]
    return Chapter("privacy", "Privacy", blocks)


def _copies(run: RunResults) -> list[Block]:
    """What the copy detector found, or why a private run does not look."""
    if run.teacher and run.teacher.guarantee:
        return [Text(NOT_LOOKED)]
    found = run.audit.copies if run.audit else None
    if not found:
        return []
    return [Notice("Copies.", found.sentence()) if found.too_many else Text(found.sentence())]


def _paper_protocol(run: RunResults) -> list[Block]:
    audit = run.audit
    heading = Heading("The paper\u2019s own protocol")
    if not audit:
        return [heading, Text("Audit: not run.")]
    targets = audit.targets
    intro = (
        f"Attacks on the released classifier: {count(audit.members)} training images as "
        f"members, {count(audit.nonmembers)} test images as non-members."
    )
    blocks: list[Block] = [
        heading,
        Notice("No evidence of safety.", f"{SPLIT} {audit.warning}".strip()),
        Text(intro),
    ]
    if "teacher" in targets and reading(strongest(targets["teacher"]).auc) != "Above chance":
        blocks.append(Notice("Attack too weak to conclude.", WEAK))
    head = ("Target and attack", "Attack AUC", "TPR at 1% FPR", "AOP", "Reading")
    rows = [
        _attack_row(channel, name, target)
        for channel, target in targets.items()
        for name in of_protocol(target, "paper")
    ]
    table = Table("Small print: 95% intervals.", head, rows, prose=True)
    return [*blocks, table, *_roc(run, audit), Text(READING_HELP)]


def _attack_row(channel: str, name: str, target: Target) -> list[Cell]:
    attack = target.attacks[name]
    note = "strongest" if name == target.strongest else ""
    found = reading(attack.auc)
    return [
        Cell(f"{channel.title()}: {name.replace('_', ' ')}", note),
        Cell(decimal(attack.auc.value), interval(attack.auc)),
        rate_cell(attack.tpr_at_fpr["0.01"]),
        Cell(decimal(attack.aop)),
        Cell(found, tone="" if found.startswith("Not") else "bad"),
    ]


def _roc(run: RunResults, audit: AuditResult) -> list[Block]:
    curves = run.arrays("audit/curves.npz")
    # Below one non-member in all, a rate is no more than noise.
    floor = 10.0 ** -max(1, len(str(audit.nonmembers)) - 1)
    pictures = []
    for target, found in audit.targets.items():
        names = [n for n in of_protocol(found, "paper") if f"{target}.{n}.fpr" in curves]
        if names:
            key = f"{target}.{{}}.{{}}".format
            lines = {n: (curves[key(n, "fpr")], curves[key(n, "tpr")]) for n in names}
            words = figures.roc_words({n.replace("_", " "): line for n, line in lines.items()})
            alt = f"ROC of {len(names)} attacks on the {target.title()}; {words}."
            png = figures.roc(lines, floor)
            pictures.append(Picture(f"roc_{target}", png, alt, target.title()))
    return [Gallery(pictures)] if pictures else []
