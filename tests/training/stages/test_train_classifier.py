"""Stage train_classifier: what the Quality Classifier is shown, how it is measured, and that it learns."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.training.tiny_volumes import ORGANS, STILL, WINDOW, fish, write_catalogue, write_volume
from training.data.prepared import SliceReader
from training.evaluation.figures import read_columns
from training.learning.checkpoints import (
    QUALITY_CLASSIFIER,
    load_classifier,
    load_classifier_architecture,
    read_details,
)
from training.learning.processes import Processes
from training.params import TrainClassifier
from training.quality.batches import QualityBatches, ResizedExamples
from training.quality.classifier_input import area_weights, classifier_input, scorer
from training.quality.cross_validation import cross_validation
from training.quality.examples import Candidate, MaskReader, read_examples, write_examples
from training.quality.roc import RocCurve, at_threshold
from training.recipe import Schedule
from training.stages.train_classifier import (
    ROC,
    Learning,
    cross_validated,
    predicted,
    train_classifier,
)


def test_pixels_are_averaged_by_the_area_they_cover() -> None:
    """Six pixels become two of three each; three become two: the middle one gives half of itself to either."""
    assert torch.equal(area_weights(6, 2) * 3, torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]))
    torch.testing.assert_close(area_weights(3, 2), torch.tensor([[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]]))


@given(st.integers(1, 300), st.integers(1, 64))
def test_averaging_neither_adds_nor_loses_grey(length: int, side: int) -> None:
    """For any sizes the weights of each part add up to 1, and each pixel counts as much as any other."""
    weights = area_weights(length, side)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(side), atol=1e-4, rtol=0)
    torch.testing.assert_close(weights.sum(dim=0), torch.full((length,), side / length), atol=1e-4, rtol=1e-4)


def test_each_organ_has_its_channel() -> None:
    """A 2 x 4 slice shown as 2 x 2: grey values are means, and each channel is the share that its organ covers."""
    slices = torch.tensor([[[0.0, 1.0, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0]]])
    labels = torch.tensor([[[1, 2, 2, 2], [0, 0, 3, 0]]], dtype=torch.uint8)
    image, masks = classifier_input(slices, labels, organs=3, side=2)
    assert torch.equal(image, torch.tensor([[[[0.5, 0.5], [0.0, 1.0]]]]))
    assert torch.equal(masks[0, 0], torch.tensor([[0.5, 0.0], [0.0, 0.0]]))
    assert torch.equal(masks[0, 1], torch.tensor([[0.5, 1.0], [0.0, 0.0]]))
    assert torch.equal(masks[0, 2], torch.tensor([[0.0, 0.0], [0.0, 0.5]]))


def test_left_and_right_trade_channels_in_a_mirror(tmp_path: Path) -> None:
    """Reflected along one axis the left eye's mask stands mirrored in the right eye's channel, and its Dice with it;
    along none it stays."""
    grey = np.arange(100, 1000, 100, dtype=np.uint16).reshape(1, 3, 3)
    mask = np.array([[1, 0, 0], [0, 0, 0], [0, 3, 0]], dtype=np.uint8)
    image, masks = WINDOW.normalise(grey[0]), mask == np.array([1, 2, 3])[:, None, None]
    write_volume(tmp_path / "prepared", "fish", grey, None, split="train")
    write_examples(tmp_path / "examples", [Candidate("fish", 0, True, None, (0.1, 0.2, 0.3), "review", lambda: mask)])
    readers = SliceReader(tmp_path / "prepared", cache_megabytes=1), MaskReader(tmp_path / "examples")
    examples = read_examples(tmp_path / "examples")
    resized = ResizedExamples(examples, *readers, {"fish": WINDOW}, organs=3, side=3)
    batches = QualityBatches(resized, ORGANS, STILL, batch_size=30, reviewed_weight=5.0, stage="s", seed=1)
    kept = batches.shown(batches[0])
    np.testing.assert_allclose(kept.slices[0, 0], image, atol=1e-6)
    np.testing.assert_allclose(kept.masks[0], masks, atol=1e-6)
    seen = set()
    mirrored = replace(batches, augmentation=replace(STILL, mirror_y=0.5, mirror_x=0.5))
    shown = mirrored.shown(mirrored[0])
    for turned, organs, dice in zip(shown.slices[:, 0], shown.masks.numpy(), shown.dice, strict=True):
        channel, y, x = (int(v) for v in np.argwhere(organs > 0.5)[0])
        seen.add((channel, y, x))
        assert (organs[2] > 0.5).any()
        assert turned[y, x].item() == pytest.approx(image[0, 0], abs=1e-6)
        assert dice[channel].item() == pytest.approx(0.1)
    assert seen == {(0, 0, 0), (1, 0, 2), (1, 2, 0), (0, 2, 2)}  # two reflections are a half turn: no mirror image


def test_auc_and_points_of_four_slices() -> None:
    """Good 0.9 and 0.4, bad 0.6 and 0.1: of four pairs three are in order, so the area is 3/4."""
    probabilities, good = np.array([0.9, 0.6, 0.4, 0.1]), np.array([True, False, True, False])
    roc = RocCurve.of(probabilities, good)
    assert roc.auc == 0.75
    assert [(p.threshold, p.false_positive_rate, p.true_positive_rate) for p in roc.points] == [
        (math.inf, 0.0, 0.0),
        (0.9, 0.0, 0.5),
        (0.6, 0.5, 0.5),
        (0.4, 0.5, 1.0),
        (0.1, 1.0, 1.0),
    ]
    at_half = at_threshold(probabilities, good, 0.5)
    assert (at_half.precision, at_half.true_positive_rate, at_half.kept_share) == (0.5, 0.5, 0.5)
    assert at_threshold(probabilities, good, 0.6) == replace(at_half, threshold=0.6)


def test_ties_count_half() -> None:
    """One probability for all is worth no more than chance."""
    assert RocCurve.of(np.full(5, 0.3), np.array([True, True, False, False, False])).auc == 0.5


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auc_is_the_share_of_pairs_in_order(pairs: list[tuple[int, bool]]) -> None:
    """The area is the share of (good, bad) pairs with the good one above, ties half; none without both kinds."""
    probabilities, good = np.array([p / 5 for p, _ in pairs]), np.array([g for _, g in pairs])
    roc = RocCurve.of(probabilities, good)
    if good.all() or not good.any():
        assert roc.auc is None
        assert roc.auc_missing
        return
    differences = probabilities[good][:, None] - probabilities[~good][None, :]
    assert roc.auc == pytest.approx(((differences > 0) + 0.5 * (differences == 0)).mean())


SECTION = TrainClassifier(
    folds=2,
    encoder_depth=3,
    workers=0,
    side=32,
    reviewed_weight=5.0,
    organ_weight=1.0,
    schedule=Schedule(epochs=1, steps_per_epoch=40, batch_size=8, learning_rate=0.001, one_cycle=True, averaging=0.0),
    augmentation=replace(STILL, contrast=0.2, brightness=0.1, noise=0.02),
)


def intact_and_shifted(root: Path, *, volumes: int = 4, dice: tuple[float | None, ...] | None = None) -> Learning:
    """Fish whose masks are right in every second example, and seven pixels too low in the others."""

    def shifted(mask: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
        return np.roll(mask, rows, axis=0)

    records, candidates = [], []
    for number in range(volumes):
        image, labels = fish(number, slices=8)
        name = f"train_{number}"
        records.append(write_volume(root / "prepared", name, image, labels, split="train"))
        for z in range(8):
            good = z % 2 == 0
            read_mask = partial(shifted, labels[z], 0 if good else 7)
            candidates.append(Candidate(name, z, good, None, dice, "review", read_mask))
    write_catalogue(root / "prepared", *records)
    write_examples(root / "examples", candidates)
    return Learning.read(SECTION, seed=1, prepared_dir=root / "prepared", examples_dir=root / "examples")


def test_good_and_bad_are_drawn_as_often(tmp_path: Path) -> None:
    """With one good example among eight, batches are half good all the same, and each is shown with its own mask."""
    learning = intact_and_shifted(tmp_path, volumes=2)
    of_one = [e for e in learning.examples if not e.good] + [e for e in learning.examples if e.good][:1]
    images, masks = SliceReader(tmp_path / "prepared", cache_megabytes=1), MaskReader(tmp_path / "examples")
    windows = {e.volume_id: WINDOW for e in of_one}
    resized = ResizedExamples(of_one, images, masks, windows, organs=3, side=40)
    batches = QualityBatches(resized, ORGANS, STILL, 64, reviewed_weight=5.0, stage="train_classifier", seed=3)
    first, again = (batches.shown(batches[5]) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first[:3], again[:3], strict=True))
    assert not torch.equal(first.good, replace(batches, stage="another")[5].good)
    assert first.slices.shape == (64, 1, 40, 40)
    assert first.masks.shape == (64, 3, 40, 40)
    assert 20 < int(first.good.sum()) < 44
    mask = masks.mask(of_one[-1])
    of_good = first.masks[first.good == 1]
    right = torch.from_numpy(mask == np.array([1, 2, 3])[:, None, None]).float()
    assert torch.allclose(of_good, right.expand_as(of_good), atol=1e-4)


def test_what_people_judged_is_drawn_more_often(tmp_path: Path) -> None:
    """Of four good slices one was judged: with a weight of 3 it is half of the good ones that are drawn, 3 of 3 + 3;
    with a weight of 1 a quarter. Of the bad ones nobody judged any, and each is drawn as often as the others."""
    learning = intact_and_shifted(tmp_path, volumes=1)
    seen = next(e for e in learning.examples if e.good)
    examples = [e if e == seen else replace(e, source="cross_fit") for e in learning.examples]
    resized = learning.resized.of(examples)
    for weight, share in ((3.0, 0.5), (1.0, 0.25)):
        batches = QualityBatches(resized, ORGANS, STILL, 400, reviewed_weight=weight, stage="s", seed=1)
        drawn = batches.shown(batches[0])
        mine = torch.from_numpy(resized[examples.index(seen)][0])
        found = (drawn.slices[:, 0] - mine).abs().amax(dim=(1, 2)) < 1e-4
        good = drawn.good == 1
        assert not found[~good].any()
        assert float(found[good].float().mean()) == pytest.approx(share, abs=0.07)


def test_dice_goes_with_the_mask_that_it_is_of(tmp_path: Path) -> None:
    """In a mirror image left and right eye trade places, and so do their Dice; what nobody knows is NaN."""
    learning = intact_and_shifted(tmp_path, volumes=2)
    resized = learning.resized.of([replace(learning.examples[0], dice=(0.1, 0.2, None))])
    batches = QualityBatches(resized, ORGANS, STILL, batch_size=1, reviewed_weight=5.0, stage="s", seed=1)
    expected = batches.shown(batches[0]).dice[0].tolist()
    assert expected == pytest.approx([0.1, 0.2, math.nan], abs=1e-6, nan_ok=True)
    traded = [expected[index - 1] for index in ORGANS.mirrored[1:]]
    assert traded != expected
    mirrored = batches.shown(replace(batches, augmentation=replace(STILL, mirror_x=1.0))[0]).dice[0].tolist()
    assert mirrored == pytest.approx(traded, nan_ok=True)
    assert torch.isnan(replace(batches, resized=learning.resized, batch_size=4)[0].dice).all()


@pytest.mark.slow
def test_where_people_judged_no_dice_is_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody knows it: the classifier says good or bad alone, and a warning says so. With known ones it learns them."""
    monkeypatch.chdir(tmp_path)
    section = replace(SECTION, schedule=replace(SECTION.schedule, steps_per_epoch=2))
    for name, dice, expects in (("people", None, False), ("truth", (0.5, None, 1.0), True)):
        learning = replace(intact_and_shifted(tmp_path / name, volumes=2, dice=dice), section=section)
        caplog.clear()
        metrics = train_classifier(learning, threshold=0.5, ranks=Processes(), report=lambda _epoch: None)
        assert load_classifier_architecture(QUALITY_CLASSIFIER).expects_dice is expects
        assert ("dice_error" in metrics) is expects
        assert ("expect no Dice" in caplog.text) is not expects


@pytest.mark.slow
def test_it_learns_to_tell_intact_from_shifted_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After forty steps nine of ten pairs of volumes that were not seen are ranked right, in all and in each volume."""
    monkeypatch.chdir(tmp_path)
    learning = intact_and_shifted(tmp_path)
    losses: list[float] = []
    report = train_classifier(
        learning, threshold=0.5, ranks=Processes(), report=lambda epoch: losses.append(epoch.losses["loss"])
    )
    assert len(losses) == 1
    assert report["auc"] > 0.9
    assert (report["judged_by"], report["folds"]) == ("volumes", 2)
    assert report["judged_examples"] == report["train_examples"] == {"good": 16, "bad": 16}
    assert report["base_rate"] == 0.5
    assert sorted(report["volumes"]) == ["train_0", "train_1", "train_2", "train_3"]
    kept = [own["kept_share"] for own in report["volumes"].values()]
    assert report["kept_share"] == pytest.approx(sum(kept) / 4)
    assert json.loads(json.dumps(report)) == report
    assert read_details(QUALITY_CLASSIFIER)["auc"] == report["auc"]
    assert not list(Path(".resume").iterdir())
    assert read_columns(ROC)["kept_share"][-1] == 1.0


@pytest.mark.slow
def test_what_is_written_has_learnt_from_all_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint's weights are those of a training on every example, whatever the folds were."""
    monkeypatch.chdir(tmp_path)
    section = replace(SECTION, schedule=replace(SECTION.schedule, steps_per_epoch=3))
    learning = replace(intact_and_shifted(tmp_path, volumes=2), section=section)
    train_classifier(learning, threshold=0.5, ranks=Processes(), report=lambda _epoch: None)
    network = learning.new_network()
    for _epoch in learning.epochs(network, Processes()):
        pass
    written = load_classifier(QUALITY_CLASSIFIER)
    assert all(torch.equal(written.state_dict()[name], weights) for name, weights in network.state_dict().items())
    score, examples = scorer(written, organs=3, side=32), learning.examples
    slices = np.stack([learning.resized.images.image(e.volume_id, e.slice_index) for e in examples])
    good = score(slices, np.stack([learning.resized.masks.mask(e) for e in examples]), WINDOW).good
    said = predicted(network, learning.resized.of(examples), batch_size=8)
    np.testing.assert_allclose(good, said[:, 0], atol=1e-5)


@pytest.mark.slow
def test_a_fold_has_learnt_nothing_of_what_it_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdicts on one volume are those of a classifier of the other's examples alone."""
    monkeypatch.chdir(tmp_path)
    section = replace(SECTION, schedule=replace(SECTION.schedule, steps_per_epoch=3))
    learning = replace(intact_and_shifted(tmp_path, volumes=2), section=section)
    validation = cross_validation(learning.examples, 2, seed=1)
    judged = cross_validated(learning, validation, ranks=Processes()).of_volume("train_0")
    number = 1 if validation.folds[0].judged == judged.examples else 2
    of_other = learning.fold(number, tuple(e for e in learning.examples if e.volume_id == "train_1"))
    network = of_other.new_network()
    for _epoch in of_other.epochs(network, Processes()):
        pass
    said = predicted(network, learning.resized.of(judged.examples), batch_size=8)
    assert np.array_equal(np.column_stack([judged.probabilities, judged.dice]), said)
