"""Stage refine: which pseudo-labels the Student gets, with a classifier that is known."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scans.geometry import Box
from scans.intensity import Window
from scans.organs import NOT_LABELLED
from scans.verdicts import Verdicts
from tests.training.tiny_volumes import write_catalogue, write_volume
from training.data.pseudo_labels import (
    Confidence,
    KeptSlice,
    PseudoLabelReader,
    PseudoLabelWriter,
    read_refined,
    refined_labels_dir,
    refined_labels_sha256,
)
from training.data.truth import write_truth
from training.params import Refine
from training.quality.components import ComponentRule
from training.quality.truth_scores import Figures, flat
from training.stages.refine import BATCH_SLICES, VolumeCounts, against_truth, refine, summary

SECTION = Refine(quality_classifier=True, threshold=0.5, least_confidence=0.0, keep_empty=False, components=False)


def by_grey_value(slices: NDArray[Any], masks: NDArray[np.uint8], window: Window) -> Verdicts:
    """As good as the slice is bright; asked about an empty mask it fails, since it must never be."""
    assert masks.any(axis=(1, 2)).all()
    good: NDArray[np.float32] = window.normalise(slices).mean(axis=(1, 2))
    return Verdicts(good, None)


def data(tmp_path: Path, grey: list[int], holds: list[bool]) -> None:
    """One unlabelled volume: a grey value for each slice, and whether the Teacher sees an organ there."""
    image = np.broadcast_to(np.array(grey, dtype=np.uint16)[:, None, None], (len(grey), 4, 4)).copy()
    record = write_volume(tmp_path / "prepared", "fish", image, None, split="unlabelled")
    write_catalogue(tmp_path / "prepared", record)
    labels = np.zeros(image.shape, dtype=np.uint8)
    labels[holds, 1, 1] = 2
    with PseudoLabelWriter(tmp_path / "pseudo", "fish", record.shape) as writer:
        writer.write(Box.of_shape(record.shape), labels)


def run(
    tmp_path: Path, section: Refine, *, classifier: bool = True, rule: ComponentRule | None = None
) -> dict[str, VolumeCounts]:
    return refine(
        by_grey_value if classifier else None,
        section,
        rule=rule or {},
        prepared_dir=tmp_path / "prepared",
        pseudo_labels_dir=tmp_path / "pseudo",
        output_dir=tmp_path / "refined",
    )


def test_slices_at_or_above_the_threshold_are_kept(tmp_path: Path) -> None:
    """With threshold 0.5: 0.25 goes, 0.5 and 0.75 stay, each under its own index and with its own probability."""
    data(tmp_path, grey=[350, 600, 850], holds=[True, True, True])
    counts = run(tmp_path, SECTION)
    assert read_refined(tmp_path / "refined") == (KeptSlice("fish", 1, 0.5), KeptSlice("fish", 2, 0.75))
    assert counts == {"fish": VolumeCounts("", slices=3, empty=0, kept=2)}


def test_slices_without_an_organ_are_left_out(tmp_path: Path) -> None:
    """Bright slices where the Teacher sees nothing are not kept, and do not shift the others' indices."""
    holds = [False] * (BATCH_SLICES + 1) + [True, False, True]
    data(tmp_path, grey=[1100] * len(holds), holds=holds)
    counts = run(tmp_path, SECTION)
    kept = [slice_.slice_index for slice_ in read_refined(tmp_path / "refined")]
    assert kept == [BATCH_SLICES + 1, BATCH_SLICES + 3]
    assert counts["fish"].empty == BATCH_SLICES + 2


@pytest.mark.parametrize(
    ("classifier", "keep_empty", "kept"),
    [
        (True, False, [(2, 0.75)]),
        (True, True, [(1, 1.0), (2, 0.75), (3, 1.0)]),
        (False, False, [(0, 1.0), (2, 1.0)]),
        (False, True, [(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0)]),
    ],
)
def test_the_classifier_and_empty_slices_are_switched_apart(
    tmp_path: Path, *, classifier: bool, keep_empty: bool, kept: list[tuple[int, float]]
) -> None:
    """A dark and a bright slice with an organ, and two without: each switch moves slices of its own kind alone."""
    data(tmp_path, grey=[350, 350, 850, 850], holds=[True, False, True, False])
    section = replace(SECTION, quality_classifier=classifier, keep_empty=keep_empty)
    counts = run(tmp_path, section, classifier=classifier)
    assert read_refined(tmp_path / "refined") == tuple(KeptSlice("fish", index, good) for index, good in kept)
    assert counts == {"fish": VolumeCounts("", slices=4, empty=2, kept=len(kept))}


def test_components_are_left_out_before_anything_is_judged(tmp_path: Path) -> None:
    """A right eye through two slices, and a pixel of another two slices on: with the rule the last slice is empty.

    The labels that the Student learns are then those without the pixel; without a rule they are the Teacher's.
    """
    data(tmp_path, grey=[850] * 4, holds=[True, True, False, True])
    assert run(tmp_path, SECTION)["fish"] == VolumeCounts("", slices=4, empty=1, kept=3)
    assert refined_labels_dir(tmp_path / "refined", pseudo_labels_dir=tmp_path / "pseudo") == tmp_path / "pseudo"
    assert run(tmp_path, SECTION, rule={"right_eye": 1.0})["fish"] == VolumeCounts("", slices=4, empty=2, kept=2)
    assert [slice_.slice_index for slice_ in read_refined(tmp_path / "refined")] == [0, 1]
    labels = PseudoLabelReader(refined_labels_dir(tmp_path / "refined", pseudo_labels_dir=tmp_path / "pseudo"))
    assert [bool(labels.labels("fish", index).any()) for index in range(4)] == [True, True, False, False]


@pytest.mark.parametrize("rule", [{}, {"right_eye": 1.0}])
def test_an_organ_that_nobody_is_sure_of_teaches_nothing(tmp_path: Path, rule: ComponentRule) -> None:
    """The eye of the second slice is masked, at 0.4 of at least 0.5, and the heart beside it is not; the slice is kept,
    and judged with its eye. Labels and hash are others; components that were left out stay so."""
    data(tmp_path, grey=[850] * 4, holds=[True, True, False, True])
    labels = PseudoLabelReader(tmp_path / "pseudo").array("fish")[:]
    labels[1, 2, 2] = 3
    confidence = Confidence(np.ones(4, np.float32), np.full((4, 3), np.nan, np.float32))
    confidence.organs[:, 1], confidence.organs[1] = 0.9, (np.nan, 0.4, 0.5)
    with PseudoLabelWriter(tmp_path / "pseudo", "fish", labels.shape) as writer:
        writer.write(Box.of_shape(labels.shape), labels, confidence)
    counts = run(tmp_path, SECTION, rule=rule)
    sure = refined_labels_sha256(tmp_path / "refined")
    assert run(tmp_path, replace(SECTION, least_confidence=0.5), rule=rule) == counts
    assert refined_labels_sha256(tmp_path / "refined") != sure
    folder = refined_labels_dir(tmp_path / "refined", pseudo_labels_dir=tmp_path / "pseudo")
    found = PseudoLabelReader(folder).array("fish")[:]
    expected = labels.copy()
    expected[1, 1, 1] = NOT_LABELLED
    expected[3] = 0 if rule else expected[3]
    assert folder == tmp_path / "refined" and np.array_equal(found, expected)
    assert sorted(path.name for path in folder.iterdir()) == ["fish.zarr", "refined.json"]


def test_the_labels_that_were_kept_from_have_a_hash(tmp_path: Path) -> None:
    """Other labels, of the same slices, are another data set to whoever goes on with a training."""
    data(tmp_path, grey=[850] * 4, holds=[True, True, False, True])
    hashes = []
    for rule in ({}, {"right_eye": 0.1}, {"right_eye": 1.0}):
        run(tmp_path, replace(SECTION, keep_empty=True), rule=rule)
        hashes.append(refined_labels_sha256(tmp_path / "refined"))
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_rule_that_leaves_nothing_out_copies_nothing(tmp_path: Path) -> None:
    """And what an earlier rule left behind is gone."""
    data(tmp_path, grey=[850], holds=[True])
    run(tmp_path, SECTION, rule={"right_eye": 0.3})
    run(tmp_path, SECTION, rule={"right_eye": 0.0})
    assert [path.name for path in (tmp_path / "refined").iterdir()] == ["refined.json"]


def test_nothing_kept_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A threshold that nothing reaches leaves an empty list and says loudly which parameter it is."""
    data(tmp_path, grey=[350], holds=[True])
    with caplog.at_level(logging.WARNING):
        run(tmp_path, replace(SECTION, threshold=0.9))
    assert read_refined(tmp_path / "refined") == ()
    assert "refine.threshold = 0.9" in caplog.text


def test_no_organ_anywhere_is_another_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without the classifier, and with empty slices left out, no threshold is to blame."""
    data(tmp_path, grey=[350], holds=[False])
    with caplog.at_level(logging.WARNING):
        run(tmp_path, replace(SECTION, quality_classifier=False), classifier=False)
    assert read_refined(tmp_path / "refined") == ()
    assert "refine.keep_empty is false" in caplog.text


def compared(tmp_path: Path, *, classifier: bool = True) -> dict[str, Figures]:
    return against_truth(
        good_iou=0.5,
        classifier=classifier,
        prepared_dir=tmp_path / "prepared",
        pseudo_labels_dir=tmp_path / "pseudo",
        refined_dir=tmp_path / "refined",
    )


def with_truth(tmp_path: Path) -> None:
    """The Teacher sees one pixel of a right eye in four of five slices; of these the second and the fourth are wrong.

    Truth: the same pixel; it and three more; the same pixel; a left eye in its place; a left eye, which is not seen.
    """
    data(tmp_path, grey=[850, 850, 350, 350, 850], holds=[True, True, True, True, False])
    truth = np.zeros((5, 4, 4), dtype=np.uint8)
    truth[:3, 1, 1] = 2
    truth[1, 2, :3] = 2
    truth[3:, 1, 1] = 1
    write_truth(tmp_path / "prepared", "fish", truth)


def test_verdicts_are_compared_with_the_truth_where_it_is_known(tmp_path: Path) -> None:
    """Kept: a good slice and a bad one; dropped: a good one and a bad one. Right eye: 3 hits, 1 too many, 3 missed."""
    with_truth(tmp_path)
    run(tmp_path, SECTION)
    found = compared(tmp_path)
    assert found["all"] == {
        "slices": 5,
        "dice": (6 / 10 + 0) / 2,
        "kept_dice": 4 / 7,  # 2 hits and 3 missed; no left eye in either
        "good_share": 2 / 4,
        "precision": 1 / 2,
        "recall": 1 / 2,
        "invented_share": 1 / 5,
        "missed_share": 2 / 5,
    }
    assert found[""] == found["all"]
    assert flat({"all": found["all"], "spring": found[""]})["truth.precision.spring"] == 1 / 2


def test_without_the_classifier_there_are_no_verdicts_to_compare(tmp_path: Path) -> None:
    """Precision and recall are left out; Dice and what was invented or missed are as before."""
    with_truth(tmp_path)
    run(tmp_path, replace(SECTION, quality_classifier=False), classifier=False)
    found = compared(tmp_path, classifier=False)["all"]
    assert (found["precision"], found["recall"], found["dice"], found["missed_share"]) == (None, None, 0.3, 2 / 5)
    assert "truth.precision" not in flat({"all": found})


def test_of_volumes_whose_truth_nobody_knows_nothing_is_said(tmp_path: Path) -> None:
    """Real scans have no truth: there are no figures, and no table of them."""
    data(tmp_path, grey=[850], holds=[True])
    run(tmp_path, SECTION)
    assert compared(tmp_path) == {}


def test_counts_are_added_up_by_experiment() -> None:
    """Of 10 + 30 slices of one beam time 5 + 15 are kept, of 20 of another none: shares 1/2, 0, and 1/3 of all."""
    report = summary(
        {
            "a": VolumeCounts("spring", slices=10, empty=1, kept=5),
            "b": VolumeCounts("spring", slices=30, empty=2, kept=15),
            "c": VolumeCounts("autumn", slices=20, empty=20, kept=0),
        }
    )
    assert report["by_experiment"]["spring"] == {"slices": 40, "empty": 3, "kept": 20, "kept_share": 0.5}
    assert report["by_experiment"]["autumn"]["kept_share"] == 0.0
    assert (report["slices"], report["kept"], report["kept_share"]) == (60, 20, 1 / 3)
    assert report["volumes"]["c"]["experiment"] == "autumn"
