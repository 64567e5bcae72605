"""Versions, aliases and the champion in a real SQLite registry, with figures worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ricefish.cli.models import app
from scans.intensity import IntensityRule, Window
from scans.model.manifest import Golden, ManifestError, ModelManifest, file_sha256
from scans.model.shadow_agreement import TAG, ShadowAgreement
from scans.organs import OrganMap
from scans.registry.champion import CANDIDATE, CHAMPION
from scans.registry.gate import GateLimits
from scans.tracking import TRACKING_URI, tracking_uri
from training.registry.promotion import promote
from training.registry.version import Version
from training.registry.versions import ModelRegistryError, Registry
from training.stage_files import StageFileError
from training.stages.register import EVALUATION_FILE, QUALITY_DIR, STUDENT_DIR, register
from training.tracking import provenance, runs

pytestmark = pytest.mark.slow

LIMITS = GateLimits(least_mean_dice=0.5, greatest_mean_loss=0.0, greatest_organ_loss=0.03)
ORGANS = OrganMap.from_mapping({1: "heart", 2: "liver"})


@dataclass(frozen=True)
class Pipeline:
    """What export and evaluate leave behind, registered as often as a test wants."""

    registry: Registry
    run_id: str

    def export(
        self, content: bytes, *, heart: float, liver: float, data: str = "first data", data_set: str = "medaka"
    ) -> None:
        """Writes both models, and the Student's Dice on the one validation volume."""
        for folder, kind, written in ((STUDENT_DIR, "segmentation", content), (QUALITY_DIR, "quality", b"judge")):
            dice = (heart + liver) / 2 if kind == "segmentation" else 0.0
            _model(folder, written, kind=kind, dice=dice, data=data, data_set=data_set)
        organs = {"heart": {"dice": heart, "iou": 0.5}, "liver": {"dice": liver, "iou": 0.5}}
        EVALUATION_FILE.parent.mkdir(exist_ok=True)
        EVALUATION_FILE.write_text(json.dumps({"student": {"volumes": {"fish_1": {"organs": organs}}}}))

    def register(self, content: bytes, *, heart: float, liver: float, data: str = "first data") -> Version:
        """Exports and registers."""
        self.export(content, heart=heart, liver=liver, data=data)
        return register(self.registry.name, limits=LIMITS, run_id=self.run_id, parent_id=self.run_id)

    @property
    def champion(self) -> int | None:
        found = self.registry.at(CHAMPION)
        return found.number if found else None


def _model(folder: Path, content: bytes, *, kind: str, dice: float, data: str, data_set: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    blank = np.zeros((2, 2))
    ModelManifest(
        name="fish",
        kind="quality" if kind == "quality" else "segmentation",
        organs=ORGANS,
        intensity=IntensityRule(0.0, 100.0),
        model_sha256=file_sha256(folder / "model.onnx"),
        data_sha256=data,
        data_set=data_set,
        spacing_mm=((0.1, 0.1), (0.1, 0.1), (0.1, 0.1)),
        intensity_range=(0.0, 1.0),
        golden=Golden(blank.astype(np.float32), Window(0.0, 1.0), blank.astype(np.uint8)),
        metrics={"mean_dice": dice, "control.mean_dice": dice - 0.05},
        git_commit="0123456789abcdef",
    ).write(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The id of one run, in a store that the tests of this file share: each has a registered model of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("registry"))
        for name in (TRACKING_URI, "RANK", provenance.DVC_STAGE):
            patch.delenv(name, raising=False)
        client = runs.connect()
        patch.setenv(TRACKING_URI, tracking_uri())
        experiment = client.create_experiment("ricefish", artifact_location=(Path.cwd() / "mlruns").as_uri())
        yield client.create_run(experiment).info.run_id


@pytest.fixture
def pipeline(run: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.chdir(tmp_path)
    return Pipeline(Registry(request.node.name.removeprefix("test_")[:60]), run)


def test_a_version_holds_the_files_byte_for_byte(pipeline: Pipeline, tmp_path: Path) -> None:
    """model.onnx and manifest.json of both models, MLflow's own file with the signature, and tags that say whence."""
    version = pipeline.register(b"student", heart=0.8, liver=0.6)
    stored = pipeline.registry.fetch(version, tmp_path / "stored")
    for name in ("model.onnx", "manifest.json"):
        assert (stored / name).read_bytes() == (STUDENT_DIR / name).read_bytes()
        assert (stored / "quality_classifier" / name).read_bytes() == (QUALITY_DIR / name).read_bytes()
    ModelManifest.read(stored).verify(stored)
    assert (version.number, version.aliases) == (1, (CANDIDATE,))
    assert version.sha256 == file_sha256(STUDENT_DIR / "model.onnx")
    assert (version.data_sha256, version.tags["git_commit"]) == ("first data", "0123456789abcdef")
    assert GateLimits.noted(version.tags) == LIMITS
    assert version.metrics == pytest.approx({"mean_dice": 0.7, "control.mean_dice": 0.65})
    signature = (stored / "MLmodel").read_text()
    assert all(f'"{name}"' in signature for name in ("slices", "window", "segmentation", "confidence"))


def test_the_same_model_is_registered_once(pipeline: Pipeline) -> None:
    """A second time makes no version; another model does, and then the first is the candidate again, as version 1."""
    assert pipeline.register(b"one", heart=0.8, liver=0.6).number == 1
    assert pipeline.register(b"one", heart=0.8, liver=0.6).number == 1
    assert pipeline.register(b"two", heart=0.8, liver=0.6).number == 2
    again = pipeline.register(b"one", heart=0.8, liver=0.6)
    assert (again.number, again.aliases) == (1, (CANDIDATE,))
    assert [version.number for version in pipeline.registry.versions()] == [2, 1]


def test_a_file_that_is_not_the_manifests_is_not_registered(pipeline: Pipeline) -> None:
    """Something changed model.onnx after the export."""
    pipeline.export(b"one", heart=0.8, liver=0.6)
    (STUDENT_DIR / "model.onnx").write_bytes(b"tampered")
    with pytest.raises(ManifestError, match="has SHA-256"):
        register(pipeline.registry.name, limits=LIMITS, run_id=pipeline.run_id, parent_id=pipeline.run_id)
    assert pipeline.registry.versions() == ()


def test_a_model_whose_scores_cannot_be_read_is_not_registered(pipeline: Pipeline) -> None:
    """It could never be promoted; the file is named, with what makes it again."""
    pipeline.export(b"one", heart=0.8, liver=0.6)
    for content in ('{"student": {"volu', '{"student": {}}', ""):
        EVALUATION_FILE.write_text(content)
        with pytest.raises(StageFileError, match=rf"^{EVALUATION_FILE} is damaged.*`dvc repro` makes it again$"):
            register(pipeline.registry.name, limits=LIMITS, run_id=pipeline.run_id, parent_id=pipeline.run_id)
    assert pipeline.registry.versions() == ()


def test_the_champion_moves_when_the_gate_holds_and_back_again(pipeline: Pipeline) -> None:
    """First 0.70; 0.71 passes; 0.72 with a worse liver does not, by force it does; then back, and back again."""
    pipeline.register(b"one", heart=0.80, liver=0.60)
    first = promote(pipeline.registry, None, limits=LIMITS)
    assert (first.promoted, first.failures, pipeline.champion) == (True, (), 1)
    assert first.verdict and [row.champion for row in first.verdict.rows] == [None, None, None]

    pipeline.register(b"two", heart=0.83, liver=0.59)
    second = promote(pipeline.registry, None, limits=LIMITS)
    assert (second.promoted, second.failures, pipeline.champion) == (True, (), 2)

    pipeline.register(b"three", heart=0.90, liver=0.54)
    third = promote(pipeline.registry, None, limits=LIMITS)
    assert third.failures == ("Dice of liver falls from 0.5900 to 0.5400; a loss of 0.03 is allowed",)
    assert (third.promoted, pipeline.champion) == (False, 2)

    assert promote(pipeline.registry, None, limits=LIMITS, force="the liver was mislabelled").promoted
    tags = pipeline.registry.version(3).tags
    assert (pipeline.champion, tags["promotion"]) == (3, "forced")
    assert tags["forced_because"] == "the liver was mislabelled"

    assert [version.number for version in pipeline.registry.rollback()] == [3, 2]
    assert [version.number for version in pipeline.registry.rollback()] == [2, 1]
    with pytest.raises(ModelRegistryError, match="version 1 is the first champion"):
        pipeline.registry.rollback()
    assert pipeline.champion == 1


def test_an_older_version_is_promoted_by_its_number(pipeline: Pipeline) -> None:
    """And one that does not exist is an error that says which there are."""
    pipeline.register(b"one", heart=0.8, liver=0.6)
    pipeline.register(b"two", heart=0.8, liver=0.6)
    assert promote(pipeline.registry, 1, limits=LIMITS).promoted
    assert pipeline.champion == 1
    with pytest.raises(ModelRegistryError, match="has no version 7; there are 2, 1"):
        promote(pipeline.registry, 7, limits=LIMITS)


def test_models_of_different_data_are_not_compared_by_their_own_scores(pipeline: Pipeline) -> None:
    """Validated on other volumes, and those of the candidate are not here: the gate says so and promotes nothing."""
    pipeline.register(b"one", heart=0.8, liver=0.6)
    promote(pipeline.registry, None, limits=LIMITS)
    pipeline.register(b"two", heart=0.9, liver=0.9, data="second data")
    done = promote(pipeline.registry, None, limits=LIMITS)
    assert not done.promoted
    assert "was validated on other volumes" in done.failures[0]
    assert pipeline.champion == 1


def test_no_model_below_the_floor_becomes_champion(pipeline: Pipeline) -> None:
    """Not as the first, which has nothing to be compared with, unless by force with a reason."""
    pipeline.register(b"one", heart=0.018, liver=0.0)
    done = promote(pipeline.registry, None, limits=LIMITS)
    said = "mean Dice is 0.0090; no model below 0.5 becomes champion (register.least_mean_dice in params.yaml)"
    assert (done.promoted, done.failures, pipeline.champion) == (False, (said,), None)
    assert promote(pipeline.registry, None, limits=LIMITS, force="to try the server").promoted
    assert "promoted by force: to try the server" in CliRunner().invoke(app, ["list", pipeline.registry.name]).output
    pipeline.register(b"two", heart=0.4, liver=0.59)
    better = promote(pipeline.registry, None, limits=LIMITS)
    assert (better.promoted, pipeline.champion) == (False, 1)
    assert "no model below 0.5" in better.failures[0]
    pipeline.register(b"three", heart=0.4, liver=0.6)
    assert promote(pipeline.registry, None, limits=LIMITS).promoted


def test_a_first_champion_without_an_evaluation_is_refused(pipeline: Pipeline) -> None:
    """Nobody knows whether it reaches the floor."""
    version = pipeline.register(b"one", heart=0.8, liver=0.8)
    runs.connect().delete_model_version_tag(version.name, "1", "evaluation_run")
    done = promote(pipeline.registry, None, limits=LIMITS)
    assert (done.promoted, "has no evaluation" in done.failures[0]) == (False, True)


def test_models_of_other_data_do_not_take_a_name(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of another data set, nor of other organs: no version is made, no alias moves, and the way out is said."""
    pipeline.register(b"one", heart=0.8, liver=0.6)
    promote(pipeline.registry, None, limits=LIMITS)
    pipeline.export(b"two", heart=0.9, liver=0.9, data_set="headneck_ct")
    name = pipeline.registry.name
    refused = r"version 1 is of the data set medaka, this model of headneck_ct; .*register\.model in params"
    with pytest.raises(ModelRegistryError, match=refused):
        register(name, limits=LIMITS, run_id=pipeline.run_id, parent_id=pipeline.run_id)
    monkeypatch.setattr(f"{__name__}.ORGANS", OrganMap.from_mapping({1: "mandible"}))
    pipeline.export(b"three", heart=0.9, liver=0.9)
    with pytest.raises(ModelRegistryError, match="is of the organs heart, liver, this model of mandible; register it"):
        register(name, limits=LIMITS, run_id=pipeline.run_id, parent_id=pipeline.run_id)
    assert [version.aliases for version in pipeline.registry.versions()] == [(CANDIDATE, CHAMPION)]
    assert register(f"{name}_mandible", limits=LIMITS, run_id=pipeline.run_id, parent_id=pipeline.run_id).number == 1


def test_a_data_set_that_grows_keeps_its_name(pipeline: Pipeline) -> None:
    """More volumes are the same data set, and the candidate moves."""
    pipeline.register(b"one", heart=0.8, liver=0.6)
    assert pipeline.register(b"two", heart=0.8, liver=0.6, data="more data").aliases == (CANDIDATE,)


def test_the_command_says_which_condition_failed(pipeline: Pipeline) -> None:
    """promote prints a table and exits with 1; --force without a reason is refused; rollback and list say what is."""
    name, runner = pipeline.registry.name, CliRunner()
    Path("params.yaml").write_text((Path(__file__).resolve().parents[3] / "params.yaml").read_text())
    pipeline.register(b"one", heart=0.80, liver=0.60)
    first = runner.invoke(app, ["promote", name]).output
    assert "version 1 is the champion" in first and "no champion yet" in first and "0.5 or more" in first
    pipeline.register(b"two", heart=0.70, liver=0.62)
    refused = runner.invoke(app, ["promote", name])
    assert refused.exit_code == 1
    falls = ("Dice of heart falls from 0.8000 to 0.7000", "mean Dice falls from 0.7000 to 0.6600")
    expected = (*falls, "FAILS", "-0.03 at worst", "no loss", "without pseudo-labels: mean Dice 0.6100")
    assert [said for said in expected if said not in refused.output] == []
    assert runner.invoke(app, ["promote", name, "--force", " "]).exit_code == 2
    assert "by force" in runner.invoke(app, ["promote", name, "--force", "it is urgent"]).output
    listed = CliRunner(env={"COLUMNS": "30"}).invoke(app, ["list", name])
    assert (listed.exit_code, "champion" in listed.output, "0123456789" in listed.output) == (0, True, True)
    assert "promoted by force: it is urgent" in listed.output
    newest, oldest = json.loads(runner.invoke(app, ["list", name, "--json"]).output)
    assert (newest["version"], newest["aliases"], oldest["mean_dice"]) == (2, [CANDIDATE, CHAMPION], 0.7)
    assert (oldest["control_mean_dice"], oldest["control_mean_iou"]) == (pytest.approx(0.65), None)
    assert (newest["forced_because"], newest["data_set"], newest["missing"]) == ("it is urgent", "medaka", None)
    assert "version 1 is the champion again" in runner.invoke(app, ["rollback", name]).output
    assert runner.invoke(app, ["rollback", name]).exit_code == 1
    for command in ("list", "promote", "show"):
        unheard = runner.invoke(app, [command, "unheard_of"]).output
        assert "no version of unheard_of is registered; there are" in unheard and name in unheard


def test_the_verdict_holds_what_a_shadow_found(pipeline: Pipeline) -> None:
    """One line, with the champion that it was compared with, whether that still is the champion; it decides nothing."""
    pipeline.register(b"one", heart=0.80, liver=0.60)
    assert promote(pipeline.registry, None, limits=LIMITS).shadow is None
    pipeline.register(b"two", heart=0.85, liver=0.65)
    name, client = pipeline.registry.name, runs.connect()
    agreement = ShadowAgreement(name, "1", 7, {"heart": 0.2, "liver": 0.4})
    client.set_model_version_tag(name, "2", TAG, agreement.to_tag())
    line = "shadow: agreement with champion version 1 over 7 scans: mean Dice 0.3000, worst organ heart 0.2000"
    done = promote(pipeline.registry, None, limits=LIMITS)
    assert (done.promoted, done.shadow) == (True, line)
    pipeline.register(b"three", heart=0.86, liver=0.66)
    client.set_model_version_tag(name, "3", TAG, agreement.to_tag())
    Path("params.yaml").write_text((Path(__file__).resolve().parents[3] / "params.yaml").read_text())
    said = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["promote", name]).output
    assert f"{line}; the champion is version 2 now" in said and "version 3 is the champion" in said
    client.set_model_version_tag(name, "2", TAG, "nonsense")
    found = promote(pipeline.registry, 2, limits=LIMITS, force="as before")
    assert found.promoted and found.shadow == "shadow: the tag shadow_agreement is 'nonsense', which no server wrote"
