"""Numbers as words: one place for how many digits, which sign, and what stands for 'none'."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from knowledge_recycling.statistics.estimate import Estimate

NONE = "n/a"


def finite(value: Any) -> float | None:
    """The value as a float, or None where it is null, NaN, infinite or no number.

    Example:
        >>> finite(1), finite(None), finite(float("nan"))
        (1.0, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    return float(value) if math.isfinite(value) else None


def percent(value: Any, unit: str = "%") -> str:
    """A share in [0, 1] as a percentage with one decimal.

    Example:
        >>> percent(0.8812), percent(None)
        ('88.1%', 'n/a')
    """
    number = finite(value)
    return NONE if number is None else f"{100 * number:.1f}{unit}"


def decimal(value: Any, digits: int = 3) -> str:
    """A plain number with a fixed number of decimals.

    Example:
        >>> decimal(0.98765), decimal(None)
        ('0.988', 'n/a')
    """
    number = finite(value)
    return NONE if number is None else f"{number:.{digits}f}"


def signed(value: Any, digits: int = 1) -> str:
    """A difference, its sign always shown, a rounded zero without one.

    Example:
        >>> signed(0.42), signed(-0.94), signed(-0.04)
        ('+0.4', '-0.9', '0.0')
    """
    number = finite(value)
    if number is None:
        return NONE
    text = f"{number:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def difference(first: Any, second: Any, *, scale: float = 1.0, digits: int = 3) -> str:
    """`(first - second) * scale`, signed; none where either is missing.

    Both are rounded first, so that the difference is that of the figures shown beside it.

    Example:
        >>> difference(0.99444, 0.99165, scale=100, digits=1), percent(0.99444), percent(0.99165)
        ('+0.2', '99.4%', '99.2%')
    """
    a, b = finite(first), finite(second)
    if a is None or b is None:
        return NONE
    return signed(round(scale * a, digits) - round(scale * b, digits), digits)


def interval(estimate: Estimate | None, *, as_percent: bool = False) -> str:
    """The ends of an Estimate, `low to high`.

    Example:
        >>> interval(Estimate(0.5, 0.45, 0.55))
        '0.450 to 0.550'
    """
    if not estimate:
        return ""
    show = (lambda x: percent(x, "")) if as_percent else decimal
    return f"{show(estimate.low)} to {show(estimate.high)}"


def duration(seconds: Any) -> str:
    """A time span in its two largest units.

    Example:
        >>> duration(3.21), duration(192), duration(7320)
        ('3.2 s', '3 min 12 s', '2 h 2 min')
    """
    number = finite(seconds)
    if number is None:
        return NONE
    if number < 59.95:
        return f"{number:.1f} s"
    minutes, rest = divmod(round(number), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def memory(n_bytes: Any) -> str:
    """Bytes as MiB or GiB.

    Example:
        >>> memory(3 * 2**29), memory(5 * 2**20)
        ('1.50 GiB', '5 MiB')
    """
    number = finite(n_bytes)
    if number is None:
        return NONE
    return f"{number / 2**30:.2f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


def count(value: Any) -> str:
    """A whole number with thousands set apart by commas.

    Example:
        >>> count(17092)
        '17,092'
    """
    number = finite(value)
    return NONE if number is None else f"{round(number):,}"
