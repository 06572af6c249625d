from __future__ import annotations

from pathlib import Path

import pytest

from knowledge_recycling.config import PRESETS, Config
from knowledge_recycling.errors import KRError


def test_unknown_field_names_the_near_one() -> None:
    with pytest.raises(
        KRError, match=r"teacher\.widht: unknown field; did you mean teacher\.width"
    ):
        Config.resolve("digits", settings=["teacher.widht=8"])


def test_unknown_section_names_the_near_one() -> None:
    with pytest.raises(KRError, match=r"techer: unknown field; did you mean teacher"):
        Config.resolve("digits", settings=["techer.width=8"])


def test_wrong_value_names_field_and_value() -> None:
    with pytest.raises(KRError, match=r"teacher\.steps: .*greater than or equal to 1.*got 0"):
        Config.resolve("digits", settings=["teacher.steps=0"])


def test_setting_without_value() -> None:
    with pytest.raises(KRError, match="expected stage.field=value"):
        Config.resolve("digits", settings=["teacher.steps"])


def test_unknown_preset() -> None:
    with pytest.raises(KRError, match="preset: 'huge' is not one of demo, fast, paper"):
        Config.resolve("digits", preset="huge")


def test_later_layers_win(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("preset: demo\nteacher: {width: 8, steps: 7}\n")
    config = Config.resolve("digits", file=file, settings=["teacher.steps=9"], seed=3)
    assert (config.preset, config.teacher.width, config.teacher.steps) == ("demo", 8, 9)
    assert (config.seed, config.data.source) == (3, "digits")


def test_yaml_round_trip(tmp_path: Path) -> None:
    config = Config.resolve("digits", preset="paper", settings=["distillation.blocks=[1, 2]"])
    (tmp_path / "c.yaml").write_text(config.dump())
    assert Config.load(tmp_path / "c.yaml") == config


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid(preset: str) -> None:
    assert Config.resolve("digits", preset=preset).preset == preset


def test_paper_preset_is_the_papers_family() -> None:
    paper = Config.resolve("digits", preset="paper")
    assert paper.generator.method == "biggan"
    assert (paper.teacher.width, paper.teacher.blocks) == (64, (2, 2, 2, 2))


def test_runtime_is_no_difference() -> None:
    plain = Config.resolve("digits")
    assert plain.differences(Config.resolve("digits", settings=["runtime.device=cuda"])) == []
    assert plain.differences(Config.resolve("digits", settings=["tuning.trials=3"])) == [
        f"tuning.trials: {plain.tuning.trials} here, 3 there"
    ]


def test_paths_last_and_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Config.resolve("sets/a.npz").data.source == str(tmp_path / "sets" / "a.npz")
    assert Config.resolve("a.npz").data.source == str(tmp_path / "a.npz")
    assert Config.resolve("./digits").data.source == str(tmp_path / "digits")
    assert Config.resolve("breastmnist_64").data.source == "breastmnist_64"


def test_file_that_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(KRError, match="cannot be read as YAML"):
        Config.load(tmp_path / "missing.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(KRError, match="holds no configuration"):
        Config.load(tmp_path / "list.yaml")
