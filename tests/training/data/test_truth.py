"""The truth of synthetic fish without labels: there to be compared with, and nowhere else."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from scans.volume import Volume
from tests.conftest import REPOSITORY
from training.data.truth import read_truth
from training.data.volume_writer import store_volume
from training.params import Phantoms, load_params
from training.phantom.fish import FIRST_FISH, make_phantom
from training.stages.prepare import prepare


def test_the_truth_of_unlabelled_fish_is_kept_beside_them(tmp_path: Path) -> None:
    """It is what the fish was drawn as; labelled fish have labels alone, and no hash of the data tells of it."""
    demo = load_params(REPOSITORY / "params.yaml")
    fish = Phantoms(labelled=1, unlabelled=2, validation=1, label_every=1, depth=16, height=24, width=24)
    section = replace(demo.prepare, raw_dir=REPOSITORY / "data/phantom", phantoms=fish)
    catalogue = prepare(replace(demo, prepare=section), tmp_path)
    number = FIRST_FISH["unlabelled"] + 1
    drawn = make_phantom(seed=1, fish=number, beamtime=2, shape=(16, 24, 24))
    truth = read_truth(tmp_path, "unlabelled_001")
    assert truth is not None
    assert np.array_equal(truth.read(0, 16), drawn.labels)
    assert read_truth(tmp_path, "train_000") is None
    image = Volume.from_array(drawn.image, drawn.spacing)
    alone = store_volume(tmp_path / "alone", volume_id="a", image=image, labels=None, organs=catalogue.organs)
    assert {volume.id: volume.sha256 for volume in catalogue.volumes}["unlabelled_001"] == alone.sha256
