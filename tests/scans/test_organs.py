"""Organ maps: every way to write one, what is refused by name, colours, and mirror images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.organs import Organ, OrganMap, OrganMapError

names = st.lists(st.text("abcdefgh_", min_size=1, max_size=8), min_size=1, max_size=40, unique=True)


def test_the_short_and_the_long_way_to_write_an_organ() -> None:
    """`1: heart` and `2: {name, colour}` mix; background may be listed; indices may be text, as JSON has them."""
    organs = OrganMap.from_mapping({0: "background", "2": {"name": "brain", "colour": [1, 2, 3]}, 1: "heart"})

    assert organs.names == ("heart", "brain")
    assert organs.organs[1] == Organ(2, "brain", (1, 2, 3))
    assert len(organs) == 2
    assert organs.classes == 3


@given(names=names)
def test_a_map_survives_json(names: list[str]) -> None:
    """What `to_mapping` gives is read back to the same map, colours included."""
    organs = OrganMap.from_mapping(dict(enumerate(names, start=1)))
    assert OrganMap.from_mapping(organs.to_mapping()) == organs


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({1: "heart", 3: "brain"}, r"indices are \[1, 3\]"),
        ({0: "background"}, "0 organs"),
        ({}, "0 organs"),
        ({n: f"organ {n}" for n in range(1, 256)}, "entry 255 is 'organ 255'; it is no organ's"),
        ({256: "heart"}, r"indices are \[256\]"),
        ({1: "heart", 2: "heart"}, "two organs are named heart"),
        ({1: "heart", "1": "brain"}, "two entries have the index 1"),
        ({1: 7}, "entry 1: 7"),
        ({1: " "}, "entry 1"),
        ({"heart": 1}, "entry 'heart'"),
        ({True: "heart"}, "entry True"),
        ({1: {"name": "heart", "color": [1, 2, 3]}}, "'color' is unknown; there are name and colour"),
        ({1: {"name": "heart", "colour": "red"}}, "colour of heart is 'red'"),
        ({1: {"name": "heart", "colour": [0, 0, 256]}}, "each of red, green, blue must be 0 to 255"),
    ],
)
def test_what_is_wrong_with_a_map_is_named(mapping: dict[Any, Any], message: str) -> None:
    """Each mistake that people make is refused, with the entry at fault in the message."""
    with pytest.raises(OrganMapError, match=message):
        OrganMap.from_mapping(mapping)


def test_255_stands_for_voxels_that_nobody_has_looked_at() -> None:
    """`255: not_labelled` is no organ: a map of 254 organs may have it, and what models are told is without it."""
    names = {n: f"organ {n}" for n in range(1, 255)}
    without = OrganMap.from_mapping(names)
    for entry in ("not_labelled", {"name": "not_labelled"}):
        organs = OrganMap.from_mapping({**names, 255: entry})
        assert (organs.not_labelled, without.not_labelled) == (True, False)
        assert organs == without
        assert organs.to_mapping() == without.to_mapping()
        assert organs.classes == 255


def test_a_file_of_organs(tmp_path: Path) -> None:
    """organs.yaml is read as written."""
    path = tmp_path / "organs.yaml"
    path.write_text("0: background\n1: heart\n2: {name: brain, colour: [0, 255, 0]}\n")
    assert OrganMap.from_yaml(path).names == ("heart", "brain")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- heart\n- brain\n", "holds list; expected lines such as `1: heart`"),
        (b"1: [heart\n", "is not YAML"),
        (b"\xff\xfe1", "is not YAML"),
        (b"1: heart\n1: brain\n", "1 stands twice"),
        (b"2: heart\n", "indices are"),
    ],
)
def test_what_is_wrong_with_a_file_is_named_with_the_file(tmp_path: Path, content: bytes, message: str) -> None:
    """The message says which file and what is wrong with it; an index given twice does not lose an organ."""
    path = tmp_path / "organs.yaml"
    path.write_bytes(content)
    with pytest.raises(OrganMapError, match=message) as caught:
        OrganMap.from_yaml(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Forgetting organs.yaml is told as such."""
    with pytest.raises(OrganMapError, match=r"organs\.yaml does not exist"):
        OrganMap.from_yaml(tmp_path / "organs.yaml")


@given(names=names)
def test_organs_have_colours_of_their_own(names: list[str]) -> None:
    """Colours that nobody chose differ from one another and from the black of background."""
    palette = OrganMap.from_mapping(dict(enumerate(names, start=1))).palette
    assert palette.dtype == np.uint8
    assert palette.shape == (len(names) + 1, 3)
    assert palette[0].tolist() == [0, 0, 0]
    assert len({tuple(colour) for colour in palette.tolist()}) == len(palette)


def test_left_and_right_trade_places_in_a_mirror() -> None:
    """Pairs swap, on whichever end of the name the side stands; what has no partner stays."""
    organs = OrganMap.from_mapping(
        {1: "heart", 2: "left_kidney", 3: "right_kidney", 4: "eye_right", 5: "eye_left", 6: "left_fin"}
    )
    assert organs.mirrored.tolist() == [0, 1, 3, 2, 5, 4, 6]
    assert organs.mirrored.dtype == np.uint8


@given(
    names=st.lists(st.sampled_from(["left_eye", "right_eye", "left", "right", "heart_left"]), min_size=1, unique=True)
)
def test_a_mirror_image_of_a_mirror_image_is_the_image(names: list[str]) -> None:
    """Mirroring twice changes no label."""
    mirrored = OrganMap.from_mapping(dict(enumerate(names, start=1))).mirrored
    np.testing.assert_array_equal(mirrored[mirrored], np.arange(len(mirrored)))
