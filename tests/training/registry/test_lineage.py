"""A model says which corrections it has learnt from: in its manifest, on its card, in the registry's tags."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from scans.intensity import IntensityRule, Window
from scans.model.manifest import Golden, ModelManifest
from scans.organs import OrganMap
from scans.raw.provenance import Origin
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
