from __future__ import annotations

import math
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from knowledge_recycling.errors import KRError
from knowledge_recycling.privacy import noise
from knowledge_recycling.privacy.noise import gaussian, grid

# The noise cannot be seeded, so every limit below is one that chance passes once in 1e7 or less.
FAR = float(stats.norm.isf(1e-7 / 2))


def test_mean_variance_and_distribution() -> None:
    n, scale = 400_000, 2.5
    values = gaussian((n,), scale)
    assert values.dtype == np.float64
    assert abs(values.mean()) < FAR * scale / math.sqrt(n)
    assert abs(values.var() / scale**2 - 1) < FAR * math.sqrt(2 / n)
    assert stats.kstest(values / scale, stats.norm.cdf).pvalue > 1e-7
    # About 540 in each tail.
    for tail in (values > 3 * scale, values < -3 * scale):
        assert stats.binomtest(int(tail.sum()), n, stats.norm.sf(3)).pvalue > 1e-7


def test_one_draw_is_normal_too_and_both_signs_are_as_frequent() -> None:
    values = noise._standard_normal((200_000,))
    assert stats.kstest(values, stats.norm.cdf).pvalue > 1e-7
    assert stats.binomtest(int((values > 0).sum()), values.size, 0.5).pvalue > 1e-7


def test_neighbours_in_an_array_are_uncorrelated() -> None:
    rows = gaussian((2, 100_000), 1.0)
    for a, b in ((rows[0], rows[1]), (rows[0, 1:], rows[0, :-1]), (rows[0] ** 2, rows[1] ** 2)):
        assert stats.pearsonr(a, b).pvalue > 1e-7


def test_no_seed_reaches_the_noise() -> None:
    np.random.seed(0)  # noqa: NPY002
    first = gaussian((100,), 1.0)
    np.random.seed(0)  # noqa: NPY002
    assert not np.isin(gaussian((100,), 1.0), first).any()
    assert "np.random" not in Path(noise.__file__).read_text()


def _draw(_: int) -> list[float]:
    return list(gaussian((100,), 1.0))


def test_forked_processes_draw_differently() -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        draws = [*pool.map(_draw, range(2), chunksize=1), _draw(0)]
    assert len({value for draw in draws for value in draw}) == 300


@pytest.mark.parametrize("scale", [1e-9, 0.3, 1.0, 2.0, 12345.6, 1e80])
def test_values_lie_on_the_grid_of_the_scale(scale: float) -> None:
    step = grid(scale)
    assert 2**30 <= scale / step < 2**31
    assert math.frexp(step)[0] == 0.5, "a power of two"
    values = gaussian((1000,), scale) / step
    assert (values == np.rint(values)).all()
    assert np.unique(values % 8).size == 8


def test_shapes() -> None:
    assert gaussian((), 1.0).shape == ()
    assert gaussian((0, 3), 1.0).shape == (0, 3)
    assert gaussian((2, 3, 4), 1.0).shape == (2, 3, 4)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, 1e-200])
@pytest.mark.parametrize("call", [grid, lambda scale: gaussian((1,), scale)])
def test_a_scale_that_is_none_is_refused(scale: float, call: Callable[[float], object]) -> None:
    with pytest.raises(KRError, match="is not a standard deviation between 1e-100 and 1e100"):
        call(scale)


def test_a_million_takes_well_under_a_second_of_one_core() -> None:
    seconds = []
    for _ in range(3):
        start = time.process_time()
        gaussian((1_000_000,), 1.0)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1.0


def test_the_package_needs_no_torch() -> None:
    names = ["accountant", "clipping", "json_lines", "ledger", "mechanisms", "noise"]
    folder = Path(noise.__file__).parent
    assert sorted(p.stem for p in folder.glob("*.py")) == ["__init__", *names]
    code = "import sys\n" + "".join(f"import knowledge_recycling.privacy.{n}\n" for n in names)
    # `__path__` alone, so that the package's own __init__ does not bring in the rest.
    stub = (
        "import sys, types\npackage = types.ModuleType('knowledge_recycling')\n"
        f"package.__path__ = [{str(folder.parent)!r}]\n"
        "sys.modules['knowledge_recycling'] = package\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", f"{stub}{code}print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "False"
