from __future__ import annotations

import torch
from torch import Tensor

from knowledge_recycling.generators.diff_augment import augment, colour, cutout, translate


def naive_translation(image: Tensor, down: int, right: int) -> Tensor:
    channels, height, width = image.shape
    moved = torch.zeros_like(image)
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                if 0 <= i - down < height and 0 <= j - right < width:
                    moved[c, i, j] = image[c, i - down, j - right]
    return moved


def test_translation_equals_naive_shift() -> None:
    images = torch.randn(6, 2, 5, 7, generator=torch.Generator().manual_seed(0))
    down, right = torch.tensor([0, 1, -2, 4, -5, 9]), torch.tensor([0, -3, 2, 0, 1, 1])
    moved = translate(images, down, right)
    for i, image in enumerate(images):
        assert torch.equal(moved[i], naive_translation(image, int(down[i]), int(right[i])))


def test_cutout_erases_the_rectangle_and_nothing_else() -> None:
    images = torch.ones(3, 2, 6, 5)
    erased = cutout(images, torch.tensor([1, -2, 5]), torch.tensor([2, -1, 4]), height=3, width=2)
    expected = torch.ones(3, 2, 6, 5)
    expected[0, :, 1:4, 2:4] = 0
    expected[1, :, 0:1, 0:1] = 0
    expected[2, :, 5:6, 4:5] = 0
    assert torch.equal(erased, expected)


def test_colour_equals_the_three_formulas() -> None:
    images = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    b, s, c = torch.tensor([0.2, -0.4]), torch.tensor([0.5, 1.7]), torch.tensor([1.5, 0.6])
    result = colour(images, b, s, c)
    for i, image in enumerate(images):
        image = image + b[i]
        image = (image - image.mean(0)) * s[i] + image.mean(0)
        image = (image - image.mean()) * c[i] + image.mean()
        torch.testing.assert_close(result[i], image)


def test_colour_changes_grey_images_by_an_affine_map_only() -> None:
    images = torch.rand(1, 1, 4, 4)
    one = torch.ones(1)
    torch.testing.assert_close(colour(images, 0 * one, 5 * one, one), images)


def test_keeps_shape_and_differs_between_images() -> None:
    torch.manual_seed(0)
    for shape in ((8, 1, 8, 8), (8, 3, 28, 28)):
        images = torch.rand(1, *shape[1:]).expand(shape) * 2 - 1
        result = augment(images)
        assert result.shape == shape
        assert all(not torch.equal(result[0], other) for other in result[1:])


def test_is_differentiable() -> None:
    def repeated(images: Tensor) -> Tensor:
        torch.manual_seed(3)  # the same draw at every call, as the numeric gradient needs
        return augment(images)

    images = torch.rand(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(repeated, (images,))


def test_random_numbers_come_from_the_global_generator() -> None:
    images = torch.rand(4, 3, 8, 8)
    torch.manual_seed(1)
    first, second = augment(images), augment(images)
    torch.manual_seed(1)
    assert torch.equal(augment(images), first)
    assert not torch.equal(first, second)


def test_draws_cover_the_documented_ranges() -> None:
    torch.manual_seed(0)
    size, n = 16, 4000
    images = torch.zeros(n, 1, size, size)
    images[:, :, 8, 8] = 1000.0  # one bright pixel, the brightest wherever it moves
    result = augment(images).flatten(1)
    values, places = result.max(1)
    seen = values > 100  # not erased by the cutout
    rows, columns = places[seen] // size - 8, places[seen] % size - 8
    assert set(rows.tolist()) == set(columns.tolist()) == set(range(-2, 3))
    # Cutout of 8 x 8 centred uniformly on 16 x 16 erases a central pixel with probability 1/4.
    assert abs(float(seen.float().mean()) - 0.75) < 4 * (0.75 * 0.25 / n) ** 0.5
