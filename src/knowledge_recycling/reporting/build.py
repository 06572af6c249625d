"""Puts the report together: results -> chapters -> one HTML page, one Markdown page, figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

from knowledge_recycling.reporting import templates
from knowledge_recycling.reporting.chapters import CHAPTERS, images
from knowledge_recycling.reporting.decision import DECISION
from knowledge_recycling.reporting.front import front
from knowledge_recycling.reporting.judgement import Judgement, judge
from knowledge_recycling.reporting.reader import RunResults
from knowledge_recycling.reporting.record import record

BLANK_LINES = re.compile(r"\n{3,}")


def build(
    run: Path,
    show_real: bool = False,
    show_synthetic: bool = True,
    judgement: Judgement | None = None,
) -> dict[str, bytes]:
    """Renders the report of a run from its result files; writes nothing.

    Args:
        run: a run directory; stages that are not done are said to be so.
        show_real: also show the real images of `real_examples.npz`, under a red banner.
        show_synthetic: with the chapter that shows synthetic images.
        judgement: of a release; None judges as `kr gate` does.

    Returns:
        File name -> bytes: `report.html` (one file that loads nothing), `report.md`, `report.json`
        and the `figures/NAME.png` that the Markdown page links to. The same run gives the same
        bytes.

    Raises:
        KRError: the run directory is missing, or a file in it cannot be read.
    """
    found = RunResults.load(Path(run))
    judged = judgement or judge(found)
    decision = [chapter(found, judged) for chapter in DECISION]
    chapters = [
        chapter(found, show_real) for chapter in CHAPTERS if show_synthetic or chapter is not images
    ]
    first = front(found, judged, show_real)
    about = record(found, judged, first, {c.anchor: c for c in decision}, show_real)
    page = {"front": first, "decision": decision, "chapters": chapters}
    markdown = templates.markdown().get_template("report.md.j2").render(page)
    pictures = (picture for chapter in chapters for picture in chapter.pictures())
    return {
        "report.html": templates.html().get_template("report.html.j2").render(page).encode(),
        "report.md": BLANK_LINES.sub("\n\n", markdown).encode(),
        "report.json": (json.dumps(about.tree(), indent=1, allow_nan=False) + "\n").encode(),
        **{f"figures/{picture.name}.png": picture.png for picture in pictures},
    }
