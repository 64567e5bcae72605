"""The synthetic fish: what of it is fixed, what varies, and what a network can and cannot go by."""

from pathlib import Path

import numpy as np
import pytest

from scans.formats import open_volume
from scans.organs import OrganMap
from training.phantom import fish as phantom_module
from training.phantom.canvas import Label
from training.phantom.fish import FIRST_HELD_OUT_FISH, make_phantom, write_phantom_scan

DEMO_SHAPE = (64, 96, 96)
SMALL_SHAPE = (24, 40, 40)


def centroid(labels: np.ndarray, organ: Label) -> np.ndarray:
    return np.argwhere(labels == organ).mean(axis=0)


def organ_means(fish: phantom_module.Phantom) -> list[float]:
    return [float(fish.image[fish.labels == organ].mean()) for organ in Label]


def test_a_fish_is_decided_by_its_arguments_alone():
    """A fish made first and the same one made after others are equal in every voxel."""
    first = make_phantom(seed=3, fish=5, beamtime=2, shape=SMALL_SHAPE)
    make_phantom(seed=3, fish=6, beamtime=1, shape=SMALL_SHAPE)
    np.random.default_rng(0).random(10)
    again = make_phantom(seed=3, fish=5, beamtime=2, shape=SMALL_SHAPE)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.labels, again.labels)


@pytest.mark.parametrize("other", [{"seed": 4}, {"fish": 6}])
def test_another_seed_or_number_is_another_animal(other):
    """Both the labels and the grey values differ."""
    one = make_phantom(**{"seed": 3, "fish": 5}, beamtime=1, shape=SMALL_SHAPE)
    two = make_phantom(**{"seed": 3, "fish": 5, **other}, beamtime=1, shape=SMALL_SHAPE)
    assert (one.labels != two.labels).mean() > 0.01
    assert (one.image != two.image).mean() > 0.5


def test_another_beam_time_scans_the_same_animal_anew():
    """Labels stay, grey values and the experiment's name change."""
    scans = [make_phantom(seed=3, fish=5, beamtime=number, shape=SMALL_SHAPE) for number in (1, 2, 3)]
    assert all(np.array_equal(scan.labels, scans[0].labels) for scan in scans)
    assert [scan.experiment for scan in scans] == ["beamtime_1", "beamtime_2", "beamtime_3"]
    assert (scans[0].image != scans[1].image).mean() > 0.9
    assert (scans[1].image != scans[2].image).mean() > 0.9


def test_a_fish_has_the_types_the_shape_and_the_field_of_view_that_are_promised():
    """uint16 and uint8 voxels of the shape asked for, over 30 x 9.2 x 9.2 mm."""
    fish = make_phantom(seed=1, fish=0, beamtime=1, shape=(24, 40, 46))
    assert fish.image.dtype == np.uint16
    assert fish.labels.dtype == np.uint8
    assert fish.image.shape == fish.labels.shape == (24, 40, 46)
    assert tuple(fish.spacing) == pytest.approx((1.25, 0.23, 0.2))


def test_every_organ_of_every_fish_is_large_enough_to_be_learnt():
    """At the demo's size no organ has fewer than 30 voxels; a juvenile may lack its gonad, and few are juvenile."""
    sizes = []
    for number in range(4):
        labels = make_phantom(seed=2, fish=number, beamtime=1, shape=DEMO_SHAPE).labels
        sizes.append(np.bincount(labels.ravel(), minlength=11)[1:])
    counts = np.array(sizes)
    others = np.delete(counts, Label.GONAD - 1, axis=1)
    gonads = counts[:, Label.GONAD - 1]
    assert counts.shape == (4, 10)
    assert others.min() >= 30
    assert gonads[gonads > 0].min() >= 30
    assert (gonads == 0).sum() <= 2


def test_the_same_animal_is_sampled_at_any_number_of_voxels():
    """Each organ's volume in mm3 is the same, within what large voxels leave uncertain, at twice as many voxels."""
    coarse = make_phantom(seed=1, fish=2, beamtime=1, shape=(32, 48, 48))
    fine = make_phantom(seed=1, fish=2, beamtime=1, shape=DEMO_SHAPE)
    for organ in Label:
        one = (coarse.labels == organ).sum() * coarse.spacing.voxel_mm3
        two = (fine.labels == organ).sum() * fine.spacing.voxel_mm3
        assert one == pytest.approx(two, rel=0.2), organ.name


def test_the_head_comes_first_and_left_is_left():
    """Eyes, heart and spine follow each other along z; the left eye has the greater x, the back the smaller y."""
    for number in range(4):
        labels = make_phantom(seed=1, fish=number, beamtime=1, shape=SMALL_SHAPE).labels
        eye, heart, spine = (centroid(labels, organ) for organ in (Label.LEFT_EYE, Label.HEART, Label.SPINE))
        assert eye[0] < heart[0] < spine[0]
        assert centroid(labels, Label.LEFT_EYE)[2] > centroid(labels, Label.RIGHT_EYE)[2]
        assert centroid(labels, Label.KIDNEY)[1] < centroid(labels, Label.LIVER)[1]


def test_soft_organs_overlap_in_grey_value_and_gas_and_bone_do_not():
    """Heart, liver, kidney and gonad cannot be told apart by a threshold; the swim bladder and the spine can."""
    fish = make_phantom(seed=1, fish=1, beamtime=1, shape=DEMO_SHAPE)
    quartiles = {organ: np.percentile(fish.image[fish.labels == organ], [10, 90]) for organ in Label}
    soft = [quartiles[organ] for organ in (Label.HEART, Label.LIVER, Label.KIDNEY, Label.GONAD)]
    assert max(low for low, _ in soft) < min(high for _, high in soft)
    assert quartiles[Label.SWIM_BLADDER][1] < min(low for low, _ in soft)
    assert fish.image[fish.labels == Label.SPINE].mean() > max(high for _, high in soft)


def test_beam_times_stain_organs_in_different_order():
    """Which organ is brighter than which is not the same in any two beam times, but not unlike either."""
    orders = []
    for beamtime in (1, 2, 3):
        means = organ_means(make_phantom(seed=1, fish=1, beamtime=beamtime, shape=SMALL_SHAPE))
        orders.append(np.argsort(np.argsort(means)))
    for one, two in ((0, 1), (0, 2), (1, 2)):
        assert not np.array_equal(orders[one], orders[two])
        assert np.corrcoef(orders[one], orders[two])[0, 1] > 0.4


def test_unlabelled_structures_are_as_bright_as_the_spine():
    """Skull, otoliths and ribs are bone as well: in front of the first vertebra bright voxels are no organ."""
    fish = make_phantom(seed=1, fish=1, beamtime=1, shape=DEMO_SHAPE)
    first = int(np.flatnonzero((fish.labels == Label.SPINE).any(axis=(1, 2)))[0])
    bright = np.median(fish.image[fish.labels == Label.SPINE])
    assert ((fish.image[:first] > bright) & (fish.labels[:first] == 0)).sum() > 100


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"beamtime": 0}, "beam time 0; there are 1 to 3"),
        ({"beamtime": 4}, "beam time 4; there are 1 to 3"),
        ({"fish": -1}, "seed 1 and fish -1: neither may be negative"),
    ],
)
def test_a_fish_that_there_cannot_be_is_refused(wrong, message):
    """The message says what was asked for and what there is."""
    with pytest.raises(ValueError, match=message):
        make_phantom(**{"seed": 1, "fish": 0, "beamtime": 1, **wrong}, shape=SMALL_SHAPE)


def test_organs_yaml_names_what_the_fish_has():
    """The organ map of the demo and the labels that are painted agree in names and indices."""
    organs = OrganMap.from_yaml(phantom_module.ORGANS_FILE)
    assert organs.names == tuple(label.name.lower() for label in Label)


def test_a_written_scan_reads_back_with_its_spacing(tmp_path: Path):
    """Image and labels come back voxel by voxel from NIfTI files."""
    fish = make_phantom(seed=1, fish=FIRST_HELD_OUT_FISH, beamtime=3, shape=SMALL_SHAPE)
    write_phantom_scan(fish, tmp_path / "fish.nii.gz", labels_path=tmp_path / "labels.nii.gz")
    with open_volume(tmp_path / "fish.nii.gz") as image, open_volume(tmp_path / "labels.nii.gz") as labels:
        assert np.array_equal(image.read(), fish.image)
        assert np.array_equal(labels.read(), fish.labels)
        assert tuple(image.spacing) == pytest.approx(tuple(fish.spacing), rel=1e-6)


def test_the_command_writes_the_scan_that_its_arguments_name(tmp_path: Path):
    """`--seed --fish --beamtime --shape` are those of make_phantom."""
    path = tmp_path / "fish.nii.gz"
    phantom_module.main(
        ["--scan", str(path), "--seed", "2", "--fish", "7", "--beamtime", "2", "--shape", "12", "20", "20"]
    )
    with open_volume(path) as image:
        assert np.array_equal(image.read(), make_phantom(seed=2, fish=7, beamtime=2, shape=(12, 20, 20)).image)


def test_the_command_without_a_task_says_what_it_can_do(capsys: pytest.CaptureFixture[str]):
    """It exits with an error that names the options."""
    with pytest.raises(SystemExit):
        phantom_module.main([])
    assert "give --picture or --scan" in capsys.readouterr().err
