"""The page to look at: reads a run directory's result files, returns HTML, Markdown and figures.

To add a chapter: one function `Results -> Chapter`, listed in `chapters.CHAPTERS` (or, before the
second page, in `decision.DECISION`), and its drawings in `figures.py`. Both templates render any
chapter.
"""

from knowledge_recycling.reporting.build import build
from knowledge_recycling.reporting.judgement import Judgement
from knowledge_recycling.reporting.measures import summary
from knowledge_recycling.reporting.record import schema

__all__ = ["Judgement", "build", "schema", "summary"]
