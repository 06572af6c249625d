"""Model card and data card: Markdown with the front matter of the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterator

from jinja2 import Environment, PackageLoader, StrictUndefined

from knowledge_recycling.auditing.figures import Estimate
from knowledge_recycling.bundle.facts import Facts
from knowledge_recycling.bundle.form import NOT_STATED
from knowledge_recycling.reporting.templates import escape_markdown
from knowledge_recycling.statistics.binomial import clopper_pearson

HUB_LICENCES = """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsl-1.0 cc-by-2.0
    cc-by-3.0 cc-by-4.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-4.0 cc-by-nc-sa-4.0 cc-by-nd-4.0
    cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 ecl-2.0 etalab-2.0 eupl-1.1 gpl-2.0 gpl-3.0 isc lgpl-2.1
    lgpl-3.0 mit mpl-2.0 ms-pl odbl osl-3.0 unlicense zlib
"""
"""Licences that the Hugging Face hub knows by name; most are SPDX identifiers in small letters."""


def model_card(facts: Facts, opset: int) -> str:
    """README.md of the bundle."""
    template = _environment().get_template("model_card.md.j2")
    return template.render(
        facts=facts,
        licence=licence(facts.form.licence),
        name=name(facts),
        classes=list(_classes(facts)),
        opset=opset,
        pct=_pct,
        est=_est,
    )


def data_card(facts: Facts) -> str:
    """README.md of the synthetic set."""
    return (
        _environment()
        .get_template("data_card.md.j2")
        .render(facts=facts, licence=licence(facts.form.licence, "../LICENSE"), name=name(facts))
    )


def licence(stated: str, text: str = "LICENSE") -> str:
    """Lines of the front matter that name a licence as the hub does.

    Args:
        stated: in `release.yaml`.
        text: path from the card to the licence's text.

    Example:
        >>> licence("CC-BY-4.0")
        'license: cc-by-4.0'
        >>> print(licence("A Hospital's terms"))
        license: other
        license_name: a-hospital-s-terms
        license_link: LICENSE
        >>> licence("not stated")
        'license: unknown'
    """
    if stated == NOT_STATED:
        return "license: unknown"
    known = stated.lower()
    if known in HUB_LICENCES.split():
        return f"license: {known}"
    named = re.sub(r"[^a-z0-9.]+", "-", known).strip("-.") or "own"
    return f"license: other\nlicense_name: {named}\nlicense_link: {text}"


def name(facts: Facts) -> str:
    """What the form calls the release, or the data's name."""
    return facts.name if facts.form.name == NOT_STATED else facts.form.name


def _classes(facts: Facts) -> Iterator[dict[str, object]]:
    for index, label in enumerate(facts.class_names):
        row = facts.student.confusion[index]
        n, right = sum(row), row[index]
        exact = clopper_pearson(right, n) if n else Estimate(0.0, 0.0, 1.0)
        teacher = facts.teacher.recall[index]
        yield {
            "name": label,
            "n": n,
            "student": f"{100 * right / n:.1f}%" if n else "no image",
            "interval": f"{100 * exact.low:.1f}% to {100 * exact.high:.1f}%" if n else "",
            "teacher": "" if teacher is None else f"{100 * teacher:.1f}%",
        }


def _pct(found: Estimate) -> str:
    return f"{100 * found.value:.1f}% ({100 * found.low:.1f} to {100 * found.high:.1f})"


def _est(found: Estimate | None) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})" if found else "not measured"


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("knowledge_recycling", "bundle"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["md"] = escape_markdown
    made.filters["sentence"] = lambda text: f"{str(text).rstrip('.')}."
    return made
