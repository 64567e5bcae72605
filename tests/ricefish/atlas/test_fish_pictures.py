"""Pictures of fish: what lies where in them, and in which colours."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from ricefish.atlas.projections import projections
from scans.geometry import Spacing
from scans.organs import OrganMap
from scans.shape.morphometry import measure
from scans.volume import Volume
from tests.scans.shape.ellipsoids import FISH, ORGANS, Ellipsoid, fish_volume, rotation


def place_of(picture: bytes, colour: tuple[int, int, int]) -> tuple[float, float]:
    """Mean row and column, each as a share of the picture, of the pixels whose hue is most nearly that colour."""
    pixels: NDArray[np.uint8] = imagecodecs.png_decode(picture)
    seen = pixels[..., 3] == 255
    rgb = pixels[..., :3].astype(float)
    unit = rgb / np.maximum(np.linalg.norm(rgb, axis=-1, keepdims=True), 1)
    alike = seen & (unit @ (np.array(colour) / np.linalg.norm(colour)) > 0.99)
    rows, columns = np.nonzero(alike)
    return float(rows.mean() / pixels.shape[0]), float(columns.mean() / pixels.shape[1])


@pytest.mark.parametrize("angle", [0.0, 1.0, 3.0])
def test_every_picture_shows_the_fish_the_same_way_round(angle: float) -> None:
    """However it lies in the scan: its head to the left, its back up; seen from above its left eye is below, and seen
    from its head on the right.
    """
    shape = measure(fish_volume(turned=rotation((1, 2, 3), angle)), ORGANS)
    pictures = projections(shape, ORGANS)
    colour = {organ.name: organ.colour for organ in ORGANS.organs}
    eye_row, eye_column = place_of(pictures.side, colour["left_eye"])
    heart_row, heart_column = place_of(pictures.side, colour["heart"])
    assert eye_column < heart_column < place_of(pictures.side, colour["spine"])[1]
    assert eye_row < heart_row
    left, right = (place_of(pictures.top, colour[f"{side}_eye"]) for side in ("left", "right"))
    assert left[0] > 0.5 > right[0] and max(left[1], right[1]) < 0.3
    left, right = (place_of(pictures.front, colour[f"{side}_eye"]) for side in ("left", "right"))
    assert left[1] > 0.5 > right[1]


def test_from_the_left_the_left_eye_hides_the_right_one() -> None:
    """What lies nearer is in front."""
    pictures = projections(measure(fish_volume(), ORGANS), ORGANS)
    pixels = imagecodecs.png_decode(pictures.side)
    right = np.array(ORGANS.organs[1].colour) / np.linalg.norm(ORGANS.organs[1].colour)
    rgb = pixels[..., :3].astype(float)
    alike = (rgb / np.maximum(np.linalg.norm(rgb, axis=-1, keepdims=True), 1)) @ right > 0.99
    assert (alike & (pixels[..., 3] == 255)).sum() < 20


def test_a_body_is_a_shade_behind_its_organs() -> None:
    """Of no colour and half transparent, so that what lies in it is seen on light and on dark pages."""
    organs = OrganMap.from_mapping({1: "body", 2: {"name": "gonad", "colour": [200, 0, 0]}})
    fish = {"body": Ellipsoid((0, 0, 0), (6, 1.5, 2)), "gonad": FISH["gonad"]}
    labels = fish_volume(fish, names=organs, spacing=Spacing(0.2, 0.2, 0.2))
    pixels = imagecodecs.png_decode(projections(measure(labels, organs), organs).side)
    assert set(np.unique(pixels[..., 3])) == {0, 56, 255}
    assert (pixels[pixels[..., 3] == 56][:, :3] == 128).all()
    assert (pixels[pixels[..., 3] == 255][:, 1:3] == 0).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 7), (9, 1, 1)])
def test_a_voxel_a_slice_and_a_thread_have_pictures(shape: tuple[int, int, int]) -> None:
    """However thin the fish is, and whether or not its axes mean anything."""
    labels = np.full(shape, 4, np.uint8)
    pictures = projections(measure(Volume.from_array(labels, Spacing(0.2, 0.1, 0.1)), ORGANS), ORGANS)
    for png in (pictures.side, pictures.top, pictures.front):
        assert (imagecodecs.png_decode(png)[..., 3] == 255).any()
