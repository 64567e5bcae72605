"""What people say of pseudo-labels: which verdicts count, and what refine makes of them."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scans.geometry import Box
from scans.hashes import file_sha256
from scans.mask_digest import mask_sha256
from scans.organs import NOT_LABELLED
from scans.raw.provenance import Origin
from scans.reviews import ReviewTally
from tests.training.tiny_volumes import ORGANS, write_catalogue, write_volume
from training.data.prepared import Catalogue
from training.data.pseudo_labels import (
    Confidence,
    PseudoLabelReader,
    PseudoLabelWriter,
    read_refined,
    refined_labels_dir,
    refined_labels_sha256,
)
from training.params import Refine
from training.quality.reviews import Review, Reviewable, ReviewsError, read_reviews
from training.quality.standing import StandingVerdicts, read_standing
from training.stages.refine import of_reviews, refine

SECTION = Refine(quality_classifier=False, threshold=0.5, least_confidence=0.0, keep_empty=False, components=False)
LABELS = np.zeros((5, 4, 4), dtype=np.uint8)
LABELS[:4, 1, 1] = 1  # a pixel of the left eye
LABELS[:4, 2, 2:] = 3  # two of the heart
DIGESTS = [mask_sha256(plane) for plane in LABELS]


def data_set(tmp_path: Path) -> None:
    """One unlabelled fish of five slices; in the last one the Teacher sees nothing."""
    record = write_volume(tmp_path / "prepared", "fish", np.full((5, 4, 4), 600, np.uint16), None, split="unlabelled")
    write_catalogue(tmp_path / "prepared", record)
    sure = Confidence(np.ones(5, np.float32), np.full((5, 3), 0.4, np.float32))
    with PseudoLabelWriter(tmp_path / "pseudo", "fish", record.shape) as writer:
        writer.write(Box.of_shape(record.shape), LABELS, sure)


def reviews_csv(tmp_path: Path, *lines: str, header: str = "volume,slice_index,verdict,organ,mask_sha256") -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return path


def said(tmp_path: Path, *lines: str, header: str = "volume,slice_index,verdict,organ,mask_sha256") -> StandingVerdicts:
    path = reviews_csv(tmp_path, *lines, header=header)
    catalogue = Catalogue.read(tmp_path / "prepared")
    return read_standing(path, catalogue, pseudo_labels_dir=tmp_path / "pseudo")


def refined(tmp_path: Path, verdicts: StandingVerdicts, section: Refine = SECTION) -> tuple[list[int], np.ndarray]:
    """The slices that are kept, and the labels that are left."""
    stores = {"prepared_dir": tmp_path / "prepared", "pseudo_labels_dir": tmp_path / "pseudo"}
    refine(None, section, rule={}, said=verdicts, output_dir=tmp_path / "refined", **stores)
    folder = refined_labels_dir(tmp_path / "refined", pseudo_labels_dir=tmp_path / "pseudo")
    kept = [slice_.slice_index for slice_ in read_refined(tmp_path / "refined")]
    return kept, PseudoLabelReader(folder).array("fish")[:]


def test_a_verdict_counts_for_the_very_mask_that_was_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Slice 0 with its own digest, slice 4 with that of slice 0, slice 2 with none: the second teaches nothing."""
    data_set(tmp_path)
    with caplog.at_level(logging.WARNING):
        found = said(tmp_path, f"fish,0,bad,,{DIGESTS[0]}", f"fish,4,good,,{DIGESTS[0]}", "fish,2,bad,,")
    assert found == StandingVerdicts({("fish", 0): False, ("fish", 2): False}, {})
    assert "1 reviews are of other masks" in caplog.text


def test_unsure_skipped_and_ended_verdicts_teach_nothing(tmp_path: Path) -> None:
    """A server's export has them beside those that do; organs keep their own."""
    data_set(tmp_path)
    header = "volume,slice_index,verdict,ending,organ,comment,reviewer"
    lines = ["fish,0,unsure,,,,ada", "fish,1,skip,,,,ada", 'fish,2,bad,replaced,,"a, b",ada', "fish,3,bad,,heart,,ada"]
    assert said(tmp_path, *lines, header=header) == StandingVerdicts({}, {("fish", 3): {"heart": False}})


def test_what_reviewers_do_not_agree_on_teaches_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Ada and Eve differ on slice 0, and agree on slice 1; one reviewer who differs from himself is an error."""
    data_set(tmp_path)
    header = "volume,slice_index,verdict,reviewer"
    with caplog.at_level(logging.WARNING):
        found = said(tmp_path, "fish,0,good,ada", "fish,0,bad,eve", "fish,1,bad,ada", "fish,1,bad,eve", header=header)
    assert found.slices == {("fish", 1): False}
    assert "of 1 slices or organs reviewers say good and bad" in caplog.text
    with pytest.raises(ReviewsError, match=r"line 3: slice 0 of fish is judged good and bad, see line 2"):
        said(tmp_path, "fish,0,good,ada", "fish,0,bad,ada", header=header)


def test_one_mask_in_two_scans_may_be_judged_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that was posted twice: Ada calls its slice 0 good, and bad; neither counts; slice 1 does."""
    data_set(tmp_path)
    header = "volume,slice_index,verdict,mask_sha256,reviewer,scan"
    zero, one = f"{DIGESTS[0]},ada", f"{DIGESTS[1]},ada"
    lines = [f"fish,0,good,{zero},a", f"fish,0,bad,{zero},b", f"fish,1,bad,{one},a", f"fish,1,bad,{one},b"]
    with caplog.at_level(logging.WARNING):
        assert said(tmp_path, *lines, header=header) == StandingVerdicts({("fish", 1): False}, {})
    assert "of 1 slices or organs reviewers say good and bad" in caplog.text


def test_verdicts_follow_their_scan_into_the_data_set(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A server calls it `day_7-fish`, here it is `fish`, and provenance has its id; a line of another scan goes by its
    name, and what is of no volume here is told, unless it would teach nothing anyway.
    """
    data_set(tmp_path)
    catalogue = Catalogue.read(tmp_path / "prepared")
    origin = Origin(**{**dict.fromkeys(Origin.__dataclass_fields__, ""), "image": "a.nii.gz", "scan": "0123"})
    write_catalogue(tmp_path / "prepared", *(replace(record, origin=origin) for record in catalogue.volumes))
    header = "volume,slice_index,verdict,mask_sha256,scan,ending"
    lines = [
        *(f"day_7-fish,0,bad,{DIGESTS[0]},0123,", f"fish,1,bad,{DIGESTS[1]},4567,"),
        *(f"{name},0,bad,{DIGESTS[0]},89ab," for name in ("shark", "g", "f", "e", "d", "c", "c")),
        *(f"x,0,bad,{DIGESTS[0]},89ab,replaced", f"x,0,unsure,{DIGESTS[0]},89ab,"),
    ]
    with caplog.at_level(logging.WARNING):
        assert said(tmp_path, *lines, header=header).slices == {("fish", 0): False, ("fish", 1): False}
    assert "7 lines of" in caplog.text and "they name the volumes c, d, e, f, g and 1 more" in caplog.text


def test_a_line_of_another_data_set_is_passed_over_where_it_has_a_digest(tmp_path: Path) -> None:
    """A server sees more scans than are learnt from; without a digest the same line is a mistake, and named."""
    path = reviews_csv(
        tmp_path, f"shark,0,bad,,{DIGESTS[0]}", f"fish,9,bad,,{DIGESTS[0]}", f"fish,0,bad,fin,{DIGESTS[0]}"
    )
    assert read_reviews(path, Reviewable({"fish": 5}, ORGANS.names)) == ()
    path = reviews_csv(tmp_path, "shark,0,bad,,", "fish,9,bad,,", "fish,0,bad,fin,", f"fish,0,bad,,{DIGESTS[0][:9]}")
    with pytest.raises(ReviewsError) as error:
        read_reviews(path, Reviewable({"fish": 5}, ORGANS.names))
    lines = str(error.value).splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == ["line 2", "line 3", "line 4", "line 5"]
    assert "organ 'fin'; expected one of left_eye, right_eye, heart" in lines[2]
    assert "expected 64 hexadecimal digits" in lines[3]


def test_every_verdict_is_counted_in_one_place(tmp_path: Path) -> None:
    """Ten are given: three on slices and one on an organ count, of ada and eve; the others are each for one reason.

    What is unsure, has ended or is there twice is none; where nobody said good or bad there is nothing to tell.
    """
    data_set(tmp_path)
    header = "volume,slice_index,verdict,organ,mask_sha256,reviewer,ending"
    lines = [
        f"fish,0,good,,{DIGESTS[0]},ada,",
        f"fish,0,good,,{DIGESTS[0]},ada,",  # again
        "fish,0,good,,,eve,",
        f"fish,1,bad,,{DIGESTS[1]},ada,",
        f"fish,1,bad,heart,{DIGESTS[1]},ada,",
        f"fish,2,good,,{DIGESTS[4]},bob,",  # another mask
        f"shark,2,good,,{DIGESTS[0]},bob,",  # another scan, and slice
        f"fish,9,bad,,{DIGESTS[0]},bob,",
        f"shark,3,unsure,,{DIGESTS[0]},bob,",
        f"shark,3,good,,{DIGESTS[0]},bob,replaced",
        *("fish,3,good,,,ada,", "fish,3,bad,,,eve,", "fish,3,bad,,,dan,"),  # disputed
        *("fish,2,unsure,,,ada,", "fish,2,bad,,,ada,withdrawn"),
    ]
    found = said(tmp_path, *lines, header=header)
    expected = ReviewTally(file_sha256(tmp_path / "reviews.csv"), 2, 1, 1, 1, 2, 3, reviewers=("ada", "eve"))
    expected = replace(expected, on_pseudo_labels=4)
    assert (found.tally, expected.counted, expected.given) == (expected, 4, 10)
    assert of_reviews(found)["reviews"] | {"reviewers": ("ada", "eve")} == vars(expected)
    assert of_reviews(said(tmp_path, "fish,2,unsure,,,ada,", header=header)) == {}


@pytest.mark.parametrize("more", ["colour", "organ,organ", "organ,verdict"])
def test_columns_that_nobody_knows_are_refused(tmp_path: Path, more: str) -> None:
    """A misspelt column would be passed over in silence; one that comes twice is one too many."""
    with pytest.raises(ReviewsError, match="once each, any of organ, mask_sha256, reviewer"):
        read_reviews(reviews_csv(tmp_path, header=f"volume,slice_index,verdict,{more}"), Reviewable({}))


def test_columns_may_come_in_any_order(tmp_path: Path) -> None:
    """After the three that there always were."""
    path = reviews_csv(
        tmp_path, f"fish,1,bad,ada,{DIGESTS[1]},heart", header="volume,slice_index,verdict,reviewer,mask_sha256,organ"
    )
    expected = Review("fish", 1, good=False, organ="heart", mask_sha256=DIGESTS[1], reviewer="ada")
    assert read_reviews(path, Reviewable({"fish": 5}, ["heart"])) == (expected,)


def test_people_decide_which_slices_are_kept(tmp_path: Path) -> None:
    """Slice 1 is bad and dropped, the empty slice 4 good and kept; labels are the Teacher's, and nothing is copied."""
    data_set(tmp_path)
    kept, labels = refined(tmp_path, said(tmp_path, "fish,1,bad,,", "fish,4,good,,"))
    assert kept == [0, 2, 3, 4]
    assert np.array_equal(labels, LABELS)
    assert [path.name for path in (tmp_path / "refined").iterdir()] == ["refined.json"]


def test_people_count_more_than_the_classifier(tmp_path: Path) -> None:
    """Of slices that a classifier drops all of, one that is called good is kept, and one of which an organ is bad."""
    data_set(tmp_path)

    def nothing_is_good(slices: np.ndarray, masks: np.ndarray, window: object) -> object:
        from scans.verdicts import Verdicts

        return Verdicts(np.zeros(len(slices), np.float32), None)

    refine(
        nothing_is_good,
        replace(SECTION, quality_classifier=True),
        rule={},
        said=said(tmp_path, "fish,0,good,,", "fish,2,bad,heart,", "fish,3,bad,heart,", "fish,3,bad,,"),
        prepared_dir=tmp_path / "prepared",
        pseudo_labels_dir=tmp_path / "pseudo",
        output_dir=tmp_path / "refined",
    )
    assert [slice_.slice_index for slice_ in read_refined(tmp_path / "refined")] == [0, 2]


def test_the_pixels_of_a_bad_organ_teach_nothing(tmp_path: Path) -> None:
    """The heart of slice 2 is bad: its two pixels are masked, and the background, where the rest of it may be; the eye
    beside it and all slices stay; another hash.
    """
    data_set(tmp_path)
    refined(tmp_path, StandingVerdicts())
    before = refined_labels_sha256(tmp_path / "refined")
    kept, labels = refined(tmp_path, said(tmp_path, f"fish,2,bad,heart,{DIGESTS[2]}", "fish,3,good,heart,"))
    expected = LABELS.copy()
    expected[2] = NOT_LABELLED
    expected[2, 1, 1] = 1
    assert kept == [0, 1, 2, 3] and np.array_equal(labels, expected)
    assert refined_labels_sha256(tmp_path / "refined") != before


def test_a_person_knows_better_than_confidence(tmp_path: Path) -> None:
    """All organs are below the least confidence; the heart that is called good stays, and so does all of slice 1."""
    data_set(tmp_path)
    section = replace(SECTION, least_confidence=0.5)
    _, labels = refined(
        tmp_path, said(tmp_path, "fish,0,good,heart,", "fish,1,good,,", "fish,1,bad,left_eye,"), section
    )
    expected = np.where(LABELS > 0, NOT_LABELLED, 0)
    expected[1] = NOT_LABELLED
    expected[0, 2, 2:] = expected[1, 2, 2:] = 3
    assert np.array_equal(labels, expected)


def test_an_organ_that_was_missed_is_not_taught_as_background(tmp_path: Path) -> None:
    """The right eye has no pixel and is bad in slice 1: eye and heart stay, the rest is not known. In the empty slice 4
    nothing is left, nor in slice 3, all of whose organs are bad: neither is kept.
    """
    data_set(tmp_path)
    lines = ["fish,1,bad,right_eye,", "fish,4,bad,heart,", "fish,3,bad,heart,", "fish,3,bad,left_eye,"]
    kept, labels = refined(tmp_path, said(tmp_path, *lines))
    assert kept == [0, 1, 2]
    assert labels[1].tolist() == [[255, 255, 255, 255], [255, 1, 255, 255], [255, 255, 3, 3], [255, 255, 255, 255]]
    assert np.array_equal(labels[[0, 2]], LABELS[[0, 2]])
