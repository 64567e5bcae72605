"""The Quality Classifier, served with its model: what it says of slices, organs and scans; and what becomes of both."""

from __future__ import annotations

import csv
import dataclasses
import io
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness.offline import run_offline
from ricefish.cli.segment import segment
from ricefish.client import Client
from scans.intensity import Window
from scans.model.drift import QUANTILES, Answer, Seen, SeenVolume
from scans.model.manifest import MODEL_FILE, ModelManifest
from serving.inference.tuning import Tuner, TuningOverrides
from serving.models.served import ModelError, Models
from tests.serving.conftest import Example
from tests.serving.models import write_classifier, write_model
from tests.serving.running import RunningServer

SLICES = 30


def write_both(folder: Path, *, rounds: int = 0, threshold: float = 0.5) -> Path:
    """As the pipeline leaves them: the Student, and its classifier beside it."""
    write_classifier(folder / "quality_classifier", threshold=threshold)
    return write_model(folder / "student", rounds=rounds)


def offline(model: Path, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Segmentation, and the classifier's formula in NumPy, of a scan (Z, Y, X) in the window of its grey values."""
    window = Window(float(grey.min()), float(grey.max()))
    segmentation = run_offline(model, grey.astype(np.float32), window)
    normalised = (grey.astype(np.float32) - window.lower) / (window.upper - window.lower)
    return segmentation, np.where(segmentation == 1, normalised, 0).mean(axis=(1, 2))


@pytest.fixture(scope="module")
def judging(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[RunningServer]:
    """A server with a classifier that calls everything bad."""
    folder = tmp_path_factory.mktemp("judging")
    running = RunningServer(folder, write_both(folder / "models"), slab_slices=4)
    yield running.start()
    running.end()


def _done(server: RunningServer, path: Path, **query: str) -> str:
    scan_id: str = server.post(path, path.name, **query).json()["id"]
    assert server.until_ended(scan_id)["state"] == "succeeded", server.log
    return scan_id


def test_each_slice_has_the_probability_that_the_classifier_gives(judging: RunningServer, example: Example) -> None:
    """As NumPy works it out from grey values, window and answer; mean and share of bad ones over slices with organs."""
    scan_id = _done(judging, example.path)
    answer = judging.get(f"/v1/scans/{scan_id}/quality").json()
    segmentation, good = offline(judging.model, example.grey)
    assert [row["slice"] for row in answer["slices"]] == list(range(len(example.grey)))
    assert [row["good"] for row in answer["slices"]] == pytest.approx(good.tolist(), abs=2e-6)
    assert [row["organ_voxels"] for row in answer["slices"]] == np.count_nonzero(segmentation, axis=(1, 2)).tolist()
    assert answer["quality"]["mean"] == pytest.approx(good.mean(), abs=2e-6)
    assert (answer["quality"]["bad_share"], answer["quality"]["threshold"]) == (1.0, 0.5)
    assert answer["quality"] == judging.get(f"/v1/scans/{scan_id}").json()["quality"]
    with Client(judging.url) as client:
        assert client.quality(scan_id) == [row["good"] for row in answer["slices"]]


def test_each_organ_has_the_mean_of_its_slices(judging: RunningServer, example: Example) -> None:
    """Weighted by the organ's voxels in each; in how many slices it appears; the same as CSV."""
    scan_id = _done(judging, example.path)
    segmentation, good = offline(judging.model, example.grey)
    table = judging.get(f"/v1/scans/{scan_id}/organs?format=csv").text
    for row, line in zip(
        judging.get(f"/v1/scans/{scan_id}/organs").json()["organs"], csv.DictReader(io.StringIO(table)), strict=True
    ):
        voxels = np.count_nonzero(segmentation == row["index"], axis=(1, 2))
        assert row["good"] == pytest.approx(float(voxels @ good / voxels.sum()), abs=2e-6)
        assert row["slices"] == np.count_nonzero(voxels)
        assert (float(line["good"]), int(line["slices"])) == (row["good"], row["slices"])
        assert (row["quality"], line["quality"]) == (None, ""), "it says nothing of organs"
    lines = judging.http.get(f"{judging.url}/v1/scans/{scan_id}/quality", headers={"Accept": "text/csv"}).text
    rows = judging.get(f"/v1/scans/{scan_id}/quality").json()["slices"]
    assert [float(line["good"]) for line in csv.DictReader(io.StringIO(lines))] == [row["good"] for row in rows]


def test_a_scan_of_bad_slices_is_flagged_and_found(judging: RunningServer, example: Example) -> None:
    """The warning says how many are bad and how many may be; the list can be asked for such scans; they are counted."""
    scan_id = _done(judging, example.path)
    status = judging.get(f"/v1/scans/{scan_id}").json()
    assert status["flagged"] is True
    (warning,) = [warning for warning in status["warnings"] if warning["code"] == "quality"]
    assert warning["message"] == "the Quality Classifier calls 100% of the 11 slices with organs bad"
    assert (warning["found"], warning["expected"]) == ("1.00", "at most 0.5")
    assert scan_id in [scan["id"] for scan in judging.get("/v1/scans?flagged=true").json()["scans"]]
    assert scan_id not in [scan["id"] for scan in judging.get("/v1/scans?flagged=false").json()["scans"]]
    metrics = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(judging.get("/metrics").text)
        for sample in family.samples
    }
    flagged = len(judging.get("/v1/scans?flagged=true").json()["scans"])
    assert metrics["ricefish_drift_warnings_total", "quality", "thresholds"] == flagged
    assert metrics["ricefish_slice_good_probability_count", "thresholds"] == 11 * flagged
    assert metrics["ricefish_slab_stage_seconds_total", "judge"] > 0


@pytest.mark.process
def test_the_limit_is_a_setting(tmp_path: Path, example: Example) -> None:
    """Where all slices may be bad, or the classifier calls none bad, nothing is said of quality."""
    for name, threshold, limit in (("lenient", 0.5, 1.0), ("content", 0.0, 0.0)):
        model = write_both(tmp_path / name, threshold=threshold)
        server = RunningServer(tmp_path / f"{name}-server", model, quality_limit=limit)
        server.start()
        try:
            status = server.get(f"/v1/scans/{_done(server, example.path)}").json()
            assert "quality" not in [warning["code"] for warning in status["warnings"]]
            assert status["quality"]["bad_share"] == (1.0 if threshold else 0.0)
        finally:
            server.end()


@pytest.mark.process
@pytest.mark.parametrize(("limit", "flagged"), [(None, False), (0.5, True)])
def test_a_model_that_is_bad_everywhere_flags_only_where_it_is_told_to(
    tmp_path: Path, example: Example, limit: float | None, flagged: bool
) -> None:
    """Of its own volumes it segments as few slices well: only the setting makes a warning of that."""
    model = write_both(tmp_path / "models")
    answer = Answer((0.0, 0.0), (None, None), None, bad_share=1.0)
    seen = Seen((SeenVolume(Window(0, 1), (0.5,) * QUANTILES, answer),) * 4)
    dataclasses.replace(ModelManifest.read(model), seen=seen).write(model)
    given = {} if limit is None else {"quality_limit": limit}
    server = RunningServer(tmp_path / "server", model, **given)
    server.start()
    try:
        status = server.get(f"/v1/scans/{_done(server, example.path)}").json()
        assert ("quality" in [warning["code"] for warning in status["warnings"]]) == flagged
        assert status["quality"]["bad_share"] == 1.0
    finally:
        server.end()


@pytest.mark.process
def test_a_kill_changes_no_probability(tmp_path: Path) -> None:
    """SIGKILL in the middle of a scan: what it says in the end has the same bytes as an undisturbed scan's."""
    grey = np.random.default_rng(3).integers(0, 999, (48, 40, SLICES)).astype(np.int16)
    path = tmp_path / "fish.nii.gz"
    nib.save(nib.Nifti1Image(grey, np.eye(4)), path)
    server = RunningServer(tmp_path, write_both(tmp_path / "models", rounds=30), slab_slices=1).start()
    try:
        scan_id = server.post(path, "fish.nii.gz").json()["id"]
        server.until(lambda: len(server.slabs_logged(scan_id)) >= 5)
        server.end(signal.SIGKILL)
        assert len(server.slabs_logged(scan_id)) < SLICES
        server.start()
        assert server.until_ended(scan_id)["state"] == "succeeded", server.log
        undisturbed = _done(server, path)
        for of_scan in ("quality", "organs"):
            first, second = (
                server.get(f"/v1/scans/{name}/{of_scan}").text.replace(name, "ID") for name in (scan_id, undisturbed)
            )
            assert first == second
        assert len(server.get(f"/v1/scans/{scan_id}/quality").json()["slices"]) == SLICES
    finally:
        server.end(signal.SIGKILL)


def test_without_a_classifier_there_is_no_quality(server: RunningServer, example: Example) -> None:
    """null in the scan and its organs, and a problem that says why in the place of slices."""
    scan_id = _done(server, example.path)
    assert server.get(f"/v1/scans/{scan_id}").json()["quality"] is None
    assert {row["quality"] for row in server.get(f"/v1/scans/{scan_id}/organs").json()["organs"]} == {None}
    answer = server.get(f"/v1/scans/{scan_id}/quality")
    assert answer.status_code == 409
    assert "has no Quality Classifier" in answer.json()["detail"]
    assert server.get("/v1/scans/none/quality").status_code == 404


def _models(tmp_path: Path) -> Models:
    return Models(
        tmp_path / "kept", device="cpu", tuner=Tuner(tmp_path, overrides=TuningOverrides(threads=1, batch_size=4))
    )


def test_a_classifier_below_the_model_comes_before_one_beside_it(tmp_path: Path) -> None:
    """As the registry and the pipeline lay them out; the store's copy holds it, and another one makes another copy."""
    student = write_both(tmp_path / "models", threshold=0.5)
    models = _models(tmp_path)
    beside = models.serve(str(student))
    assert beside.quality is not None and beside.quality.threshold == 0.5
    write_classifier(student / "quality_classifier", threshold=0.25)
    below = models.serve(str(student))
    assert below.quality is not None and below.quality.threshold == 0.25
    assert below.identity.key != beside.identity.key
    again = _models(tmp_path).of_scan(beside.identity)
    assert again.quality is not None and again.quality.threshold == 0.5
    alone = models.serve(str(write_model(tmp_path / "elsewhere" / "student")))
    assert alone.quality is None


def _other_volumes(classifier: Path) -> None:
    dataclasses.replace(ModelManifest.read(classifier), data_sha256="1" * 64).write(classifier)


def _no_classifier(classifier: Path) -> None:
    dataclasses.replace(ModelManifest.read(classifier), kind="segmentation").write(classifier)


def test_a_classifier_of_another_model_is_not_taken_from_beside(tmp_path: Path) -> None:
    """One that was trained on other volumes, or is none, is left where it is: the model is served without."""
    for change in (_other_volumes, _no_classifier):
        student = write_both(tmp_path / change.__name__)
        change(student.parent / "quality_classifier")
        assert _models(tmp_path).serve(str(student)).quality is None


def _damaged_file(classifier: Path) -> None:
    with (classifier / MODEL_FILE).open("ab") as file:
        file.write(b"\0")


def _other_answer(classifier: Path) -> None:
    write_classifier(classifier, good=0.9)


def _segments(classifier: Path) -> None:
    quality = ModelManifest.read(classifier)
    write_model(classifier)
    changed = dataclasses.replace(quality, model_sha256=ModelManifest.read(classifier).model_sha256)
    changed.write(classifier)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_damaged_file, "has SHA-256"),
        (_other_answer, r"gives its golden slice 0\.\d+ on CPU.*its manifest says 0\.9: it is damaged"),
        (_segments, "a quality model has"),
        (_other_volumes, "trained on other volumes than the model"),
        (_no_classifier, "it is a segmentation model; a Quality Classifier is of kind quality"),
    ],
)
def test_a_model_with_a_damaged_classifier_is_refused(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    """A classifier of the registry that is not what it says is no reason to serve without one."""
    student = write_model(tmp_path / "student")
    damage(write_classifier(student / "quality_classifier"))
    with pytest.raises(ModelError, match=message):
        _models(tmp_path).serve(str(student))


def test_the_command_says_what_is_unusual(
    judging: RunningServer, example: Example, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, after the scan's id, a line for each warning with what was found and expected."""
    with Client(judging.url) as client:
        segment(client, example.path, tmp_path / "out.nii.gz", fresh=True)
    named, *lines = capsys.readouterr().err.splitlines()
    assert named.startswith("scan ")
    assert [line.partition(" ")[0] for line in lines] == ["warning:"] * 2
    assert "such a spacing along z and y and x (1.5, 0.756637, 0.5 mm (z, y, x); expected: " in lines[0]
    assert "slices with organs bad (1.00; expected: at most 0.5)" in lines[1]


@pytest.mark.process
def test_a_scan_that_was_accepted_without_a_classifier_stays_so(tmp_path: Path, example: Example) -> None:
    """The scan ends on the model that it began with: without one although the server has one meanwhile."""
    plain = write_model(tmp_path / "plain" / "student", rounds=30)
    server = RunningServer(tmp_path, plain, slab_slices=1).start()
    try:
        scan_id = server.post(example.path, "fish.nii.gz").json()["id"]
        server.until(lambda: bool(server.slabs_logged(scan_id)))
        server.end(signal.SIGKILL)
        server.set(model=write_both(tmp_path / "models"))
        server.start()
        assert server.until_ended(scan_id)["state"] == "succeeded"
        assert httpx.get(f"{server.url}/v1/scans/{scan_id}/quality", trust_env=False).status_code == 409
        assert server.get(f"/v1/scans/{_done(server, example.path)}/quality").status_code == 200
    finally:
        server.end(signal.SIGKILL)
