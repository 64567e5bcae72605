"""Stage label_quality: verdicts of people, and of labels on masks that networks make."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from scans.geometry import Frame, Spacing
from scans.intensity import Window
from scans.measures.metrics import slice_iou
from scans.organs import NOT_LABELLED
from tests.training.tiny_volumes import ORGANS, STILL, fish, tiny_data_set, write_catalogue, write_volume
from training.data.prepared import Catalogue, SliceReader, VolumeRecord
from training.learning.networks import Architecture
from training.learning.processes import Processes
from training.params import LabelQuality
from training.quality.components import read_rule
from training.quality.corruption import DAMAGES, corrupted, drop, resize, shift, swap
from training.quality.cross_fitting import MaskJudge, folds_of
from training.quality.examples import Candidate, Example, MaskReader, drawn_evenly
from training.quality.reviews import Review, Reviewable, ReviewsError, read_reviews
from training.recipe import Sampling, Schedule
from training.stages.label_quality import CrossFitting, summary

SECTION = LabelQuality(
    slices=8,
    good_iou=0.5,
    folds=2,
    corrupted_share=0.5,
    dice_weight=1.0,
    workers=0,
    schedule=Schedule(epochs=1, steps_per_epoch=1, batch_size=2, learning_rate=0.001, one_cycle=False, averaging=0.0),
    sampling=Sampling(crop=16, organ_share=1.0, fewest_pixels=0, cache_megabytes=1),
    augmentation=replace(STILL, mirror_y=0.5, mirror_x=0.5),
)

RECORD = VolumeRecord(
    id="fish",
    experiment="",
    split="train",
    shape=(1, 1, 1),
    affine=Frame.from_lps(Spacing(1, 1, 1)).affine,
    window=Window(0, 1),
    source="a test",
    sha256="",
)


def reviews_file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(["volume,slice_index,verdict", *lines]) + "\n", encoding="utf-8")
    return path


def test_reviews_are_read_once_each(tmp_path: Path) -> None:
    """Two verdicts, one of them twice, a blank line and spaces: two reviews."""
    path = reviews_file(tmp_path, "fish,0,good", "", "fish, 4 ,bad", "fish,0,good")
    assert read_reviews(path, Reviewable({"fish": 5})) == (Review("fish", 0, good=True), Review("fish", 4, good=False))


def test_a_header_alone_is_no_review(tmp_path: Path) -> None:
    """The file that the repository comes with holds no review."""
    assert read_reviews(reviews_file(tmp_path), Reviewable({"fish": 5})) == ()


def test_every_line_at_fault_is_named_at_once(tmp_path: Path) -> None:
    """One error lists an unknown volume, missing slices, a strange verdict, a contradiction, a short line."""
    path = reviews_file(
        tmp_path, "fish,1,good", "shark,0,good", "fish,5,good", "fish,-1,bad", "fish,2,maybe", "fish,1,bad", "fish,3"
    )
    with pytest.raises(ReviewsError) as error:
        read_reviews(path, Reviewable({"fish": 5}))
    lines = str(error.value).splitlines()
    assert lines[0] == f"{path} cannot be used:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [f"line {n}" for n in (3, 4, 5, 6, 7, 8)]
    assert "volume 'shark' is not a pseudo-labelled volume; there are fish" in lines[1]
    assert "slice_index '5'; fish has slices 0 to 4" in lines[2]
    assert "verdict 'maybe'; expected good or bad" in lines[4]
    assert "slice 1 of fish is judged good and bad, see line 2" in lines[5]


def test_another_header_is_refused(tmp_path: Path) -> None:
    """Columns of another name or order are not guessed at."""
    path = tmp_path / "reviews.csv"
    path.write_text("slice_index,volume,verdict\n", encoding="utf-8")
    with pytest.raises(ReviewsError, match="expected 'volume,slice_index,verdict'"):
        read_reviews(path, Reviewable({}))


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), unique_by=lambda pair: pair[0]))
def test_what_was_reviewed_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[int, bool]]
) -> None:
    """Any set of verdicts on different slices is read back as it was written."""
    path = reviews_file(tmp_path_factory.mktemp("r"), *(f"a,{z},{'good' if good else 'bad'}" for z, good in pairs))
    assert read_reviews(path, Reviewable({"a": 10})) == tuple(Review("a", z, good) for z, good in pairs)


def candidate(volume_id: str, slice_index: int, iou: float) -> Candidate:
    return Candidate(
        volume_id, slice_index, iou >= 0.5, iou, None, "cross_fit", lambda: np.zeros((2, 2), dtype=np.uint8)
    )


def test_volumes_and_qualities_are_drawn_evenly() -> None:
    """Of 90 bad and 10 good slices of one volume and 5 of another, 12 give 6 by 6, or as many as there are."""
    many = [candidate("a", z, 0.05) for z in range(90)] + [candidate("a", z, 0.95) for z in range(90, 100)]
    few = [candidate("b", z, 0.55) for z in range(5)]
    drawn = drawn_evenly([*many, *few], 12, rng=np.random.default_rng(0))
    assert sum(c.volume_id == "b" for c in drawn) == 5
    of_many = [c.good for c in drawn if c.volume_id == "a"]
    assert len(of_many) == 7
    assert sum(of_many) == 3
    assert len({(c.volume_id, c.slice_index) for c in drawn}) == 12


@given(st.integers(2, 9), st.integers(2, 12), st.integers(0, 3))
def test_every_volume_is_predicted_once_by_a_teacher_of_others(folds: int, volumes: int, seed: int) -> None:
    """Whatever the numbers, folds are disjoint, cover all volumes, and none is learnt from where it is predicted."""
    records = tuple(replace(RECORD, id=str(number)) for number in range(volumes))
    made = folds_of(records, folds, seed=seed)
    assert sorted(record.id for fold in made for record in fold.predicted) == sorted(record.id for record in records)
    assert len(made) == min(folds, volumes)
    assert all(set(fold.learnt) == set(records) - set(fold.predicted) and fold.learnt for fold in made)


def test_one_fold_is_refused() -> None:
    """One fold would be predicted by the Teacher that learnt it; the parameter is named."""
    with pytest.raises(ValueError, match=r"label_quality\.folds is 1"):
        folds_of((RECORD, RECORD), 1, seed=0)


SQUARE = np.zeros((12, 12), dtype=np.uint8)
SQUARE[4:8, 4:8] = 1
SQUARE[4:8, 8:10] = 2


def test_damages_do_what_they_say() -> None:
    """A dropped organ is background, traded organs trade, a shifted one keeps its size, a resized one does not."""
    rng = np.random.default_rng(0)
    assert not (drop(SQUARE, 1, 4, rng) == 1).any()
    only_two = SQUARE.copy()
    traded = swap(only_two, 1, 3, rng)
    assert np.array_equal(traded == 2, SQUARE == 1)
    assert np.array_equal(traded == 1, SQUARE == 2)
    assert (shift(SQUARE, 1, 4, rng) == 1).sum() == 16
    assert not np.array_equal(shift(SQUARE, 1, 4, rng), SQUARE)
    sizes = {int((resize(SQUARE, 1, 4, np.random.default_rng(seed)) == 1).sum()) for seed in range(8)}
    assert sizes == {4, 32}  # 4 x 4 without its rim, or with a cross-shaped one around it


def test_examples_know_nothing_of_voxels_that_are_not_labelled(tmp_path: Path) -> None:
    """Of a volume with two labelled slices, one in part, these alone are damaged, and no mask holds 255."""
    image, labels = fish(1)
    labels[1:4] = labels[5] = labels[4, :, 20:] = NOT_LABELLED
    tmp_path.joinpath("prepared").mkdir()
    record = write_volume(tmp_path / "prepared", "partly", image, labels, split="train")
    judge = MaskJudge(SliceReader(tmp_path / "prepared", cache_megabytes=1), ORGANS.classes, good_iou=0.5)
    made = list(judge.damaged((record,), 12, seed=1))
    assert {candidate.slice_index for candidate in made} == {0, 4}
    assert all(candidate.read_mask().max() < ORGANS.classes for candidate in made)


@given(st.integers(0, 10_000))
def test_damaged_labels_stay_labels(seed: int) -> None:
    """Every damage keeps shape, type and class range, leaves its input alone, and the same seed does the same."""
    before = SQUARE.copy()
    first, again = (corrupted(SQUARE, classes=4, rng=np.random.default_rng(seed)) for _ in range(2))
    assert first.shape == SQUARE.shape
    assert first.dtype == np.uint8
    assert first.max() < 4
    assert np.array_equal(first, again)
    assert np.array_equal(SQUARE, before)


def test_damage_comes_in_all_degrees() -> None:
    """Of 200 damaged masks of three organs many are nearly right and many mostly wrong, and each damage does damage."""
    labels = np.kron(np.array([[0, 0, 0, 0], [0, 1, 2, 0], [0, 3, 0, 0], [0, 0, 0, 0]]), np.ones((12, 12)))
    labels = labels.astype(np.uint8)
    damaged = (corrupted(labels, classes=4, rng=np.random.default_rng(seed)) for seed in range(200))
    scored = np.array([slice_iou(mask, labels, classes=4) for mask in damaged], dtype=float)
    assert (scored > 0.8).sum() > 20
    assert (scored < 0.4).sum() > 20
    for damage in DAMAGES:
        assert any(not np.array_equal(damage(SQUARE, 1, 4, np.random.default_rng(s)), SQUARE) for s in range(5))


def test_a_slice_without_organs_cannot_be_damaged() -> None:
    """Background alone is refused, not returned as if it were damaged."""
    with pytest.raises(ValueError, match="holds no organ"):
        corrupted(np.zeros((4, 4), dtype=np.uint8), classes=4, rng=np.random.default_rng(0))


def cross_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalogue: Catalogue, *, judged: tuple[Candidate, ...] = ()
) -> tuple[Example, ...]:
    monkeypatch.chdir(tmp_path)
    unet, ranks = Architecture("resnet18", 3, len(ORGANS)), Processes()
    fitting = CrossFitting(SECTION, catalogue, unet, seed=1, ranks=ranks, judged=judged)
    reported: list[int] = []
    examples = fitting.write(tmp_path / "out", report=lambda fold, _epoch: reported.append(fold))
    assert reported == ([1, 2] if len(catalogue.split("train")) > 1 else [])
    return examples


def truths(tmp_path: Path, examples: tuple[Example, ...]) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    masks = MaskReader(tmp_path / "out")
    seeds = {"train_0": 0, "train_1": 1}
    return [(masks.mask(e), fish(seeds[e.volume_id])[1][e.slice_index]) for e in examples]


@pytest.mark.slow
def test_cross_fitted_examples_carry_the_iou_of_their_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two volumes, two folds: 8 masks of networks from both volumes and 4 damaged labels, each judged by its IoU."""
    catalogue = tiny_data_set(tmp_path)
    examples = cross_fitted(tmp_path, monkeypatch, catalogue)
    assert [sum(e.source == source for e in examples) for source in ("cross_fit", "corrupted")] == [8, 4]
    assert {e.volume_id for e in examples} == {"train_0", "train_1"}
    for example, (mask, truth) in zip(examples, truths(tmp_path, examples), strict=True):
        assert example.iou == slice_iou(mask, truth, classes=ORGANS.classes)
        assert example.good == (example.iou is not None and example.iou >= 0.5)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "components.json",
        "examples.json",
        "train_0.zarr",
        "train_1.zarr",
    ]
    assert not list((tmp_path / ".resume").iterdir())
    assert set(read_rule(tmp_path / "out")) == set(ORGANS.names)


def test_one_labelled_volume_falls_back_to_damaged_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing can be cross-fitted on one volume: every example is a damaged label, and that is said."""
    catalogue = tiny_data_set(tmp_path, labelled=1)
    with caplog.at_level(logging.WARNING):
        examples = cross_fitted(tmp_path, monkeypatch, catalogue)
    assert len(examples) == 8
    assert {e.source for e in examples} == {"corrupted"}
    assert "There is 1 labelled training volume" in caplog.text


def test_few_verdicts_are_examples_beside_those_that_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slices were judged of the eight that are wanted: five are made, and the three keep what was said."""
    judged = tuple(replace(candidate("seen", z, 0.0), iou=None, source="review", good=z == 1) for z in range(3))
    examples = cross_fitted(tmp_path, monkeypatch, tiny_data_set(tmp_path, labelled=1), judged=judged)
    assert [example.good for example in examples if example.source == "review"] == [False, True, False]
    assert [example.source for example in examples].count("corrupted") == 5 and len(examples) == 8


def test_labels_of_background_alone_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single training volume without any organ gives nothing to score, and the stage says so."""
    prepared = tmp_path / "data" / "prepared"
    image = np.zeros((2, 8, 8), dtype=np.uint16)
    catalogue = write_catalogue(
        prepared, write_volume(prepared, "train_0", image, np.zeros_like(image, dtype=np.uint8), split="train")
    )
    with pytest.raises(ValueError, match="no slice of a labelled training volume holds an organ"):
        cross_fitted(tmp_path, monkeypatch, catalogue)


def test_the_metrics_count_good_and_bad() -> None:
    """Three examples with IoU 0.2, 0.4, 0.9: one good, two bad, the median 0.4."""
    examples = [
        Example("a", 0, row=0, good=False, iou=0.2, dice=None, source="cross_fit"),
        Example("a", 1, row=1, good=False, iou=0.4, dice=None, source="cross_fit"),
        Example("b", 0, row=0, good=True, iou=0.9, dice=None, source="cross_fit"),
    ]
    report = summary(examples)
    assert (report["source"], report["good"], report["bad"]) == ("cross_fit", 1, 2)
    assert report["iou_percentiles"] == {"0": 0.2, "25": 0.3, "50": 0.4, "75": 0.65, "100": 0.9}
    assert report["volumes"] == {"a": {"good": 0, "bad": 2}, "b": {"good": 1, "bad": 0}}
