"""How far a scan is from what a model has seen: distances by hand, limits, and what is said of a scan beyond them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.geometry import Box, Spacing
from scans.intensity import Window
from scans.measures.statistics import OrganStatistics
from scans.model.distances import place_distance, quantile_distance, size_distance, window_distance
from scans.model.drift import (
    QUANTILES,
    Answer,
    Departure,
    Seen,
    SeenVolume,
    grey_quantiles,
    least_confidence,
    limit,
    most_bad_share,
    spacing_departures,
)

RAMP = tuple(float(q) for q in (np.arange(QUANTILES) + 0.5) / QUANTILES)
"""Of grey values that are spread evenly over the window."""
PLACES = ((0.0, 0.0, 0.0), (4.0, 0.0, 0.0), (2.0, 2.0, 0.0))
SIZES = (8.0, 4.0, 1.0)


def seen(volumes: int = 5) -> Seen:
    """Volumes whose windows and sizes differ by a percent or so."""
    return Seen(
        tuple(
            SeenVolume(Window(100.0 + n, 1100.0 + n), RAMP, Answer(SIZES, PLACES, 0.9 + n / 100))
            for n in range(volumes)
        )
    )


def codes(departures: object) -> list[str]:
    return [departure.code for departure in departures]  # type: ignore[attr-defined]


def test_windows_are_compared_in_widths_of_the_narrower() -> None:
    """100..300 and 150..600: the upper ends are 300 apart, the narrower is 200 wide."""
    assert (
        window_distance(Window(100, 300), Window(150, 600))
        == 1.5
        == window_distance(Window(150, 600), Window(100, 300))
    )


def test_quantiles_are_compared_by_how_far_grey_values_move() -> None:
    """Everything a tenth brighter is 0.1 away; a mirror image of an even spread is none away."""
    brighter = tuple(q + 0.1 for q in RAMP)
    assert quantile_distance(RAMP, brighter) == pytest.approx(0.1)
    assert quantile_distance(RAMP, tuple(sorted(1 - q for q in RAMP))) == pytest.approx(0.0)


def test_sizes_are_compared_in_doublings() -> None:
    """The same, twice as large, and one missing: (0 + 1 + 3) / 3."""
    assert size_distance((8.0, 4.0, 1.0), (8.0, 8.0, 0.0)) == pytest.approx(4 / 3)
    assert size_distance((0.0,), (0.0,)) == 0.0
    assert size_distance((1.0,), (1000.0,)) == 3.0


def test_places_do_not_depend_on_where_and_how_large_the_animal_is() -> None:
    """Moved and three times as large it is the same; with head and tail exchanged it is far."""
    moved = tuple((3 * z + 7, 3 * y - 1, 3 * x + 2) for z, y, x in PLACES)
    assert place_distance(PLACES, moved) == pytest.approx(0.0, abs=1e-9)
    turned = tuple((-z, y, x) for z, y, x in PLACES)
    assert place_distance(PLACES, turned) > 0.5
    assert place_distance(PLACES, (None, *PLACES[1:])) == 0.0, "two organs have no shape"


def test_the_limit_is_that_of_the_most_solitary_volume() -> None:
    """Of 0, 1, 3 and 7 the last is 4 from its nearest: 1.5 times that; of three volumes nothing is known."""

    def distance(a: float, b: float) -> float:
        return abs(a - b)

    assert limit("organ_sizes", [0.0, 1.0, 3.0, 7.0], distance) == 6.0
    assert limit("organ_sizes", [1.0, 1.0, 1.0, 1.0], distance) == 0.25, "no limit is stricter"
    assert limit("organ_sizes", [0.0, 1.0, 3.0], distance) is None


def test_confidence_has_a_lower_limit_alone() -> None:
    """Of 0.5, 0.8, 0.9 and 1.0: half of 0.35 below the lowest."""
    assert least_confidence([0.5, 0.8, 0.9, 1.0]) == pytest.approx(0.5 - 0.175)
    assert least_confidence([0.9, 0.9, 0.9, 0.9]) == pytest.approx(0.88)
    assert least_confidence([0.9, 0.9, 0.9]) is None


def test_what_was_seen_is_not_unusual() -> None:
    """None of the volumes themselves is flagged, nor one between two of them."""
    known = seen()
    for volume in known.volumes:
        assert volume.answer is not None
        assert codes(known.grey_values(volume.window, volume.quantiles)) == []
        assert codes(known.answers(volume.answer)) == []
    assert codes(known.grey_values(Window(101.5, 1101.5), RAMP)) == []


@pytest.mark.parametrize(
    ("window", "quantiles", "expected"),
    [
        (Window(50, 550), RAMP, ["grey_range"]),
        (Window(0.4, 4.3), RAMP, ["grey_range"]),
        (Window(101, 1101), tuple(q**2 for q in RAMP), ["grey_distribution"]),
        (Window(5000, 9000), (0.0,) * QUANTILES, ["grey_range", "grey_distribution"]),
    ],
)
def test_other_grey_values_are_flagged(window: Window, quantiles: tuple[float, ...], expected: list[str]) -> None:
    """Half the scale, 8 bits in place of 10, another gamma, everything at once."""
    found = list(seen().grey_values(window, quantiles))
    assert codes(found) == expected
    assert all("times as far" in departure.message for departure in found)
    if found[0].code == "grey_range":
        assert (found[0].found, found[0].expected) == (
            f"{window.lower:g} to {window.upper:g}", "ranges between 100 and 1104",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sizes_mm3": (8.0, 4.0, 0.0)}, ["organ_sizes"]),
        ({"places_mm": tuple((-z, y, x) for z, y, x in PLACES)}, ["organ_places"]),
        ({"confidence": 0.6}, ["confidence"]),
        ({"confidence": None}, []),
        ({"sizes_mm3": (0.0, 0.0, 0.0), "places_mm": (None, None, None), "confidence": None}, ["organ_sizes"]),
    ],
)
def test_other_answers_are_flagged(changes: dict[str, object], expected: list[str]) -> None:
    """A missing organ, head and tail exchanged, an unsure model; no organ at all; and what was not looked at is not."""
    assert codes(seen().answers(replace(Answer(SIZES, PLACES, 0.92), **changes))) == expected  # type: ignore[arg-type]


def test_how_many_slices_may_be_bad_follows_from_the_volumes() -> None:
    """0.2, 0.3, 0.3, 0.7: half of 0.7 - 0.3 beyond 0.7; of volumes that are all alike, a tenth; of three, nothing."""
    assert most_bad_share([0.2, 0.3, 0.7, 0.3]) == pytest.approx(0.9)
    assert most_bad_share([0.1] * 4) == pytest.approx(0.2)
    assert most_bad_share([0.1] * 3) is None
    answered = tuple(
        replace(volume, answer=Answer(SIZES, PLACES, 0.9, share))
        for volume, share in zip(seen(6).volumes, (0.2, 0.3, None, 0.7, 0.3, None), strict=True)
    )
    assert Seen(answered).most_bad == pytest.approx(0.9)
    assert Seen.from_dict(json.loads(json.dumps(Seen(answered).to_dict()))) == Seen(answered)
    assert seen().most_bad is None


def test_of_too_few_volumes_nothing_is_said() -> None:
    """Three volumes set no limit."""
    assert codes(seen(3).grey_values(Window(5000, 9000), (0.0,) * QUANTILES)) == []
    assert codes(seen(3).answers(Answer((0.0,) * 3, (None,) * 3, 0.1))) == []
    assert codes(Seen(()).answers(Answer((0.0,) * 3, (None,) * 3, 0.1))) == []


def test_a_spacing_outside_of_what_was_seen_is_flagged() -> None:
    """A quarter beyond the range is allowed, more is not; the message says along which axes."""
    ranges = ((1.0, 2.0), (0.1, 0.1), (0.1, 0.1))
    assert list(spacing_departures(Spacing(2.5, 0.08, 0.125), ranges)) == []
    assert list(spacing_departures(Spacing(2.6, 0.1, 0.3), ranges)) == [
        Departure(
            "spacing",
            "the model has seen no volume with such a spacing along z and x",
            found="2.6, 0.1, 0.3 mm (z, y, x)",
            expected="1 to 2, 0.1 to 0.1, 0.1 to 0.1 mm",
        )
    ]


def test_an_answer_is_made_of_what_is_summed_up() -> None:
    """Two voxels of organ 1 at z = 0 and 1, spacing 2 x 1 x 1 mm: 4 mm3 around 1 mm; organ 2 is not there."""
    segmentation = np.zeros((2, 2, 2), np.uint8)
    segmentation[:, 1, 0] = 1
    statistics = OrganStatistics.of(segmentation, box=Box((0, 0, 0), (2, 2, 2)), classes=3)
    answer = Answer.of(statistics, Spacing(2.0, 1.0, 1.0), 0.75)
    assert answer == Answer((4.0, 0.0), ((1.0, 1.0, 0.0), None), 0.75)


@given(st.integers(2, 60000), st.integers(1, 500))
def test_quantiles_do_not_depend_on_the_scale_of_the_grey_values(gain: int, offset: int) -> None:
    """A window that moves with the grey values gives the same quantiles, in 0..1 and rising."""
    sample = np.linspace(0, 1, 401) ** 2
    quantiles = grey_quantiles(Window(offset, offset + gain), sample * gain + offset)
    assert quantiles == pytest.approx(grey_quantiles(Window(0, 1), sample), abs=1e-3)
    assert list(quantiles) == sorted(quantiles) and quantiles[0] >= 0 and quantiles[-1] <= 1


def test_what_was_seen_survives_json() -> None:
    """Volumes without an answer and organs without a place too; anything else is refused."""
    written = Seen((*seen().volumes, SeenVolume(Window(0, 1), RAMP), replace(
        seen().volumes[0], answer=Answer((0.0,), (None,), None)
    )))  # fmt: skip
    content = json.loads(json.dumps(written.to_dict()))
    assert Seen.from_dict(content) == written
    with pytest.raises(ValueError, match="31 quantiles; expected 32"):
        Seen.from_dict({"volumes": [{**content["volumes"][0], "quantiles": RAMP[1:]}]})
