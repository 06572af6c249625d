"""Knowledge Recycling: give away what private images taught, without the images.

A Teacher and a class-conditional Generator learn from private images; a Student learns from
synthetic images that the Teacher labels; what that costs and what leaks is measured.

Source: E. Lomurno, M. Matteucci, Pattern Recognition Letters 190 (2025), arXiv:2407.15526.
"""

from knowledge_recycling.api import predictions, run, student
from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.run_dir import RunDir

__all__ = ["Config", "KRError", "RunDir", "predictions", "run", "student"]
