"""Attack figures as natural frequencies: so many in 100, what guessing reaches beside them."""

from __future__ import annotations

from collections.abc import Mapping

from knowledge_recycling.auditing.gate import Check
from knowledge_recycling.statistics.estimate import Estimate

KINDS: Mapping[str, str] = {
    "mislabelled": "under a wrong label",
    "outlier": "scrambled",
    "near_duplicate": "entered three times",
}
"""Kind of canary -> what was done to the image."""
CHANNELS: Mapping[str, str] = {
    "student": "Student",
    "synthetic": "Synthetic images",
    "soft_labels": "Synthetic images with soft labels",
    "hard_labels": "Synthetic images with hard labels",
    "tempered_labels": "Synthetic images with tempered labels",
    "rounded_labels": "Synthetic images with rounded labels",
}
"""Release channel -> its name on the page."""
WHO: Mapping[str, str] = {
    "records": "ordinary images",
    "patients": "whole patients",
    "canaries": "planted unusual images",
}


def in_100(found: Estimate, chance: float | None = None) -> str:
    """A share as a number in 100 with its interval; decimals only where whole numbers hide it.

    Args:
        found: the share.
        chance: what guessing reaches in 100; decimals also where whole numbers hide on which side
            of it an end lies.

    Example:
        >>> in_100(Estimate(0.031, 0.022, 0.041)), in_100(Estimate(0.0123, 0.0121, 0.0126))
        ('3 in 100 (2 to 4)', '1.2 in 100 (1.2 to 1.3)')
    """
    value, low, high = _of_100(found, chance)
    return f"{value} in 100 ({low} to {high})"


def pairs(found: Estimate) -> str:
    """An attack AUC: how often the member of a pair is found.

    Example:
        >>> pairs(Estimate(0.907, 0.8, 0.97))
        'of 100 pairs of an insider and an outsider it tells 91 apart rightly (80 to 97); a coin 50'
        >>> pairs(Estimate(0.5055, 0.5001, 0.5109)).partition("it tells ")[2]
        '50.55 apart rightly (50.01 to 51.09); a coin 50'
    """
    value, low, high = _of_100(found, 50)
    return (
        f"of 100 pairs of an insider and an outsider it tells {value} apart rightly "
        f"({low} to {high}); a coin 50"
    )


def picks(rate: Estimate, whom: str = "insiders") -> str:
    """A TPR at 1% FPR.

    Example:
        >>> picks(Estimate(0.03, 0.02, 0.04))
        'accusing wrongly 1 in 100 outsiders, it picks out 3 in 100 insiders (2 to 4); guessing picks 1'
    """  # noqa: E501
    value, low, high = _of_100(rate, 1)
    return (
        f"accusing wrongly 1 in 100 outsiders, it picks out {value} in 100 {whom} "
        f"({low} to {high}); guessing picks 1"
    )


def right(correct: int, total: int) -> str:
    """How many of 100, or of 1,000 where 100 would hide the mistakes.

    Example:
        >>> right(355, 359), right(998, 1000), right(5, 5)
        ('99 of 100', '998 of 1,000', '100 of 100')
    """
    for base in (100, 1000):
        shown = round(base * correct / total)
        if (shown == base) == (correct == total):
            return f"{shown:,} of {base:,}"
    return f"{correct:,} of {total:,}"


def whom(check: Check) -> str:
    """What a figure of the gate is about.

    Example:
        >>> whom(Check("student", "canaries of the kind outlier, attack AUC", 0.75, None))
        'Student, planted unusual images (scrambled)'
    """
    who, _, _ = check.what.partition(",")
    if who == "copies":
        return "Copies among the synthetic images"
    group, _, kind = who.partition(" of the kind ")
    of_kind = f" ({KINDS.get(kind, kind)})" if kind else ""
    return f"{CHANNELS.get(check.channel, check.channel)}, {WHO.get(group, group)}{of_kind}"


def in_words(check: Check) -> str:
    """A figure of the gate and its limit, without a technical name.

    Example:
        >>> in_words(Check("student", "records, attack AUC", 0.55, Estimate(0.6, 0.58, 0.62)))
        'Student, ordinary images: of 100 pairs of an insider and an outsider it tells 60 apart rightly (58 to 62); a coin 50. Limit 55.'
    """  # noqa: E501
    limit = f" Limit {_whole(100 * check.limit)}."
    if check.found is None:
        return f"{whom(check)}: not measured.{limit}"
    if check.what == "copies":
        chance = 0.0
        text = f"{in_100(check.found, 0)} more of the training images than of unseen ones; chance 0"
    elif check.what.endswith("AUC"):
        chance, text = 0.5, pairs(check.found)
    else:
        chance, text = 0.01, picks(check.found)
    # What was found at all is compared with chance, which the words name already.
    return f"{whom(check)}: {text}.{'' if check.limit == chance else limit}"


def _of_100(found: Estimate, chance: float | None = None) -> tuple[str, str, str]:
    ends = (found.value, found.low, found.high)
    for digits in (0, 1, 2):
        value, low, high = (_fixed(100 * end, digits) for end in ends)
        hides = chance is not None and any(
            100 * end != chance == float(shown)
            for end, shown in ((found.low, low), (found.high, high))
        )
        if low != high and not hides:
            break
    return value, low, high


def _fixed(number: float, digits: int) -> str:
    return f"{round(number, digits) + 0.0:.{digits}f}"  # + 0.0: no minus before a zero


def _whole(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
