"""Any configuration and any file of scores ends in a result, or in a `KRError` in plain words."""

from __future__ import annotations

import io
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from knowledge_recycling.auditing import audit_file
from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError, printable
from knowledge_recycling.storage.files import read_npz

tried = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
FIELDS = sorted(
    f"{section}.{field}"
    for section, fields in Config().model_dump().items()
    if isinstance(fields, dict)
    for field in fields
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["nan", "inf", "-1", "1e400", "[1, 2]", "{a: 1}", "!!python/object:os.system"]),
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


def check_refusal(error: KRError) -> None:
    assert printable(error, keep="\n").strip()
    assert "Traceback" not in str(error)


def check_sound(config: Config) -> None:
    """It comes back from its own file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(config.dump(), encoding="utf-8")
        assert Config.load(path) == config


@tried
@given(
    st.lists(
        st.tuples(st.sampled_from(FIELDS) | st.text(max_size=12), VALUES), min_size=1, max_size=3
    )
)
def test_any_settings(pairs: list[tuple[str, Any]]) -> None:
    texts = [f"{name}={value}" for name, value in pairs]
    try:
        config = Config.resolve("digits", settings=texts)
    except KRError as error:
        check_refusal(error)
        return
    check_sound(config)


@tried
@given(st.dictionaries(st.sampled_from([f.split(".")[0] for f in FIELDS]) | st.text(), VALUES))
def test_any_tree_as_a_file(tree: dict[str, Any]) -> None:
    for number, field in enumerate(FIELDS[: len(tree)]):
        section, name = field.split(".")
        if isinstance(tree.get(section), dict):
            tree[section][name] = number
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
        try:
            config = Config.resolve("digits", file=path)
        except KRError as error:
            check_refusal(error)
            return
    check_sound(config)


@tried
@given(st.binary(max_size=120) | st.text(st.sampled_from("a:&*[]{}!-\n \t\"'%@1"), max_size=40))
def test_any_bytes_as_a_file(content: bytes | str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        for read in (lambda: Config.resolve("digits", file=path), lambda: Config.load(path)):
            try:
                read()
            except KRError as error:
                check_refusal(error)


DTYPES = st.sampled_from(["f8", "f4", "i8", "?", "c8", "U2", "M8[s]", "u1"])
SHAPES = st.sampled_from([(), (0,), (1,), (12,), (12, 1), (4, 12), (4, 0)])
ARRAYS = st.builds(np.dtype, DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))
SOUND = hnp.arrays(np.float64, (40,), elements=st.floats(-9, 9))
NAMES = ("member_scores", "nonmember_scores", "member_groups", "nonmember_groups")
SIGNALS = ("signals", "membership", "groups", "pairs")


@tried
@given(
    st.one_of(
        st.fixed_dictionaries(
            {name: ARRAYS | SOUND for name in NAMES[:2]},
            optional={name: ARRAYS for name in NAMES[2:]},
        ),
        st.fixed_dictionaries(
            {name: ARRAYS for name in SIGNALS[:2]},
            optional={name: ARRAYS for name in SIGNALS[2:]},
        ),
        st.dictionaries(st.sampled_from(NAMES + SIGNALS), ARRAYS, max_size=3),
    )
)
def test_any_scores(arrays: dict[str, np.ndarray]) -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of NumPy, where values are near overflow
        path = Path(folder) / "scores.npz"
        np.savez(path, **arrays)  # type: ignore[arg-type]
        check_scores(path)


@tried
@given(st.binary(max_size=80), st.integers(0, 700), st.booleans())
def test_any_bytes_as_arrays_of_a_run(noise: bytes, place: int, cut: bool) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=np.arange(30), labels=np.arange(3))
    whole = buffer.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "source.npz"
        path.write_bytes(whole[:place] + noise + (b"" if cut else whole[place + len(noise) :]))
        try:
            read_npz(path)
        except KRError as error:
            check_refusal(error)


def check_scores(path: Path) -> None:
    try:
        found = audit_file(path)
    except KRError as error:
        check_refusal(error)
        return
    for figures in found.attacks.values():
        auc = figures.auc
        assert auc is None or 0 <= auc.low <= auc.value <= auc.high <= 1
