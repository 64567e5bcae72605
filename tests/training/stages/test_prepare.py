"""Stage prepare: synthetic fish and raw scans become one checked, split, hashed data set."""

import dataclasses
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest

from scans.formats import create_volume
from scans.geometry import Frame, Spacing
from scans.intensity import Window
from scans.volume import Volume
from tests.conftest import REPOSITORY
from tests.training.tiny_volumes import ORGANS
from training.data.prepared import Catalogue, SliceReader
from training.data.raw import RawDataError
from training.data.volume_writer import store_volume
from training.params import Params, Phantoms, load_params
from training.stages.prepare import prepare

FRAME = Frame.from_lps(Spacing(z=2.0, y=1.0, x=1.0), origin=(1.0, 2.0, 3.0))
SHAPE = (4, 5, 6)
NO_FISH = Phantoms(labelled=0, unlabelled=0, validation=0, label_every=1, depth=1, height=1, width=1)
FISH = Phantoms(labelled=3, unlabelled=4, validation=3, label_every=1, depth=16, height=24, width=24)


def params(raw_dir: Path, *, phantoms: Phantoms = NO_FISH, seed: int = 1, **changes: object) -> Params:
    """The demo's parameters with another raw folder and these changes to `prepare`."""
    demo = load_params(REPOSITORY / "params.yaml")
    changes = {"raw_dir": raw_dir, "phantoms": phantoms, "seed": seed, **changes}
    return dataclasses.replace(demo, prepare=dataclasses.replace(demo.prepare, **changes))  # type: ignore[arg-type]


def put(path: Path, array: np.ndarray, frame: Frame = FRAME) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with create_volume(path, shape=array.shape, dtype=array.dtype, frame=frame) as writer:  # type: ignore[arg-type]
        writer.write(array)


def grey(number: int) -> np.ndarray:
    """Voxels of scan `number`, different from those of every other."""
    return (np.arange(120, dtype=np.int16).reshape(SHAPE) + 1000 * number).astype(np.int16)


def labels(*organs: int) -> np.ndarray:
    """Each organ fills a slice of its own, from slice 0 on."""
    array = np.zeros(SHAPE, dtype=np.uint8)
    for z, organ in enumerate(organs):
        array[z] = organ
    return array


@pytest.fixture
def raw_dir(tmp_path: Path) -> Path:
    """Four labelled scans, a to d, with both organs, and two unlabelled ones."""
    folder = tmp_path / "raw"
    for number, name in enumerate("abcd", start=1):
        put(folder / f"labelled/images/{name}.nii.gz", grey(number))
        put(folder / f"labelled/labels/{name}.nii.gz", labels(1, 2))
    put(folder / "unlabelled/images/e.nii.gz", grey(5))
    put(folder / "unlabelled/spring/f.nrrd", grey(6).astype(np.uint16))
    (folder / "organs.yaml").write_text("1: heart\n2: liver\n")
    return folder


def test_fish_are_split_as_the_parameters_say(tmp_path: Path):
    """Training fish from beam time 1, the others from the three in turn; no labels are stored of unlabelled fish."""
    out = tmp_path / "prepared"
    catalogue = prepare(params(REPOSITORY / "data/phantom", phantoms=FISH), out)
    assert Catalogue.read(out) == catalogue
    experiments = {s: [v.experiment for v in catalogue.split(s)] for s in ("train", "validation", "unlabelled")}
    assert experiments == {
        "train": ["beamtime_1"] * 3,
        "validation": ["beamtime_1", "beamtime_2", "beamtime_3"],
        "unlabelled": ["beamtime_1", "beamtime_2", "beamtime_3", "beamtime_1"],
    }
    assert not any((out / f"{volume.id}.zarr/labels").exists() for volume in catalogue.split("unlabelled"))
    assert len({volume.sha256 for volume in catalogue.volumes}) == 10
    counts = SliceReader(out, cache_megabytes=1).slice_voxels("train_000")
    assert counts.shape == (16, 11)
    assert (counts.sum(axis=1) == 24 * 24).all()


def test_a_fish_does_not_depend_on_how_many_others_there_are(tmp_path: Path):
    """Other numbers of training and unlabelled fish leave the validation fish as they are."""
    few = dataclasses.replace(FISH, labelled=1, unlabelled=1)
    raw = REPOSITORY / "data/phantom"
    one = prepare(params(raw, phantoms=few), tmp_path / "one")
    two = prepare(params(raw, phantoms=FISH), tmp_path / "two")
    assert one.split("validation") == two.split("validation")
    assert one.split("train")[0] == two.split("train")[0]


def test_its_seed_alone_decides_the_data_set(tmp_path: Path):
    """Down to the hash that models are registered with; the seed at the top of params.yaml has no say."""
    few = dataclasses.replace(FISH, labelled=1, unlabelled=1, validation=1)
    raw = REPOSITORY / "data/phantom"
    one, two = (params(raw, phantoms=few, seed=seed) for seed in (1, 2))
    given = (one, dataclasses.replace(one, seed=99), two)
    first, again, other = (prepare(each, tmp_path / name) for each, name in zip(given, "abc", strict=True))
    assert first == again
    assert first.data_sha256 != other.data_sha256


def test_a_data_set_is_called_as_its_folder_unless_it_is_said(raw_dir: Path, tmp_path: Path):
    """Folders of any name may hold one data set."""
    assert prepare(params(raw_dir), tmp_path / "out").data_set == raw_dir.name
    assert prepare(params(raw_dir, data_set="medaka"), tmp_path / "out").data_set == "medaka"


def test_raw_scans_keep_their_voxels_types_and_frames(raw_dir: Path, tmp_path: Path):
    """Grey values, labels, affine and experiment come through; so does where each scan was read from."""
    out = tmp_path / "out"
    catalogue = prepare(params(raw_dir), out)
    reader = SliceReader(out, cache_megabytes=1)
    by_id = {volume.id: volume for volume in catalogue.volumes}
    assert list(by_id) == ["a", "b", "c", "d", "e", "spring-f"]
    assert [len(catalogue.split(split)) for split in ("train", "validation", "unlabelled")] == [3, 1, 2]
    assert np.array_equal(reader.volume(by_id["b"]).read(), grey(2))
    assert reader.volume(by_id["b"]).dtype == np.int16
    assert np.array_equal(reader.label_volume(by_id["b"]).read(), labels(1, 2))
    assert reader.slice_voxels("b").tolist() == [[0, 30, 0], [0, 0, 30], [30, 0, 0], [30, 0, 0]]
    assert np.allclose(by_id["b"].frame.matrix, FRAME.matrix)
    assert (by_id["spring-f"].experiment, by_id["spring-f"].source) == ("spring", "unlabelled/spring/f.nrrd")


def test_every_problem_is_told_at_once_and_nothing_is_left(raw_dir: Path, tmp_path: Path):
    """Names, damaged files, frames, label values, empty labels and copies: one error lists them all."""
    put(raw_dir / "labelled/images/orphan.nii.gz", grey(9))
    (raw_dir / "unlabelled/images/broken.nii.gz").write_bytes(b"this is no scan")
    put(raw_dir / "labelled/labels/a.nii.gz", labels(1, 2, 7, 9))
    put(raw_dir / "labelled/labels/b.nii.gz", labels(1, 2).astype(np.float32) / 2)
    put(raw_dir / "labelled/labels/c.nii.gz", labels())
    put(raw_dir / "labelled/labels/d.nii.gz", labels(1, 2)[:3])
    put(raw_dir / "unlabelled/images/copy.nii.gz", grey(1).astype(np.float32))
    with pytest.raises(RawDataError) as caught:
        prepare(params(raw_dir), tmp_path / "out")
    problems = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 7
    assert "labelled/images/orphan.nii.gz has no labels" in problems
    assert "unlabelled/images/broken.nii.gz: " in problems
    assert "labelled/labels/a.nii.gz holds 7, 9; labels are whole numbers, 0 for background and 1 to 2" in problems
    assert "labelled/labels/b.nii.gz holds 0.5; labels are whole numbers" in problems
    assert "labelled/labels/c.nii.gz holds no organ: every voxel is 0" in problems
    assert "labelled/labels/d.nii.gz has 3 x 5 x 6 voxels (z x y x x); its image has 4 x 5 x 6" in problems
    assert "labelled/images/a.nii.gz and unlabelled/images/copy.nii.gz hold the same voxels; keep one" in problems
    assert f"{raw_dir} cannot be used; 7 problems:" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_negative_labels_are_refused(raw_dir: Path, tmp_path: Path):
    """-1, as some tools mark what is unknown, is no class."""
    put(raw_dir / "labelled/labels/a.nii.gz", labels(1, 2).astype(np.int16) - 1)
    with pytest.raises(RawDataError, match=r"labelled/labels/a\.nii\.gz holds -1;"):
        prepare(params(raw_dir), tmp_path / "out")


def test_labels_may_be_whole_numbers_in_any_type(raw_dir: Path, tmp_path: Path):
    """Labels stored as floating point are the same labels, and the data set has the same hash."""
    plain = prepare(params(raw_dir), tmp_path / "one")
    put(raw_dir / "labelled/labels/a.nii.gz", labels(1, 2).astype(np.float32))
    assert prepare(params(raw_dir), tmp_path / "two").data_sha256 == plain.data_sha256


def test_labels_in_floating_point_are_whole_within_a_thousandth(raw_dir: Path, tmp_path: Path):
    """What a scale factor leaves of 1 and 2 is 1 and 2; a message shows what tells a value from a whole number."""
    put(raw_dir / "labelled/labels/a.nii.gz", labels(1, 2).astype(np.float32) * np.float32(1.0004) - np.float32(1e-4))
    put(raw_dir / "labelled/labels/b.nii.gz", labels(1, 2).astype(np.float64) * 0.9996)
    expected = prepare(params(raw_dir), tmp_path / "rounded").data_sha256
    put(raw_dir / "labelled/labels/a.nii.gz", labels(1, 2))
    put(raw_dir / "labelled/labels/b.nii.gz", labels(1, 2))
    assert prepare(params(raw_dir), tmp_path / "whole").data_sha256 == expected
    put(raw_dir / "labelled/labels/a.nii.gz", labels(1, 2).astype(np.float32) * np.float32(1.0000625 * 1.001))
    with pytest.raises(RawDataError, match=r"a\.nii\.gz holds 1\.0010625, 2\.002125; labels are whole numbers"):
        prepare(params(raw_dir), tmp_path / "out")


def test_one_changed_label_changes_the_hash(raw_dir: Path, tmp_path: Path):
    """A single voxel of labels."""
    before = prepare(params(raw_dir), tmp_path / "one").data_sha256
    changed = labels(1, 2)
    changed[3, 4, 5] = 1
    put(raw_dir / "labelled/labels/a.nii.gz", changed)
    assert prepare(params(raw_dir), tmp_path / "two").data_sha256 != before


def test_a_smaller_label_budget_is_part_of_a_larger_one_and_validation_stays(raw_dir: Path, tmp_path: Path):
    """Budgets 1, 2 and 3 of three training volumes; the rest is in reserve."""
    trained: list[set[str]] = []
    held = prepare(params(raw_dir), tmp_path / "all").split("validation")
    for budget in (1, 2, 3):
        catalogue = prepare(params(raw_dir, labelled_volumes=budget), tmp_path / str(budget))
        assert len(catalogue.split("reserve")) == 3 - budget
        assert catalogue.split("validation") == held
        trained.append({volume.id for volume in catalogue.split("train")})
    assert [len(ids) for ids in trained] == [1, 2, 3]
    assert trained[0] < trained[1] < trained[2]


def test_a_budget_beyond_the_training_volumes_is_refused(raw_dir: Path, tmp_path: Path):
    """Four of four labelled volumes cannot be trained on when one is held out."""
    with pytest.raises(ValueError, match=r"prepare\.labelled_volumes is 4; 3 labelled volumes are left"):
        prepare(params(raw_dir, labelled_volumes=4), tmp_path / "out")


def test_synthetic_fish_are_not_made_in_place_of_somebody_s_scans(raw_dir: Path, tmp_path: Path):
    """A profile that makes fish, and a folder of scans: nobody learns from fish who meant the scans."""
    with pytest.raises(ValueError, match=rf"^{raw_dir} holds labelled and unlabelled/, and .*profile="):
        prepare(params(raw_dir, phantoms=FISH), tmp_path / "out")
    (tmp_path / "organs.yaml").write_text("1: heart\n2: wing\n")
    with pytest.raises(ValueError, match=r"organs\.yaml names heart, wing; the synthetic fish has .*profile=paper"):
        prepare(params(tmp_path, phantoms=FISH), tmp_path / "out")


def test_each_uncalibrated_volume_has_its_own_window(raw_dir: Path, tmp_path: Path):
    """Percentiles 0 and 100 of a volume are its extremes."""
    catalogue = prepare(params(raw_dir, lower_percentile=0.0, upper_percentile=100.0), tmp_path / "out")
    assert catalogue.intensity.fixed is None
    assert [v.window for v in catalogue.volumes[:2]] == [Window(1000.0, 1119.0), Window(2000.0, 2119.0)]


def test_the_calibrated_window_is_that_of_the_organs_to_learn_from_and_a_quarter_more(raw_dir: Path, tmp_path: Path):
    """With grey values 100 and 300 inside the organs, 0 and 9999 elsewhere: 50 to 350. Validation has no say."""
    calibrated = params(raw_dir, calibrated=True, lower_percentile=0.0, upper_percentile=100.0)
    (held,) = (v.id for v in prepare(calibrated, tmp_path / "before").split("validation"))
    for number, name in enumerate("abcd"):
        image = grey(9) - np.int16(number)
        image[0], image[1] = 100, 300
        put(raw_dir / f"labelled/images/{name}.nii.gz", image + np.int16(5000 if name == held else 0))
    catalogue = prepare(calibrated, tmp_path / "after")
    assert catalogue.intensity.fixed == Window(50.0, 350.0)
    assert {volume.window for volume in catalogue.volumes} == {Window(50.0, 350.0)}


def test_an_organ_that_no_training_volume_shows_is_told(
    raw_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """It is no error: labels may come later."""
    (raw_dir / "organs.yaml").write_text("1: heart\n2: liver\n3: gut\n")
    prepare(params(raw_dir), tmp_path / "out")
    assert "gut occurs in no training volume: no network can learn it" in caplog.text


class LazyScan:
    """Voxels of a scan that is never in memory as a whole."""

    shape = (512, 256, 256)
    dtype = np.dtype(np.uint16)

    def read(self, start: int, stop: int) -> np.ndarray:
        depth = stop - start
        return np.random.default_rng(start).integers(0, 60000, (depth, 256, 256), dtype=np.uint16)


@pytest.mark.slow
def test_a_volume_is_never_in_memory(tmp_path: Path):
    """A scan of 67 MB passes through less than 40, however long it is."""
    tracemalloc.start()
    stored = store_volume(tmp_path, volume_id="long", image=Volume(LazyScan(), FRAME), labels=None, organs=ORGANS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert stored.shape == (512, 256, 256)
    assert peak < 40_000_000


def test_float64_is_stored_as_float32(tmp_path: Path):
    """No network computes in more."""
    image = Volume.from_array(np.full((2, 2, 2), 0.1), FRAME)
    store_volume(tmp_path, volume_id="fish", image=image, labels=None, organs=ORGANS)
    kept = SliceReader(tmp_path, cache_megabytes=1).image("fish", 0)
    assert kept.dtype == np.float32
    assert kept[0, 0] == np.float32(0.1)


def test_real_scans_are_prepared_as_an_independent_reader_sees_them(real_data: Path, tmp_path: Path):
    """Three patients: every voxel, the affine and the class counts are those that nibabel reads."""
    source, raw = real_data / "headneck_ct", tmp_path / "raw"
    for kind in ("labelled/images", "labelled/labels"):
        (raw / kind).mkdir(parents=True)
        for name in ("pt_2.nii.gz", "pt_4.nii.gz"):
            (raw / kind / name).symlink_to(source / kind / name)
    (raw / "unlabelled/images").mkdir(parents=True)
    (raw / "unlabelled/images/pt_30.nii.gz").symlink_to(source / "unlabelled/images/pt_30.nii.gz")
    (raw / "organs.yaml").symlink_to(source / "organs.yaml")
    catalogue = prepare(params(raw, calibrated=True, lower_percentile=1.0, upper_percentile=65.0), tmp_path / "out")
    reader = SliceReader(tmp_path / "out", cache_megabytes=1)
    assert [volume.id for volume in catalogue.volumes] == ["pt_2", "pt_30", "pt_4"]
    for volume in catalogue.volumes:
        image = nibabel.load(source / volume.source)
        assert np.array_equal(reader.volume(volume).read(), np.asanyarray(image.dataobj).T)
        assert np.array_equal(volume.frame.matrix, image.affine)
        if volume.labelled:
            truth = np.asanyarray(nibabel.load(source / "labelled/labels" / f"{volume.id}.nii.gz").dataobj)
            assert reader.slice_voxels(volume.id).sum(axis=0).tolist() == np.bincount(truth.ravel()).tolist()
    fixed = catalogue.intensity.fixed
    assert fixed is not None
    assert 700 < fixed.lower < 1000
    assert 1050 < fixed.upper < 2000
