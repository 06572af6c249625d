"""Words that no page may use by themselves."""

from __future__ import annotations

import re


def bare_auc(text: str) -> list[str]:
    """Every "AUC" with what stands before it, unless that is "attack" or "diagnostic".

    An attack's is a leak and a classifier's a merit: one word for both misleads.

    Example:
        >>> bare_auc("Attack\\nAUC 0.5, the diagnostic AUC, an AUC of 0.9")
        ['an AUC']
    """
    found = re.findall(r"(?:\w+[^\w<>]+)?\bAUCs?\b", text)
    return [words for words in found if not re.match(r"(?i)(attack|diagnostic)\s", words)]
