"""What people said of masks that nobody segments any more: it is learnt from all the same, and counted."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from scans.geometry import Box
from scans.mask_digest import mask_sha256
from scans.mask_picture import mask_png
from tests.training.stages.test_label_quality import SECTION
from tests.training.tiny_volumes import ORGANS, write_catalogue, write_volume
from training.data.prepared import PREPARED_DIR, Catalogue
from training.data.pseudo_labels import PSEUDO_LABELS_DIR, PseudoLabelWriter
from training.learning.processes import Processes
from training.quality.examples import Example, MaskReader, read_examples
from training.quality.reviewed_masks import classes_by_name
from training.quality.reviews import REVIEWS_FILE, ReviewsError
from training.quality.standing import StandingVerdicts, read_standing
from training.stages import label_quality

SHAPE = (3, 4, 4)
PSEUDO = np.zeros(SHAPE, np.uint8)
PSEUDO[:, 1, 1] = 3
"""The heart of every slice."""
SEEN, OTHER = np.zeros((2, 4, 4), np.uint8)
SEEN[2, :2], OTHER[0, 0] = (1, 2), 3
"""Masks of a model that nobody has any more."""
HEADER = "volume,slice_index,verdict,organ,mask_sha256,reviewer,organs"


@pytest.fixture(autouse=True)
def data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fish without labels, one with labels to learn from, and one that is held out; in the folder of the test."""
    monkeypatch.chdir(tmp_path)
    image, labels = np.full(SHAPE, 600, np.uint16), np.zeros(SHAPE, np.uint8)
    records = [
        write_volume(PREPARED_DIR, "fish", image, None, split="unlabelled"),
        write_volume(PREPARED_DIR, "known", image, labels, split="train"),
        write_volume(PREPARED_DIR, "reserve", image, labels, split="validation"),
    ]
    write_catalogue(PREPARED_DIR, *records)
    with PseudoLabelWriter(PSEUDO_LABELS_DIR, "fish", SHAPE) as writer:
        writer.write(Box.of_shape(SHAPE), PSEUDO)


def keep(*masks: NDArray[np.uint8]) -> None:
    folder = REVIEWS_FILE.with_suffix("")
    folder.mkdir(exist_ok=True)
    for mask in masks:
        (folder / f"{mask_sha256(mask)}.png").write_bytes(mask_png(mask))


def line(
    where: str, verdict: str, mask: NDArray[np.uint8], *, by: str = "ada", organ: str = "", names: str = ""
) -> str:
    return f"{where},{verdict},{organ},{mask_sha256(mask)},{by},{names}"


def said(*lines: str) -> StandingVerdicts:
    REVIEWS_FILE.write_text("\n".join((HEADER, *lines)) + "\n", encoding="utf-8")
    return read_standing(REVIEWS_FILE, Catalogue.read())


def told(found: StandingVerdicts) -> list[tuple[str, int, bool, list[list[int]]]]:
    return [(one.volume_id, one.slice_index, one.good, one.read_mask().tolist()) for one in found.examples]


def test_a_mask_that_is_at_hand_is_an_example_whatever_is_segmented_now() -> None:
    """Of one slice two masks of before, and the one of now; of a fish that has labels since, one too. Refine goes by
    the mask of now alone."""
    keep(SEEN, OTHER)
    found = said(
        *(line("fish,1", "bad", SEEN), line("fish,1", "good", OTHER), line("fish,1", "good", PSEUDO[1])),
        *(line("known,2", "good", SEEN), line("known,2", "good", SEEN, by="eve")),
    )
    assert told(found) == [
        ("fish", 1, False, SEEN.tolist()),
        ("fish", 1, True, OTHER.tolist()),
        ("fish", 1, True, PSEUDO[1].tolist()),
        ("known", 2, True, SEEN.tolist()),
    ]
    assert (found.slices, found.organs) == ({("fish", 1): True}, {})
    tally = found.tally
    assert tally is not None
    assert (tally.good, tally.bad, tally.examples, tally.on_pseudo_labels, tally.given) == (4, 1, 5, 1, 5)


def test_what_cannot_be_an_example_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    """A mask that was not kept, an organ in one of before, a larger slice, other organs, a class that the model has
    not, a volume that is held out, a scan of elsewhere, and what Ada and Eve do not agree on."""
    larger, beyond = np.zeros((5, 4), np.uint8), np.full((4, 4), 4, np.uint8)
    keep(SEEN, larger, beyond)
    with caplog.at_level(logging.WARNING):
        found = said(
            line("fish,0", "bad", OTHER),
            line("fish,0", "bad", SEEN, organ="heart"),
            line("fish,0", "bad", larger),
            line("fish,0", "bad", SEEN, names='"[""heart"", ""left_eye"", ""fin""]"'),
            line("fish,0", "bad", beyond),
            line("reserve,0", "bad", SEEN),
            line("shark,0", "bad", SEEN),
            *(line("known,0", verdict, SEEN, by=by) for verdict, by in (("good", "ada"), ("bad", "eve"))),
        )
    assert (found.examples, found.slices, found.organs) == ((), {}, {})
    assert found.tally is not None
    counts = {name: value for name, value in asdict(found.tally).items() if type(value) is int and value}
    assert counts == {"other_masks": 2, "other_scans": 2, "other_organs": 2, "held_out": 1, "disputed": 2}
    assert found.tally.given == 9
    assert "1 reviews are of validation volumes, which choose nothing: they teach nothing" in caplog.text
    assert "2 reviews are of masks of a model that had other organs than the data set" in caplog.text


def test_organs_are_known_by_their_names() -> None:
    """The model's heart is its first organ, here it is the third; the eyes move up."""
    keep(SEEN, OTHER)
    names = json.dumps(["heart", "left_eye", "right_eye"]).replace('"', '""')
    found = said(line("fish,0", "good", SEEN, names=f'"{names}"'), line("fish,2", "good", OTHER))
    first, second = found.examples
    assert first.read_mask()[2].tolist() == [3, 1, 0, 0]
    assert np.array_equal(second.read_mask(), OTHER), "a line without names has those of the data set"
    with pytest.raises(ReviewsError, match=r"line 2: organs 'heart'; expected their names, such as"):
        said(line("fish,0", "good", SEEN, names="heart"))


@given(st.permutations(ORGANS.names))
def test_any_order_of_the_same_organs_is_put_right(names: list[str]) -> None:
    """Each class becomes the one of the same name; background stays; where organs differ there is no table."""
    lookup = classes_by_name(names, ORGANS.names)
    assert lookup is not None and lookup[0] == 0
    assert [ORGANS.names[index - 1] for index in lookup[1 : len(names) + 1]] == names
    assert classes_by_name(names[1:], ORGANS.names) is None
    assert classes_by_name([*names, "fin"], ORGANS.names) is None


def test_a_file_that_is_not_the_mask_of_its_name_is_named() -> None:
    """Exchanged or cut short, it says how to have the right one; the verdict is not taken for another mask's."""
    keep(SEEN)
    path = REVIEWS_FILE.with_suffix("") / f"{mask_sha256(SEEN)}.png"
    for content, words in ((mask_png(OTHER), "is not the mask of its name"), (mask_png(SEEN)[:40], "is no mask: ")):
        path.write_bytes(content)
        with pytest.raises(ReviewsError, match=rf"{path.name} {words}.*`ricefish reviews export` again"):
            said(line("fish,0", "bad", SEEN))


def test_the_stage_writes_the_masks_that_were_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are wanted were judged: nothing is trained, each example has the mask of its digest, and the metrics
    say what became of the verdicts."""
    keep(SEEN, OTHER)
    said(line("fish,1", "bad", SEEN), line("fish,0", "good", PSEUDO[0]), line("known,2", "good", OTHER))
    params = SimpleNamespace(label_quality=replace(SECTION, slices=3), seed=1)
    report = label_quality._label(params, Processes(), lambda _epoch: None)  # type: ignore[arg-type]
    examples = read_examples()
    assert examples == (
        Example("fish", 0, row=0, good=True, iou=None, dice=None, source="review"),
        Example("fish", 1, row=1, good=False, iou=None, dice=None, source="review"),
        Example("known", 2, row=0, good=True, iou=None, dice=None, source="review"),
    )
    masks = MaskReader()
    assert [mask_sha256(masks.mask(one)) for one in examples] == [mask_sha256(m) for m in (PSEUDO[0], SEEN, OTHER)]
    assert report.metrics["by_source"] == {"review": 3}
    assert report.metrics["reviews"]["on_pseudo_labels"] == 1 and report.metrics["reviews"]["good"] == 2
