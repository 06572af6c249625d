"""What must be the same in all images of a set: size, depth, colour."""

from __future__ import annotations

from collections import Counter

from knowledge_recycling.data import scale
from knowledge_recycling.data.decode import Decoded, Rule, fits
from knowledge_recycling.data.dicom_levels import UNSCALED
from knowledge_recycling.data.resize import size_advice
from knowledge_recycling.data.words import Problem, count

LOW_16_BIT = 32768
"""16-bit files that stay below use less than half of their range, and need a stated one."""


def problems(decoded: list[Decoded], rule: Rule) -> list[Problem]:
    """What differs among images and must not, and the settings that cure it."""
    if not decoded:
        return []
    scans = sum(d.scan is not None for d in decoded)
    if 0 < scans < len(decoded):
        told = f"{count(scans, 'DICOM image')} with {count(len(decoded) - scans, 'other')}"
        return [Problem(f"mixes {told}; kind must not tell classes apart, so save all as PNG")]
    return [
        *_size_problem(decoded, rule),
        *(_scale_problem(decoded) if scans else _depth_problem(decoded, rule)),
        *_color_problem(decoded, rule),
    ]


def _size_problem(decoded: list[Decoded], rule: Rule) -> list[Problem]:
    shapes = Counter(d.shape for d in decoded)
    if rule.size or (len(shapes) == 1 and fits(decoded[0].shape)):
        return []
    (height, width), number = shapes.most_common(1)[0]
    what = f"all images are {height} x {width} pixels (height x width), which cannot run as it is"
    if len(shapes) > 1:
        what = (
            f"images have {len(shapes):,} sizes, most often {height} x {width} pixels (height x "
            f"width; {count(number, 'file')}), and one square size is needed"
        )
    advice, setting = size_advice((height + width) / 2)
    return [Problem(f"{what}; {advice}", (setting,))]


def _depth_problem(decoded: list[Decoded], rule: Rule) -> list[Problem]:
    depths = Counter(d.depth for d in decoded)
    if len(depths) > 1:
        told = " and ".join(f"{n:,} {depth}" for depth, n in sorted(depths.items()))
        return [
            Problem(
                f"mixes {told} files; brightness would tell classes or sites apart, so save all "
                "with the same depth, from the same scale"
            )
        ]
    low = min((d.low for d in decoded if d.low is not None), default=0.0)
    high = max((d.high for d in decoded if d.high is not None), default=0.0)
    depth = decoded[0].depth
    if depth == "8-bit":
        return []
    if depth == "16-bit" and not all(d.grey_file for d in decoded):
        return _deep_color_problem(high, rule)
    if rule.range or (depth == "16-bit" and low >= 0 and high >= LOW_16_BIT):
        return []
    # The header alone was read of some: their values count when all are read.
    text = f"{depth} values {low:g}..{high:g}, which are on no known scale"
    if depth == "16-bit" and low >= 0:
        text = f"16-bit files use {low:g}..{high:g} of 0..65535 and would come out dark"
    return [Problem(f"{text}; state one range for all images", (scale.suggest(low, high),))]


def _deep_color_problem(high: float, rule: Rule) -> list[Problem]:
    if not rule.range and high >= LOW_16_BIT:
        return []
    why = "a stated range cannot be used" if rule.range else "they would come out dark"
    return [Problem(f"of 16-bit colour only the upper 8 bits are read, so {why}; save with 8 bits")]


def _color_problem(decoded: list[Decoded], rule: Rule) -> list[Problem]:
    """Grey files among coloured ones; a colour file that is grey to the eye counts as colour."""
    grey = sum(d.grey_file for d in decoded)
    if rule.color or not grey or not any(d.coloured for d in decoded):
        return []
    return [
        Problem(
            f"mixes {count(grey, 'grey file')} with {count(len(decoded) - grey, 'colour file')}; "
            "kind must not tell classes or sites apart, so bring all to one (grey, or rgb)",
            ("data.color=grey",),
        )
    ]


def _scale_problem(decoded: list[Decoded]) -> list[Problem]:
    """Grey DICOM images: all through a window, all of 8 bits, or all in a stated range."""
    grey = [d for d in decoded if d.grey_file and d.pixels is not None]
    scales = Counter(d.depth for d in grey)
    if not scales or (len(scales) == 1 and UNSCALED not in scales):
        return []
    low = min(d.low for d in grey if d.low is not None)
    high = max(d.high for d in grey if d.high is not None)
    what = f"its images have values {low:g}..{high:g}, and no window says what to show of them"
    if len(scales) > 1:
        told = " and ".join(f"{n:,} {name}" for name, n in sorted(scales.items()))
        what = (
            f"mixes images that have a window with others: {told}; brightness would tell them apart"
        )
    return [Problem(f"{what}; state one range for all images", (scale.suggest(low, high),))]
