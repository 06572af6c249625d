"""The page to look at: reads a run directory's result files, returns HTML, Markdown and figures.

To add a chapter (the shadow audit, say): one function `Results -> Chapter`, listed in
`chapters.CHAPTERS`, and its drawings in `figures.py`. Both templates render any chapter.
"""

from knowledge_recycling.reporting.build import build
from knowledge_recycling.reporting.front import summary

__all__ = ["build", "summary"]
