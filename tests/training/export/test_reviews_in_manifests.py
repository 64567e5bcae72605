"""Manifests of exported models say what came of reviews, as stage refine counted them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from scans.model.manifest import Golden, ModelManifest
from scans.reviews import ReviewTally
from tests.training.tiny_volumes import WINDOW, fish, write_catalogue, write_volume
from training.export.agreement import ExportAgreement
from training.stage_files import StageFileError
from training.stages.export import REFINE_FILE, Exported

REVIEWS = ReviewTally("a" * 64, good=2, bad=1, other_masks=3, reviewers=("ada",))


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exported:
    """A file that is taken for a model."""
    monkeypatch.chdir(tmp_path)
    REFINE_FILE.parent.mkdir()
    Path("model.onnx").write_bytes(b"a network")
    blank = np.zeros((2, 2))
    golden = Golden(blank.astype(np.float32), WINDOW, blank.astype(np.uint8))
    agreement = ExportAgreement(slices=1, odd_batches=0, identical=1, largest_difference=0.0)
    return Exported(Path("model.onnx"), "fish", "segmentation", agreement, golden, metrics={})


def manifest(exported: Exported) -> ModelManifest:
    Path("prepared").mkdir(exist_ok=True)
    volume = write_volume(Path("prepared"), "fish", *fish(1), split="train")
    return exported.manifest(write_catalogue(Path("prepared"), volume), mlflow_run="a run")


@pytest.mark.parametrize(
    ("content", "expected"), [({"kept": 5}, None), ({"kept": 5, "reviews": asdict(REVIEWS)}, REVIEWS)]
)
def test_what_refine_counted_is_in_the_manifest(
    exported: Exported, content: dict[str, object], expected: ReviewTally | None
) -> None:
    """And nothing where nobody said anything."""
    REFINE_FILE.write_text(json.dumps(content))
    assert manifest(exported).reviews == expected


def test_counts_that_are_damaged_are_named_with_the_way_out(exported: Exported) -> None:
    """A model must not go out that says of itself what is not so."""
    REFINE_FILE.write_text(json.dumps({"reviews": asdict(REVIEWS) | {"good": None}}))
    with pytest.raises(StageFileError, match=r"metrics/refine\.json is damaged.*good is None.*`dvc repro`"):
        manifest(exported)
