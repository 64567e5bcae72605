"""params.yaml: the profiles that ship, and mistakes that are refused by the name of their key."""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from training.params import Params, Phantoms, load_params
from training.profiles import ParamsError, to_dict
from training.stages.resolve import resolve

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
PROFILES = ("demo", "headneck_ct", "paper", "strong")


def content() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(PARAMS.read_text())
    return loaded


def load(tmp_path: Path, changed: Any) -> Params:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(changed))
    return load_params(path)


@pytest.mark.parametrize("profile", PROFILES)
def test_each_profile_can_be_switched_to(tmp_path: Path, profile: str) -> None:
    """Changing `profile` alone gives the numbers of that profile."""
    whole = content() | {"profile": profile}
    params = load(tmp_path, whole)
    assert params.train_classifier.side == {"demo": 48, "headneck_ct": 128}.get(profile, 256)
    assert params.train_student.alpha == whole["train_student"]["alpha"]
    assert params.prepare.raw_dir == Path(whole["raw_dir"])


def test_a_profile_states_nothing_that_it_would_inherit(tmp_path: Path) -> None:
    """Without any one of the values that a profile states, its values in force are others: nothing stands twice."""
    for profile in PROFILES:
        whole = content() | {"profile": profile}
        in_force = load(tmp_path, whole)
        for keys in _leaves(whole["profiles"][profile]):
            changed = copy.deepcopy(whole)
            section = changed["profiles"][profile]
            for key in keys[:-1]:
                section = section[key]
            del section[keys[-1]]
            with suppress(ParamsError):  # values that go together only as they are
                assert load(tmp_path, changed) != in_force, f"profiles.{profile}.{'.'.join(keys)} says nothing new"


def _leaves(section: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from ((key, *inner) for inner in _leaves(value))
        else:
            yield (key,)


FOURTH = """\
  # Whole mouse embryos: two GPUs, more organs, fewer scans.
  mouse:
    based_on: paper
    workers: 4
    sampling: {crop: 320}
    augmentation: {rotation_degrees: 30}
    prepare: {validation_share: 0.5}
    train_teacher:
      encoder: resnet34
      schedule: {epochs: 40}
    train_student: {augmentation: {noise: 0.1}}
"""


def test_a_fourth_profile_is_a_few_lines(tmp_path: Path) -> None:
    """Appended to the file it loads: its own values, the paper's where it has none, the demo's where nor has that."""
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.read_text().replace("profile: demo", "profile: mouse") + FOURTH)
    params = load_params(path)
    assert len(FOURTH.splitlines()) < 15
    assert (params.train_teacher.encoder, params.train_teacher.encoder_depth) == ("resnet34", 5)
    assert (params.train_teacher.schedule.epochs, params.train_teacher.schedule.batch_size) == (40, 64)
    assert (params.train_student.sampling.crop, params.label_quality.sampling.crop) == (320, 320)
    assert (params.train_student.augmentation.noise, params.train_teacher.augmentation.noise) == (0.1, 0.02)
    assert (params.label_quality.augmentation.rotation_degrees, params.label_quality.augmentation.mirror_x) == (30, 0.5)
    assert (params.prepare.validation_share, params.refine.threshold) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        ({"a": {"based_on": "b"}, "b": {}, "demo": {}}, None),
        ({"a": None, "demo": {}}, None),
        ({"a": {"based_on": "c"}, "demo": {}}, r"profiles\.a\.based_on is 'c'; expected one of \['a', 'demo'\]"),
        ({"a": {"based_on": "b"}, "b": {"based_on": "a"}}, r"profiles\.b\.based_on is 'a', which is itself based on"),
        ({"a": {"based_on": ["b"]}, "b": {}}, r"profiles\.a\.based_on is \['b'\]; expected one of"),
        ({"a": 3}, r"profiles\.a is 3; expected a section"),
        ({"a": {"based_on": "b"}, "b": {"sed": 3}}, r"profiles\.b\.sed is unknown"),
        ({"a": {"augmentation": {"nose": 3}}}, r"profiles\.a\.augmentation\.nose is unknown; .* has .*noise"),
        ({"a": {"workers": "two"}}, r"profiles\.a\.workers is 'two'; expected a whole number"),
        ({"a": {"prepare": {"phantoms": None}}}, r"profiles\.a\.prepare\.phantoms is empty; expected a section"),
    ],
)
def test_what_is_inherited_can_be_followed(tmp_path: Path, profiles: dict[str, Any], message: str | None) -> None:
    """A profile may be empty or based on another; what is wrong in any of them is named where it stands."""
    whole = content() | {"profile": "a", "profiles": profiles}
    if message is None:
        assert load(tmp_path, whole) == load(tmp_path, content() | {"profile": "empty", "profiles": {"empty": {}}})
        return
    with pytest.raises(ParamsError, match=message):
        load(tmp_path, whole)


@pytest.mark.parametrize("section", ["label_quality", "pseudo_label"])
def test_other_teachers_are_trained_as_the_teacher_unless_it_is_said(tmp_path: Path, section: str) -> None:
    """Schedule and augmentation of train_teacher are theirs too; what their own section states counts for it alone."""
    own = {"train_teacher": {"schedule": {"epochs": 7}, "augmentation": {"noise": 0.2}, "dice_weight": 0.5}}
    whole = content() | {"profile": "a", "profiles": {"a": own}}
    params = load(tmp_path, whole)
    teacher, fitting = params.train_teacher, getattr(params, section)
    assert (fitting.schedule, fitting.augmentation) == (teacher.schedule, teacher.augmentation)
    assert (fitting.schedule.epochs, fitting.augmentation.noise, fitting.dice_weight) == (7, 0.2, 0.5)
    assert params.train_student.augmentation.noise != 0.2

    own[section] = {"schedule": {"epochs": 2}}
    changed = load(tmp_path, whole)
    assert (getattr(changed, section).schedule.epochs, changed.train_teacher.schedule.epochs) == (2, 7)
    assert getattr(changed, section).schedule.steps_per_epoch == teacher.schedule.steps_per_epoch

    own["train_teacher"]["schedule"]["epochs"] = 0
    with pytest.raises(ParamsError, match=r"profiles\.a\.train_teacher\.schedule\.epochs is 0"):
        load(tmp_path, whole)


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
        (_set("train_student", "aplha", 0.2), r"^train_student\.aplha is unknown; .* has .*alpha"),
        (_set("train_teacher.schedule", "epoch", 3), r"^train_teacher\.schedule\.epoch is unknown"),
        (_set("profiles.demo", "train", {"alpha": 3}), r"^profiles\.demo\.train is unknown; .* has .*train_student"),
        (_drop("refine", "threshold"), r"^refine\.threshold is missing"),
        (_drop("augmentation", "noise"), r"^train_teacher\.augmentation\.noise is missing"),
        (_set("train_teacher.schedule", "epochs", 2.5), r"schedule\.epochs is 2\.5; expected a whole number"),
        (_set("train_teacher.schedule", "epochs", True), r"schedule\.epochs is True; expected a whole number"),
        (_set("train_student", "alpha", "much"), r"train_student\.alpha is 'much'; expected a number"),
        (_set("train_student", "alpha", True), r"train_student\.alpha is True; expected a number"),
        (_set("train_student", "distillation", 1), r"train_student\.distillation is 1; expected true or false"),
        (_set("train_teacher", "encoder", None), r"train_teacher\.encoder is empty; expected text"),
        (_set("train_teacher", "sampling", 64), r"train_teacher\.sampling is 64; expected a section"),
        (_set("prepare", "raw_dir", "elsewhere"), r"prepare\.raw_dir is unknown; raw_dir stands beside `profile`"),
    ],
)
def test_a_wrong_key_is_refused_by_name(tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    """A key that is misspelt, missing or of another type stops the stage, with its full name in the message."""
    whole = content() | {"profile": "demo"}
    change(whole)
    with pytest.raises(ParamsError, match=message):
        load(tmp_path, whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"profile": "dmeo"}, "profile is 'dmeo'; expected one of .*'demo'"),
        ({"profile": ["demo"]}, r"profile is \['demo'\]"),
        ({"profiles": None}, "profile is 'demo'"),
        ({"raw_dir": 3}, "raw_dir is 3; expected a path"),
        ({"raw_dir": ""}, "raw_dir is ''; expected a path"),
        ({"sed": 1}, r"^sed is unknown; params\.yaml has .*seed"),
        ({"shedule": {}}, r"^shedule is unknown; params\.yaml has .*schedule"),
        ({"schedule": 3}, r"^schedule is 3; expected a section"),
    ],
)
def test_what_is_wrong_around_the_profiles_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """The file's own keys are checked as a profile's are."""
    with pytest.raises(ParamsError, match=message):
        load(tmp_path, content() | {"profile": "demo"} | change)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """A stage started in another folder, a broken file, or one of something else, is told which file it wanted."""
    with pytest.raises(ParamsError, match=r"params\.yaml does not exist; stages run in the root of the repository"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("seed: 1")
    with pytest.raises(ParamsError, match=r"params\.yaml must hold the keys profile, raw_dir, profiles"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("profile: [demo")
    with pytest.raises(ParamsError, match=r"params\.yaml cannot be read"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(("written", "rate"), [("1e-05", 1e-5), ("3E-4", 3e-4), ("0.002", 0.002), ("1", 1.0)])
def test_small_numbers_are_read_however_they_are_written(tmp_path: Path, written: str, rate: float) -> None:
    """1e-05, as `dvc exp run -S` writes it, is the number that it looks like, and so is a whole number."""
    whole = content() | {"profile": "demo"}
    whole["schedule"]["learning_rate"] = "RATE"
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


def test_the_values_in_force_are_written_as_a_stage_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """params.resolved.yaml: every section is whole, with what is shared, and lists and folders are plain values."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMS.read_text().replace("profile: demo", "profile: headneck_ct"))
    resolve()
    written = yaml.safe_load(Path("params.resolved.yaml").read_text())
    assert set(written) == {field.name for field in dataclasses.fields(Params)}
    assert written["prepare"]["raw_dir"] == "data/phantom"
    assert written["train_teacher"]["augmentation"]["rotation_degrees"] == 10
    assert written["train_student"]["augmentation"]["rotation_degrees"] == 15
    assert written["export"]["precisions"] == ["int8", "float16"]


def test_a_change_that_another_value_hides_is_said_to_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The classifier's side is 48 in the demo and the profile's own in headneck_ct: 49 changes nothing there."""
    monkeypatch.chdir(tmp_path)
    text = PARAMS.read_text().replace("profile: demo", "profile: headneck_ct")
    Path("params.yaml").write_text(text)
    resolve()
    assert not caplog.messages
    Path("params.yaml").write_text(text.replace("  side: 48", "  side: 49"))
    resolve()
    assert "no value that is in force has changed" in caplog.text
