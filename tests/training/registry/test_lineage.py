"""A model says which corrections and reviews it learnt from: in its manifest, on its card, in the registry's tags."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from scans.intensity import IntensityRule, Window
from scans.model.manifest import Golden, ManifestError, ModelManifest
from scans.organs import OrganMap
from scans.raw.provenance import Origin
from scans.reviews import ReviewTally
from tests.training.tiny_volumes import fish, write_catalogue, write_volume
from training.data.prepared import Catalogue
from training.registry.card import card
from training.registry.version import tags_of

ORIGIN = Origin(
    image="labelled/images/fish_7.nii.gz",
    labels="labelled/labels/fish_7.nii.gz",
    server="http://beamline:8000",
    scan="0123abcd",
    scan_sha256="5" * 64,
    model="ricefish",
    model_version="4",
    model_sha256="6" * 64,
    correction="2",
    author="ada",
    corrected="2026-11-30T12:00:00+00:00",
    correction_sha256="7" * 64,
    image_sha256="8" * 64,
    labels_sha256="9" * 64,
)
LATER = ("other_organs", "held_out", "on_pseudo_labels")
REVIEWS = ReviewTally(
    "a" * 64,
    good=8,
    bad=1,
    on_organs=3,
    other_masks=20,
    other_scans=6,
    disputed=2,
    held_out=3,
    on_pseudo_labels=4,
    reviewers=("ada", "eve"),
)


def manifest(**changes: object) -> ModelManifest:
    blank = np.zeros((2, 2))
    whole = ModelManifest(
        name="fish",
        kind="segmentation",
        organs=OrganMap.from_mapping({1: "heart"}),
        intensity=IntensityRule(0.0, 100.0),
        model_sha256="1" * 64,
        data_sha256="2" * 64,
        spacing_mm=((0.1, 0.1), (0.1, 0.1), (0.1, 0.1)),
        intensity_range=(0.0, 1.0),
        golden=Golden(blank.astype(np.float32), Window(0.0, 1.0), blank.astype(np.uint8)),
    )
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


def test_a_catalogue_keeps_where_its_volumes_are_from(tmp_path: Path) -> None:
    """volumes.json gives it back; what was not corrected, and what nothing learns from, is no correction."""
    image, labels = fish(1)
    records = [
        dataclasses.replace(write_volume(tmp_path, name, image, labels, split="train"), origin=origin)
        for name, origin in {
            "fish_7": ORIGIN,
            "fish_8": dataclasses.replace(ORIGIN, correction=""),
            "fish_9": None,
        }.items()
    ]
    reserve = write_volume(tmp_path, "fish_10", image, labels, split="reserve")
    records.append(dataclasses.replace(reserve, origin=ORIGIN))
    write_catalogue(tmp_path, *records)
    read = Catalogue.read(tmp_path)
    assert [volume.origin for volume in read.volumes] == [record.origin for record in records]
    assert read.corrections == {"fish_7": ORIGIN}


def test_a_manifest_holds_corrections_where_there_are_any(tmp_path: Path) -> None:
    """They come back; without them it is what servers of before read."""
    manifest(corrections={"fish_7": ORIGIN}).write(tmp_path)
    assert ModelManifest.read(tmp_path).corrections == {"fish_7": ORIGIN}
    assert "corrections" not in manifest().to_dict()


def test_card_and_tags_name_each_correction() -> None:
    """Whose it is, of which scan and server, and what model had answered; nothing where there is none."""
    corrected = manifest(corrections={"fish_7": ORIGIN})
    assert (
        "  - fish_7: correction 2 by ada of scan 0123abcd at http://beamline:8000, 2026-11-30T12:00:00+00:00, "
        "answered by ricefish 4." in card(corrected).splitlines()
    )
    assert tags_of(corrected, manifest())["corrections"] == "fish_7: correction 2 by ada of scan 0123abcd"
    assert "corrections" not in card(manifest()) and "corrections" not in tags_of(manifest(), manifest())


def test_a_tag_is_no_longer_than_stores_keep() -> None:
    """The card has all of them."""
    many = manifest(corrections={f"fish_{number}": ORIGIN for number in range(500)})
    tag = tags_of(many, many)["corrections"]
    assert len(tag) == 4000 and tag.endswith("...")
    assert card(many).count("correction 2 by ada") == 500


def test_a_manifest_holds_reviews_where_there_are_any(tmp_path: Path) -> None:
    """They come back as they were; without them it is what servers of before read."""
    manifest(reviews=REVIEWS).write(tmp_path)
    assert ModelManifest.read(tmp_path).reviews == REVIEWS
    assert "reviews" not in manifest().to_dict()


def test_a_tally_of_before_masks_were_kept_is_read() -> None:
    """All that counted then was on the pseudo-labels' own masks."""
    before = {name: value for name, value in dataclasses.asdict(REVIEWS).items() if name not in LATER}
    assert ReviewTally.from_dict(before) == dataclasses.replace(REVIEWS, held_out=0, on_pseudo_labels=12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"good": -1}, "good is -1"), ({"bad": "3"}, "bad is '3'"), ({"likes": 3}, "it has .*likes.*; expected sha256")],
)
def test_reviews_that_are_no_counts_are_refused(changes: dict[str, object], message: str) -> None:
    """By the name of the field of the manifest, and what is wrong in it."""
    content = manifest(reviews=REVIEWS).to_dict()
    content["reviews"] |= changes
    with pytest.raises(ManifestError, match=f"field reviews: {message}"):
        ModelManifest.from_dict(content)


def test_card_and_tags_say_what_came_of_reviews() -> None:
    """8 + 1 + 3 of 43 teach, and the card says why the other 20 + 6 + 2 + 3 do not; of which file, by whom."""
    reviewed = manifest(reviews=REVIEWS)
    counted = "12 of 43 verdicts (8 slices good, 1 bad, 3 on organs)"
    told = ("reviews", "are examples", "teach nothing")
    line, taught, others = (line for line in card(reviewed).splitlines() if any(words in line for words in told))
    assert line == f"- Learnt from reviews: {counted}, by ada, eve; reviews.csv, SHA-256 {'a' * 64}."
    assert taught.startswith("  - 9 are examples of the Quality Classifier; by 4, on the very masks")
    reasons = ((20, "on other masks"), (6, "on what is not"), (2, "on what reviewers"), (3, "on validation volumes"))
    assert all(f"{count} {where}" in others for count, where in reasons) and "other organs" not in others
    assert tags_of(reviewed, manifest())["reviews"] == f"{counted} of reviews.csv {'a' * 64}, by ada, eve"
    assert "review" not in card(manifest()) and "reviews" not in tags_of(manifest(), manifest())


def test_reviews_of_which_none_counted_are_told_too() -> None:
    """Forty that were for nothing are what whoever gave them would like to know of; who is nobody's business then."""
    lost = manifest(reviews=ReviewTally("a" * 64, other_masks=40))
    assert tags_of(lost, lost)["reviews"].startswith("0 of 40 verdicts (0 slices good, 0 bad, 0 on organs) of reviews")
    assert "40 on other masks than the pseudo-labels have" in card(lost)


def test_reviews_that_all_count_leave_no_others() -> None:
    """One slice is said as one; a file that names no reviewer names none."""
    all_counted = manifest(reviews=ReviewTally("a" * 64, good=1))
    assert "1 of 1 verdicts (1 slice good, 0 bad, 0 on organs); reviews.csv" in card(all_counted)
    assert "teach nothing" not in card(all_counted)
