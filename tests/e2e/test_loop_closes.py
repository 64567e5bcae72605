"""The loop closes: what people say and put right at a server is learnt from, and the server serves what came of it.

All of it is real: DVC, MLflow's registry, a server that follows it, HTTP and the commands. Fish and trainings are as
small as they can be, so the model is a poor one.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from demo.parts import tool_environment
from demo.preloaded import preloaded
from ricefish.cli.app import app
from ricefish.client import Client
from scans.hashes import file_sha256
from scans.model.manifest import ModelManifest
from tests.images.small_pipeline import small_pipeline
from tests.serving.running import RunningServer
from training.phantom.fish import make_phantom, write_phantom_scan
from training.tracking import model_files

pytestmark = [
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.timeout(1500),  # two trainings of everything: minutes where others want the cores too
    pytest.mark.filterwarnings("default"),  # MLflow's and SQLAlchemy's own
]

REPOSITORY = Path(__file__).resolve().parents[2]
SHAPE = (64, 40, 40)
LABELLED, UNLABELLED = ("fish_0", "fish_1", "fish_2", "fish_3"), ("fish_4", "fish_5", "fish_6", "fish_7")
CORRECTED = "fish_4"
VERDICTS = 40
SMALLER: Mapping[str, Mapping[str, Any]] = {
    "prepare": {"phantoms": {"labelled": 0, "unlabelled": 0, "validation": 0}},
    "train_teacher": {"schedule": {"epochs": 1, "steps_per_epoch": 160}},
    "label_quality": {"schedule": {"epochs": 1, "steps_per_epoch": 40, "batch_size": 8}},
    "train_classifier": {"folds": 2},
    "export": {"precisions": [], "agreement_slices": 4, "seen_slices": 4},
    "evaluate": {"figure_slices": 1},
}
"""What the profile has beside the smallest values. A Teacher of 160 steps sees organs, right or wrong."""


@dataclass(frozen=True)
class Project:
    """A repository of one's own, and a raw data set beside it."""

    root: Path
    raw_dir: Path
    truth_dir: Path
    """The labels that people would draw, of fish without labels too."""
    environment: Mapping[str, str]

    def reproduce(self) -> None:
        """`dvc repro`, and a commit of what it was made of."""
        done = subprocess.run(
            ["dvc", "repro"], cwd=self.root, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.commit("Reproduce")

    def commit(self, message: str) -> None:
        git = ["git", "-C", str(self.root), "-c", "user.name=ada", "-c", "user.email=ada@localhost"]
        for command in (["add", "--all"], ["commit", "--quiet", "--message", message]):
            subprocess.run([*git, *command], check=True)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Nothing has run in it yet; commands are given in its folder."""
    root, raw_dir, truth_dir = small_pipeline(tmp_path / "project"), tmp_path / "raw", tmp_path / "truth"
    for folder in (truth_dir, *(raw_dir / name for name in ("labelled/images", "labelled/labels", "unlabelled/day_1"))):
        folder.mkdir(parents=True)
    shutil.copy(REPOSITORY / "data/phantom/organs.yaml", raw_dir)
    for number, name in enumerate((*LABELLED, *UNLABELLED)):
        known = name in LABELLED
        image = raw_dir / ("labelled/images" if known else "unlabelled/day_1") / f"{name}.nii.gz"
        labels = (raw_dir / "labelled/labels" if known else truth_dir) / f"{name}.nii.gz"
        write_phantom_scan(make_phantom(seed=5, fish=number, beamtime=1, shape=SHAPE), image, labels_path=labels)
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["raw_dir"], params["profiles"]["demo"] = str(raw_dir), dict(SMALLER)
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    monkeypatch.chdir(root)
    with preloaded(tool_environment(), folder=root) as environment:
        made = Project(root, raw_dir, truth_dir, environment)
        made.commit("Learn from our fish")
        yield made


@pytest.fixture
def server(project: Project, tmp_path: Path) -> Iterator[RunningServer]:
    """Of the champion, which it follows; not started."""
    running = RunningServer(tmp_path / "server", "models:/ricefish@champion", follow_seconds=0.5)
    yield running
    running.end(signal.SIGKILL)


def ricefish(*words: str) -> str:
    """What a command prints."""
    ended = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*words])
    assert ended.exit_code == 0, ended.output
    return ended.output


def segmented(server: RunningServer, project: Project, name: str) -> str:
    """The id of a scan that was posted as the fish that it is, and has succeeded."""
    scan = project.raw_dir / "unlabelled/day_1" / f"{name}.nii.gz"
    scan_id: str = server.post(scan, f"day_1/{name}.nii.gz").raise_for_status().json()["id"]
    assert server.until_ended(scan_id)["state"] == "succeeded", server.log
    return scan_id


def served_version(server: RunningServer) -> str:
    (model,) = server.get("/v1/models").raise_for_status().json()["models"]
    return str(model["version"])


def review(client: Client) -> None:
    """Says good and bad in turn of as many slices as are to be reviewed."""
    for number in range(VERDICTS):
        question = client.reviews.next()
        assert question is not None, f"{number} slices were offered"
        client.reviews.add(question, "bad" if number % 2 else "good")


def test_what_people_say_comes_back_to_them_as_the_next_model(
    project: Project, server: RunningServer, tmp_path: Path
) -> None:
    """Version 1 segments four fish; 40 slices are judged and one fish is put right; version 2, which learnt from what
    was said of masks that no Teacher makes any more and says so of itself, is served by the server that was running all
    along."""
    project.reproduce()
    assert "ricefish version 1 is the champion" in ricefish("models", "promote", "ricefish", "--force", "the first")
    server.start()
    ids = {name: segmented(server, project, name) for name in UNLABELLED}
    with Client(server.url) as client:
        review(client)
        client.correct(ids[CORRECTED], project.truth_dir / f"{CORRECTED}.nii.gz")

    at = ("--server", server.url)
    added = ricefish("dataset", "add", str(project.raw_dir), "--scans", *ids.values(), "--corrected", *at)
    assert added.count("nobody has corrected it") == 3
    (project.raw_dir / "unlabelled/day_1" / f"{CORRECTED}.nii.gz").unlink()  # it has labels now
    ricefish("reviews", "export", "-o", "data/reviews.csv", "--force", *at)
    project.commit("Review 40 slices")
    project.reproduce()

    assert served_version(server) == "1"
    ricefish("models", "promote", "ricefish", "--force", "it has seen one fish more")
    server.until(lambda: served_version(server) == "2")
    again = server.get(f"/v1/scans/{segmented(server, project, 'fish_5')}").json()
    assert again["model"]["version"] == "2"
    check_lineage(tmp_path, scan_id=ids[CORRECTED], reviews=project.root / "data/reviews.csv")


def check_lineage(tmp_path: Path, *, scan_id: str, reviews: Path) -> None:
    """Manifest, card and tags of version 2 name the correction, and how many of the verdicts it learnt from: all, but
    those on the corrected fish where that is held out; those of version 1 name nothing."""
    shown = json.loads(ricefish("models", "show", "ricefish", "--version", "2", "--json"))["tags"]
    stored = model_files.download("models:/ricefish/2", tmp_path / "stored")
    manifest, card = ModelManifest.read(stored), (stored / model_files.CARD_FILE).read_text()
    correction = f"correction 1 of scan {scan_id}"  # without keys nobody has a name
    assert {name: origin.what for name, origin in manifest.corrections.items()} == {CORRECTED: correction}
    assert shown["corrections"] == f"{CORRECTED}: {correction}" and f"  - {shown['corrections']} at " in card
    tally = manifest.reviews
    assert tally is not None and (tally.given, tally.sha256) == (VERDICTS, file_sha256(reviews))
    assert tally.examples + tally.held_out == VERDICTS and tally.examples > VERDICTS / 2, tally
    found = json.loads(Path("metrics/label_quality.json").read_text())
    assert found["by_source"]["review"] == tally.examples and found["reviews"]["good"] == tally.good
    assert shown["reviews"].startswith(f"{tally.what} of reviews.csv {tally.sha256}")
    assert f"- Learnt from reviews: {tally.what}" in card
    first = json.loads(ricefish("models", "show", "ricefish", "--version", "1", "--json"))["tags"]
    assert not {"corrections", "reviews"} & set(first) and first["onnx_sha256"] != shown["onnx_sha256"]
