"""The parameters of synthesis, apart from the code that uses them: no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Labels = Literal["hard", "soft"]
"""What the Student learns by: the class that the Generator was asked for, or the Teacher's
softmax."""
BY_LEAK: tuple[Labels, ...] = ("hard", "soft")
"""The less of the Teacher's memory a kind passes on, the earlier it stands here."""


@dataclass(frozen=True)
class Parameters:
    """The parameters of synthesis that Generator Tuning searches; these are the un-tuned ones."""

    latent_std: float = 1.0
    """s of z ~ N(0, s^2 I): GaFi's expansion trick above 1, truncation below."""
    prior: Literal["real", "balanced"] = "real"
    """Class frequencies of the synthetic set."""
    temperature: float = 2.0
    """Of the Teacher's softmax in the soft labels; above 1 they say more of unlikely classes."""
    filter_threshold: float = 0.0
    """Least Teacher probability of the wanted class that keeps a sample; 0 keeps all."""
