from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from knowledge_recycling.config import Config, Data
from knowledge_recycling.data import Source, located, open_source
from knowledge_recycling.errors import KRError
from tests.dicom_files import bars

FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=["well", "sick"]),
        "patient": datasets.Value("string"),
    }
)


def opened(path: Path | str, **fields: object) -> Source:
    return open_source(Data.model_validate({"source": str(path), **fields}))


def pictures(n: int = 12, seed: int = 0) -> list[np.ndarray]:
    return [bars(i % 2, seed + i).astype(np.uint8) for i in range(n)]


def made(seed: int = 0, n: int = 12) -> datasets.Dataset:
    content = {
        "image": [Image.fromarray(p) for p in pictures(n, seed)],
        "label": [i % 2 for i in range(n)],
        "patient": [f"s{seed}p{i // 2}" for i in range(n)],
    }
    return datasets.Dataset.from_dict(content, features=FEATURES)


def encoded(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def plain(path: Path, **more: Any) -> Path:
    """A Parquet file as pandas would write it, without what `datasets` notes."""
    columns: dict[str, Any] = {"picture": [encoded(p) for p in pictures()]}
    columns |= {"label": ["well", "sick"] * 6, **more}
    pq.write_table(pa.table({k: v for k, v in columns.items() if v is not None}), path)
    return path


def check(source: Source) -> None:
    np.testing.assert_array_equal(source.images[:12, ..., 0], pictures())
    assert source.labels[:12].tolist() == [0, 1] * 6
    assert source.class_names == ("well", "sick")
    assert source.groups is not None
    assert source.groups[:12].tolist() == [i // 2 for i in range(12)]


def test_one_parquet_file(tmp_path: Path) -> None:
    made().to_parquet(tmp_path / "set.parquet")
    source = opened(tmp_path / "set.parquet")
    check(source)
    assert (source.name, source.notes) == ("set", ())
    assert set(source.assigned.tolist()) == {-1}


def test_saved_to_disk(tmp_path: Path) -> None:
    made().save_to_disk(tmp_path / "set")
    check(opened(tmp_path / "set"))
    splits = {"train": made(), "validation": made(100), "test": made(200)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "splits")
    source = opened(tmp_path / "splits")
    assert np.bincount(source.assigned).tolist() == [12, 12, 12]
    train = source.assigned == 0
    np.testing.assert_array_equal(source.images[train][..., 0], pictures())
    assert source.class_names == ("well", "sick")
    # The files of all splits have one name.
    assert source.groups is not None
    by_split = [set(source.groups[source.assigned == split].tolist()) for split in range(3)]
    assert sum(map(len, by_split)) == len(set.union(*by_split)) == 18
    for split, n in enumerate(by_split):
        groups = source.groups[source.assigned == split]
        assert (groups[::2] == groups[1::2]).all(), f"{n}: pairs are of one patient"


def test_classes_in_another_order(tmp_path: Path) -> None:
    other = made(100).cast_column("label", datasets.ClassLabel(names=["sick", "well"]))
    (tmp_path / "set").mkdir()
    made().to_parquet(tmp_path / "set" / "train.parquet")
    other.to_parquet(tmp_path / "set" / "test.parquet")
    with pytest.raises(
        KRError, match="its tables differ in columns or classes; give tables of one"
    ):
        opened(tmp_path / "set")


def test_an_image_folder_with_a_parquet_file_is_one(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for i, pixels in enumerate(pictures()):
        (root / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / "ab"[i % 2] / f"{i}.png")
    plain(root / "metadata.parquet")
    assert "1 .parquet file was left out (1 beside the class folders)" in opened(root).notes


def test_rows_that_were_filtered_away_stay_away(tmp_path: Path) -> None:
    made().select(range(2, 12)).save_to_disk(tmp_path / "set")
    np.testing.assert_array_equal(opened(tmp_path / "set").images[..., 0], pictures()[2:])


@pytest.mark.parametrize(
    "shape", ["{split}-00000-of-00001.parquet", "data/{split}-0.parquet", "{split}/0.parquet"]
)
def test_folders_of_parquet_files(tmp_path: Path, shape: str) -> None:
    for seed, split in ((0, "train"), (100, "test")):
        path = tmp_path / "set" / shape.format(split=split)
        path.parent.mkdir(parents=True, exist_ok=True)
        made(seed).to_parquet(path)
    source = opened(tmp_path / "set")
    assert sorted(source.assigned.tolist()) == [-1] * 12 + [2] * 12
    np.testing.assert_array_equal(source.images[source.assigned == -1][..., 0], pictures())


def test_shards_without_a_split(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for number in range(2):
        made(100 * number).to_parquet(tmp_path / "set" / f"shard_{number}.parquet")
    assert len(opened(tmp_path / "set")) == 24
    made(300).to_parquet(tmp_path / "set" / "test.parquet")
    with pytest.raises(KRError, match="shard_0.parquet is of none; move it out, or rename it"):
        opened(tmp_path / "set")


def test_columns_without_notes(tmp_path: Path) -> None:
    source = opened(plain(tmp_path / "x.parquet", age=[50] * 12))
    assert source.class_names == ("sick", "well")
    assert source.labels.tolist() == [1, 0] * 6
    assert source.notes == ("1 column of the table is not read: age",)
    path = plain(tmp_path / "y.parquet", label=None, dx=[7, 10] * 6, subject=list(range(12)))
    with pytest.raises(
        KRError, match=r"no column is seen to hold the labels .*data.label_column=..."
    ):
        opened(path)
    with pytest.raises(KRError, match="subject is likely to name the patient"):
        opened(path, label_column="dx")
    source = opened(path, label_column="dx", patient_column="subject")
    assert source.class_names == ("7", "10")
    assert source.groups is not None
    path = plain(tmp_path / "z.parquet", mask=[b""] * 12)
    with pytest.raises(KRError, match=r"several columns could hold the images \(picture, mask\)"):
        opened(path)
    assert len(opened(path, image_column="picture")) == 12


def test_what_a_release_holds_can_be_read(tmp_path: Path) -> None:
    """A struct of bytes and path, without an Image feature, as anybody's tool may write."""
    cells = [{"bytes": encoded(p), "path": f"{i}.png"} for i, p in enumerate(pictures())]
    assert len(opened(plain(tmp_path / "x.parquet", picture=cells))) == 12


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            {"label": [[0, 1], [1]] * 6},
            "column label holds several labels per image; multi-label",
        ),
        ({"label": [0.5] * 12}, "the column label holds double, which are no labels"),
        ({"label": [None, "a"] * 6}, "6 rows without a label; give it one, or remove it"),
        ({"label": [-1] + [0] * 11}, "1 row without a label"),
        (
            {"patient": ["x", None] * 6},
            "the patient of 6 images is unknown .first: row 2 of x.parquet",
        ),
        ({"picture": [b"GIF89a"] * 12}, "none of its 12 image files can be decoded"),
        (
            {"picture": [None] + [encoded(p) for p in pictures(11)]},
            "row 1 of x.parquet cannot be deco",
        ),
    ],
)
def test_refusals(tmp_path: Path, columns: dict[str, Any], expected: str) -> None:
    with pytest.raises(KRError, match=expected):
        opened(plain(tmp_path / "x.parquet", **columns))


def test_a_path_in_a_table_is_never_opened(tmp_path: Path) -> None:
    Image.fromarray(bars(0, 99).astype(np.uint8)).save(tmp_path / "secret.png")
    cells: list[dict[str, Any]] = [{"bytes": encoded(p), "path": None} for p in pictures()]
    cells[3] = {"bytes": None, "path": str(tmp_path / "secret.png")}
    with pytest.raises(
        KRError, match="row 4 of x.parquet cannot be decoded: is a path to a file, wh"
    ):
        opened(plain(tmp_path / "x.parquet", picture=cells))


def test_labels_beyond_the_names(tmp_path: Path) -> None:
    table = pq.read_table(_parquet(tmp_path))
    table = table.set_column(1, "label", pa.array([0, 1, 2] * 4))
    pq.write_table(table, tmp_path / "set.parquet")
    with pytest.raises(KRError, match="there are 2 class names, and labels beyond them"):
        opened(tmp_path / "set.parquet")


def _parquet(tmp_path: Path) -> Path:
    made().to_parquet(tmp_path / "set.parquet")
    return tmp_path / "set.parquet"


def _arrow(tmp_path: Path) -> Path:
    made().save_to_disk(tmp_path / "set")
    return next((tmp_path / "set").glob("*.arrow"))


@pytest.mark.parametrize("make", [_parquet, _arrow])
def test_any_damage_ends_in_a_sentence(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    file = make(tmp_path)
    source = file if file.suffix == ".parquet" else file.parent
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(content)
        if rng.random() < 0.3:
            damaged = damaged[: rng.integers(0, len(content))]
        for at in rng.integers(0, max(1, len(damaged)), 8) if damaged else ():
            damaged[at] = rng.integers(0, 256)
        file.write_bytes(damaged)
        try:
            opened(source)
        except KRError:
            refused += 1
    assert refused > 20


def test_notes_that_are_no_notes(tmp_path: Path) -> None:
    for number, noted in enumerate(
        (b"[", b"[1]", b'{"info": 1}', b'{"info": {"features": [1]}}', b"[" * 10**5)
    ):
        path = plain(tmp_path / f"{number}.parquet")
        table = pq.read_table(path).replace_schema_metadata({b"huggingface": noted})
        pq.write_table(table, path)
        assert len(opened(path)) == 12
    names = {"info": {"features": {"label": {"_type": "ClassLabel", "names": [{}]}}}}
    table = table.replace_schema_metadata({b"huggingface": json.dumps(names).encode()})
    pq.write_table(table, path)
    assert len(opened(path)) == 12, "names are of codes, and these labels are text"


def test_a_folder_without_tables(tmp_path: Path) -> None:
    for name in ("state.json", "dataset_info.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(KRError, match="holds no data-.*.arrow file, as save_to_disk writes them"):
        opened(tmp_path)


def test_splits_of_unknown_names(tmp_path: Path) -> None:
    datasets.DatasetDict({"train": made(), "fold2": made(50)}).save_to_disk(tmp_path / "set")
    with pytest.raises(
        KRError, match=r"fold2 is no split that is known \(train, validation, test\)"
    ):
        opened(tmp_path / "set")


def test_nothing_is_copied_into_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made().to_parquet(tmp_path / "set.parquet")
    monkeypatch.setattr(datasets, "load_dataset", None)
    monkeypatch.setattr(datasets, "load_from_disk", None)
    check(opened(tmp_path / "set.parquet"))


class TestHub:
    def test_a_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[tuple[Any, ...]] = []

        def load(*arguments: Any, **named: Any) -> dict[str, datasets.Dataset]:
            asked.append((arguments, named))
            return {"train": made(), "test": made(100)}

        monkeypatch.setattr(datasets, "load_dataset", load)
        source = opened("hf:owner/knees:small")
        assert asked == [(("owner/knees", "small"), {})], "and no code of theirs is trusted"
        check(source)
        assert source.name == "knees"
        assert np.bincount(source.assigned + 1).tolist() == [12, 0, 0, 12]

    def test_the_name_is_no_path(self) -> None:
        config = Config.resolve("hf:owner/knees")
        assert located(config).data.source == "hf:owner/knees"

    @pytest.mark.parametrize(
        "name", ["hf:", "hf:knees", "hf:../x", "hf:a/../b", "hf:a/b/c", "hf:/etc/x"]
    )
    def test_names(self, name: str) -> None:
        with pytest.raises(
            KRError, match="is no name on the Hub; write hf:owner/name, or hf:owner/n"
        ):
            opened(name)

    def test_a_folder_of_the_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "owner" / "knees").mkdir(parents=True)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(KRError, match=r"a folder owner/knees lies here.*give ./owner/knees$"):
            opened("hf:owner/knees")

    def test_offline(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is faked here but the switch that `HF_HUB_OFFLINE=1` turns."""
        import huggingface_hub.constants

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
        expected = (
            r"^hf:owner/knees: could not be fetched \(.*\); on a machine that can, run `hf "
            r"download owner/knees --repo-type dataset --local-dir DIR`, and give the folder DIR$"
        )
        with pytest.raises(KRError, match=expected):
            opened("hf:owner/knees")

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (
                datasets.exceptions.DatasetNotFoundError("x"),
                "is not on the Hub, or is not open to you",
            ),
            (
                ValueError("Config name is missing.\nPlease"),
                "by `datasets`: Config name is missing.$",
            ),
            (
                RuntimeError("Dataset scripts are no longer supported"),
                "scripts are no longer supported",
            ),
        ],
    )
    def test_errors(self, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: str) -> None:
        def load(*arguments: Any) -> None:
            raise error

        monkeypatch.setattr(datasets, "load_dataset", load)
        with pytest.raises(KRError, match=expected):
            opened("hf:owner/knees")

    def test_datasets_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "datasets", None)
        expected = r"^sets of the Hub need `datasets`: pip install 'knowledge-recycling\[hf\]'$"
        with pytest.raises(KRError, match=expected):
            opened("hf:owner/knees")


def test_pyarrow_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = plain(tmp_path / "x.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(KRError, match=r"need pyarrow: pip install 'knowledge-recycling\[hf\]'$"):
        opened(path)
