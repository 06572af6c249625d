"""Rows of small images as PNG, enlarged without blur."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from knowledge_recycling.reporting.figures import STUDENT


def strip(images: np.ndarray, shares: np.ndarray | None = None, side: int = 84) -> bytes:
    """A row of images, enlarged without blur; the gaps are transparent.

    Args:
        images: uint8 (m, h, w, c) with c 1 or 3.
        shares: (m,) in [0, 1], drawn as a bar below each image; None draws none.
        side: about how many pixels high each image becomes.
    """
    zoom = max(1, side // images.shape[1])
    height, width, gap = images.shape[1] * zoom, images.shape[2] * zoom, 6
    bar = 0 if shares is None else 10
    canvas = np.zeros((height + bar, len(images) * (width + gap) - gap, 4), np.uint8)
    for i, image in enumerate(images):
        tile = np.broadcast_to(image, (*image.shape[:2], 3)).repeat(zoom, 0).repeat(zoom, 1)
        left = i * (width + gap)
        canvas[:height, left : left + width, :3] = tile
        canvas[:height, left : left + width, 3] = 255
        if shares is not None:
            filled = left + round(width * float(np.clip(shares[i], 0, 1)))
            canvas[height + 4 :, left : left + width] = (128, 136, 146, 70)
            canvas[height + 4 :, left:filled] = (*bytes.fromhex(STUDENT[1:]), 255)
    file = io.BytesIO()
    Image.fromarray(canvas, "RGBA").save(file, format="PNG", optimize=True)
    return file.getvalue()
