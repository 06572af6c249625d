"""Settings of the smallest run that has every part of the report."""

from __future__ import annotations

TINY = (
    "teacher.width=8",
    "teacher.blocks=[1, 1]",
    "teacher.steps=20",
    "teacher.evaluations=2",
    "generator.width=8",
    "generator.latent_channels=[2]",
    "generator.steps=40",
    "generator.snapshots=2",
    "selection.screen_steps=2",
    "selection.final_steps=2",
    "tuning.trials=2",
    "tuning.steps=3",
    "tuning.final_steps=3",
    "tuning.label_steps=3",
    "distillation.steps=20",
    "runtime.threads=1",
)
TINIEST = (
    "teacher.width=8",
    "teacher.blocks=[1, 1]",
    "teacher.steps=10",
    "teacher.evaluations=1",
    "generator.width=8",
    "generator.latent_channels=[2]",
    "generator.steps=20",
    "generator.snapshots=1",
    "selection.screen_steps=3",
    "selection.final_steps=3",
    "tuning.trials=1",
    "tuning.steps=3",
    "tuning.final_steps=3",
    "tuning.label_steps=3",
    "distillation.steps=10",
    "runtime.threads=1",
)
"""For tests that ask only for a finished run."""
COUNT = 8
CANARIES = 12
