"""The stages of Knowledge Recycling: each `run(config, run_dir)` returns its frozen `Result`.

Stages never import each other; they meet only through the run directory.
"""

NAMES = (
    "teacher",
    "generator",
    "selection",
    "tuning",
    "distillation",
    "evaluation",
    "audit",
    "report",
)
"""In their order; here, so that the command line knows them without importing any stage."""
