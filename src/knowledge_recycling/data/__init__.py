"""The only door to real images: reads them, checks them, splits them, hands out single splits.

A data format is one module with one reader that returns a `Source`; `source.open_source` chooses.
Nothing a user gives is ever unpickled, and no path reaches a record that may be released.
"""

from __future__ import annotations

from knowledge_recycling.data.arrays import save_arrays, validated, write_arrays
from knowledge_recycling.data.cache import cached
from knowledge_recycling.data.folds import draw_folds
from knowledge_recycling.data.location import located
from knowledge_recycling.data.record import describe, example_grid, file_names, load
from knowledge_recycling.data.resize import ALLOWED_SIZES, check_square_size
from knowledge_recycling.data.source import given, open_source
from knowledge_recycling.data.types import SPLITS, Source, Split

__all__ = [
    "ALLOWED_SIZES",
    "SPLITS",
    "Source",
    "Split",
    "cached",
    "check_square_size",
    "describe",
    "draw_folds",
    "example_grid",
    "file_names",
    "given",
    "load",
    "located",
    "open_source",
    "save_arrays",
    "validated",
    "write_arrays",
]
