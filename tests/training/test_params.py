"""params.yaml: the profiles that ship, and mistakes that are refused by the name of their key."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from training.params import Params, ParamsError, Phantoms, load_params, to_dict

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
PROFILES = ("demo", "headneck_ct", "paper")


def content() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(PARAMS.read_text())
    return loaded


def load(tmp_path: Path, changed: Any) -> Params:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(changed))
    return load_params(path)


def keys(section: Mapping[str, Any]) -> set[str]:
    """Dotted names of all values of a section."""
    nested = [{f"{key}.{inner}" for inner in keys(value)} for key, value in section.items() if isinstance(value, dict)]
    return {key for key, value in section.items() if not isinstance(value, dict)}.union(*nested)


@pytest.mark.parametrize("profile", PROFILES)
def test_each_profile_can_be_switched_to(tmp_path: Path, profile: str) -> None:
    """Changing `profile` alone gives the numbers of that profile."""
    whole = content() | {"profile": profile}
    params = load(tmp_path, whole)
    assert params.train_student.schedule.epochs == whole["profiles"][profile]["train_student"]["schedule"]["epochs"]
    assert params.prepare.raw_dir == Path(whole["raw_dir"])


def test_profiles_differ_in_values_alone() -> None:
    """All three have exactly the same keys, and there are no others."""
    profiles = content()["profiles"]
    assert set(profiles) == set(PROFILES)
    assert keys(profiles["headneck_ct"]) == keys(profiles["demo"]) == keys(profiles["paper"])
    assert len({yaml.safe_dump(profile) for profile in profiles.values()}) == 3


def test_the_paper_s_profile_is_section_3_2(tmp_path: Path) -> None:
    """ResNet-18, Adam at 3e-4, crops of 256, batches of 64, 15 epochs and 5, cross-entropy alone, a = 0.1, tau = 4."""
    params = load(tmp_path, content() | {"profile": "paper"})
    teacher, student = params.train_teacher, params.train_student

    assert teacher.encoder == "resnet18"
    for stage in (teacher, student):
        assert stage.schedule.learning_rate == 3e-4
        assert stage.schedule.batch_size == 64
        assert not stage.schedule.one_cycle
        assert stage.sampling.crop == 256
        assert stage.dice_weight == 0.0
    assert (teacher.schedule.epochs, student.schedule.epochs) == (15, 5)
    assert (student.alpha, student.temperature) == (0.1, 4.0)
    assert student.pseudo_labels
    assert student.distillation
    assert student.teacher_checkpoint
    assert params.refine.quality_classifier
    assert params.prepare.validation_share == 0.25


def _set(section: str, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(profile: dict[str, Any]) -> None:
        for name in section.split("."):
            profile = profile[name]
        profile[key] = value

    return change


def _drop(section: str, key: str) -> Callable[[dict[str, Any]], None]:
    def change(profile: dict[str, Any]) -> None:
        for name in section.split("."):
            profile = profile[name]
        del profile[key]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("train_student", "aplha", 0.2), r"profiles\.demo\.train_student\.aplha is unknown; .* has .*alpha"),
        (_set("train_teacher.schedule", "epoch", 3), r"profiles\.demo\.train_teacher\.schedule\.epoch is unknown"),
        (_drop("refine", "threshold"), r"profiles\.demo\.refine\.threshold is missing"),
        (_set("train_teacher.schedule", "epochs", 2.5), r"schedule\.epochs is 2\.5; expected int"),
        (_set("train_teacher.schedule", "epochs", True), r"schedule\.epochs is True; expected int"),
        (_set("train_student", "alpha", "much"), r"train_student\.alpha is 'much'; expected float"),
        (_set("train_student", "alpha", True), r"train_student\.alpha is True; expected float"),
        (_set("train_student", "distillation", 1), r"train_student\.distillation is 1; expected bool"),
        (_set("train_teacher", "encoder", None), r"train_teacher\.encoder is None; expected str"),
        (_set("train_teacher", "sampling", 64), r"train_teacher\.sampling is 64; expected a section"),
        (_set("prepare", "raw_dir", "elsewhere"), r"prepare\.raw_dir is unknown; raw_dir stands beside `profile`"),
    ],
)
def test_a_wrong_key_is_refused_by_name(tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    """A key that is misspelt, missing or of another type stops the stage, with its full name in the message."""
    whole = content() | {"profile": "demo"}
    change(whole["profiles"]["demo"])
    with pytest.raises(ParamsError, match=message):
        load(tmp_path, whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"profile": "dmeo"}, "profile is 'dmeo'; expected one of .*'demo'"),
        ({"profile": ["demo"]}, r"profile is \['demo'\]"),
        ({"profiles": None}, "profile is 'demo'"),
        ({"raw_dir": 3}, "raw_dir is 3; expected Path"),
        ({"seed": 1}, "must hold the keys profile, raw_dir and profiles, and no others"),
    ],
)
def test_what_is_wrong_around_the_profiles_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """The file's own keys are checked as a profile's are."""
    with pytest.raises(ParamsError, match=message):
        load(tmp_path, content() | {"profile": "demo"} | change)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """A stage started in another folder, or a broken file, is told which file it wanted."""
    with pytest.raises(ParamsError, match=r"params\.yaml cannot be read"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("profile: [demo")
    with pytest.raises(ParamsError, match=r"params\.yaml cannot be read"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(("written", "rate"), [("1e-05", 1e-5), ("3E-4", 3e-4), ("0.002", 0.002), ("1", 1.0)])
def test_small_numbers_are_read_however_they_are_written(tmp_path: Path, written: str, rate: float) -> None:
    """1e-05, as `dvc exp run -S` writes it, is the number that it looks like, and so is a whole number."""
    whole = content() | {"profile": "demo"}
    whole["profiles"]["demo"]["train_teacher"]["schedule"]["learning_rate"] = "RATE"
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(whole).replace("RATE", written))
    found = load_params(path).train_teacher.schedule.learning_rate
    assert (found, type(found)) == (rate, float)


def test_sections_are_logged_flat_and_plain(tmp_path: Path) -> None:
    """Nested sections have dotted names, and paths are text."""
    params = load(tmp_path, content() | {"profile": "demo", "raw_dir": "data/raw"})
    logged = to_dict(params.prepare)
    phantoms: Phantoms = params.prepare.phantoms
    assert logged["raw_dir"] == "data/raw"
    assert logged["phantoms.depth"] == phantoms.depth
    assert "phantoms" not in logged
