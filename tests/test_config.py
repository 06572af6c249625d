from __future__ import annotations

from pathlib import Path

import pytest

from knowledge_recycling.config import METHODS, PRESETS, BigGAN, Config
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
    with pytest.raises(KRError, match="preset: 'huge' is not one of demo, fast, paper, private"):
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


PRIVATE = ("private", "moments")
"""What an epsilon asks for, and what asks for an epsilon."""


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid(preset: str) -> None:
    settings = ["privacy.epsilon=3"] if preset == "private" else []
    assert Config.resolve("digits", preset=preset, settings=settings).preset == preset


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
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert Config.resolve("~/sets/a.npz").data.source == str(tmp_path / "me" / "sets" / "a.npz")


def test_file_that_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(KRError, match="cannot be read as YAML"):
        Config.load(tmp_path / "missing.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(KRError, match="holds no configuration"):
        Config.load(tmp_path / "list.yaml")


def test_a_field_of_another_method_is_refused_with_its_owners() -> None:
    with pytest.raises(KRError, match=r"generator\.penalty: a field of r3gan, not of latent$"):
        Config.resolve("digits", settings=["generator.penalty=1.0"])
    with pytest.raises(KRError, match=r"latent_dim: a field of biggan and r3gan, not of latent$"):
        Config.resolve("digits", settings=["generator.latent_dim=64"])
    with pytest.raises(KRError, match=r"latent_channels: a field of latent, not of biggan$"):
        Config.resolve("digits", preset="paper", settings=["generator.latent_channels=[8, 16]"])


def test_unknown_method_and_field_of_a_method_are_named() -> None:
    with pytest.raises(KRError, match=r"generator\.method: 'gan' is not one of latent, biggan, r3"):
        Config.resolve("digits", settings=["generator.method=gan"])
    with pytest.raises(KRError, match=r"generator\.penalti: unknown field; did you mean generator"):
        Config.resolve("digits", settings=["generator.method=r3gan", "generator.penalti=1"])


@pytest.mark.parametrize("preset", [name for name in PRESETS if name not in PRIVATE])
@pytest.mark.parametrize("method", [name for name in METHODS if name not in PRIVATE])
def test_the_method_alone_can_be_set_over_any_preset(preset: str, method: str) -> None:
    section = Config.resolve("digits", preset=preset, settings=[f"generator.method={method}"])
    assert isinstance(section.generator, METHODS[method])
    wanted = {**PRESETS[preset].get("generator", {}), "method": method}
    found = section.generator.model_dump()
    for name, value in wanted.items():
        assert found.get(name, value) == value
    assert set(found) == set(METHODS[method].model_fields)


def test_an_old_file_may_hold_other_methods_fields_as_they_stood(tmp_path: Path) -> None:
    """Runs wrote the fields of all methods: as defaults or presets had them they say nothing."""
    old = (
        "preset: demo\ngenerator: {method: biggan, latent_channels: [4], penalty: 1.0, width: 8}\n"
    )
    (tmp_path / "c.yaml").write_text(old)
    for config in (Config.load(tmp_path / "c.yaml"), Config.resolve("", file=tmp_path / "c.yaml")):
        assert isinstance(config.generator, BigGAN)
        assert config.generator.width == 8
    (tmp_path / "c.yaml").write_text(old.replace("[4]", "[5]"))
    with pytest.raises(KRError, match=r"latent_channels: a field of latent, not of biggan"):
        Config.load(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("setting", "takes"),
    [
        ("tuning.latent_std=[2, 1]", "two numbers, 0 < lowest <= highest"),
        ("tuning.temperature=[0, 1]", "two numbers, 0 < lowest <= highest"),
        ("tuning.temperature=[-2, -1]", "two numbers, 0 < lowest <= highest"),
        ("tuning.filter_threshold=[0.5, 1.5]", "two numbers, 0 <= lowest <= highest <= 1"),
        ("tuning.filter_threshold=[-0.1, 0.5]", "two numbers, 0 <= lowest <= highest <= 1"),
    ],
)
def test_impossible_ranges_are_refused(setting: str, takes: str) -> None:
    name = setting.partition("=")[0]
    with pytest.raises(KRError, match=rf"{name}: takes {takes} \(got"):
        Config.resolve("digits", settings=[setting])


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_numbers_are_finite(value: str) -> None:
    with pytest.raises(KRError, match=r"teacher\.learning_rate: Input should be a finite number"):
        Config.resolve("digits", settings=[f"teacher.learning_rate={value}"])


def test_two_methods_differ_in_the_method_and_in_what_both_have() -> None:
    latent = Config.resolve("digits", settings=["generator.steps=5"])
    biggan = Config.resolve("digits", settings=["generator.method=biggan", "generator.steps=6"])
    assert latent.differences(biggan) == [
        "generator.method: latent here, biggan there",
        "generator.steps: 5 here, 6 there",
    ]
