"""What a model has seen, and how far a scan is from it: grey values, spacing, confidence, quality, and organs.

One rule for all of it: a scan is unlike what the model has seen if it is farther from each of those volumes than, times
a margin, the most solitary of them is from its own nearest neighbour. So volumes of several beam times need have
nothing in common, and a limit is as strict as the volumes are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Frame, Spacing
from scans.grids import of_shear
from scans.intensity import Window
from scans.measures.statistics import OrganStatistics
from scans.model.distances import Point, place_distance, quantile_distance, size_distance, window_distance

Code = Literal[
    "spacing", "shear", "grey_range", "grey_distribution", "confidence", "organ_sizes", "organ_places", "quality"
]

QUANTILES = 32
"""Of the normalised grey values of a volume: at 1/64, 3/64, ..., 63/64."""
LEAST_VOLUMES = 4
"""Of fewer volumes nobody knows how far they may lie apart, and nothing is said."""

SPACING_MARGIN = 1.25
"""A spacing may be so many times smaller or greater than any that was seen."""
MARGIN = 1.5
"""A scan may be so many times farther from its nearest volume than any of these is from its own."""
_LEAST_LIMITS: Mapping[Code, float] = {
    "grey_range": 0.05,
    "grey_distribution": 0.01,
    "confidence": 0.02,
    "organ_sizes": 0.25,
    "organ_places": 0.1,
    "quality": 0.1,
}
"""No limit is stricter, however alike the volumes are."""
Value = TypeVar("Value")


@dataclass(frozen=True)
class Departure:
    """One way in which a scan is unlike what the model has seen, or its place unlike what all programs know."""

    code: Code
    message: str
    """A sentence for people."""
    found: str
    expected: str

    def to_dict(self) -> dict[str, Any]:
        """What `Departure(**content)` takes."""
        return asdict(self)


@dataclass(frozen=True)
class Answer:
    """What a model said of a volume, in a few numbers."""

    sizes_mm3: tuple[float, ...]
    """Volume of each organ, in the order of class indices; 0 where it was not found."""
    places_mm: tuple[Point | None, ...]
    """Centroid of each, z, y, x, in mm from voxel (0, 0, 0)."""
    confidence: float | None
    """Mean winning probability of the organs' voxels, 0..1; None where it was not looked at."""
    bad_share: float | None = None
    """Share of the slices with organs that the Quality Classifier calls bad, 0..1; None where none was asked."""

    @classmethod
    def of(
        cls, statistics: OrganStatistics, spacing: Spacing, confidence: float | None, bad_share: float | None = None
    ) -> Answer:
        """From the sums over a whole volume."""
        step = tuple(spacing)
        places: list[Point | None] = []
        for organ in statistics.organs:
            z, y, x = (total * mm / max(organ.voxels, 1) for total, mm in zip(organ.index_sum, step, strict=True))
            places.append((z, y, x) if organ.voxels else None)
        voxel_mm3 = spacing.z * spacing.y * spacing.x
        sizes = tuple(organ.voxels * voxel_mm3 for organ in statistics.organs)
        return cls(sizes, tuple(places), confidence, bad_share)


@dataclass(frozen=True)
class SeenVolume:
    """A volume of training or validation."""

    window: Window
    """Grey values that are mapped to 0..1."""
    quantiles: tuple[float, ...]
    """Of the normalised grey values."""
    answer: Answer | None = None
    """The model's, where it has not learnt from the volume's labels."""


@dataclass(frozen=True)
class Seen:
    """The volumes that a model was trained and validated on, or an even choice of them."""

    volumes: tuple[SeenVolume, ...]

    def grey_values(self, window: Window, quantiles: Sequence[float]) -> Iterator[Departure]:
        """How the grey values of a scan are unlike those of every volume."""
        windows = [volume.window for volume in self.volumes]
        if far := _too_far("grey_range", window, windows, window_distance):
            least, most = min(w.lower for w in windows), max(w.upper for w in windows)
            yield Departure(
                "grey_range",
                f"the range of grey values is like that of no volume that the model has seen: {_times(*far)}",
                found=f"{window.lower:g} to {window.upper:g}",
                expected=f"ranges between {least:g} and {most:g}",
            )
        if far := _too_far(
            "grey_distribution", quantiles, [volume.quantiles for volume in self.volumes], quantile_distance
        ):
            yield Departure(
                "grey_distribution",
                f"dark and bright are spread like in no volume that the model has seen: {_times(*far)}",
                found=f"{far[0]:.3f} from the nearest volume",
                expected=f"at most {far[1]:.3f}",
            )

    def answers(self, answer: Answer) -> Iterator[Departure]:
        """How what a model says of a scan is unlike what it says of every volume that it did not learn labels of."""
        known = self._answers
        if far := _too_far("organ_sizes", answer.sizes_mm3, [a.sizes_mm3 for a in known], size_distance):
            yield Departure(
                "organ_sizes",
                f"the organs have sizes as in no volume that the model has seen: {_times(*far)}",
                found=f"a factor of {2 ** far[0]:.2f} from the nearest volume",
                expected=f"at most {2 ** far[1]:.2f}",
            )
        if far := _too_far("organ_places", answer.places_mm, [a.places_mm for a in known], place_distance):
            yield Departure(
                "organ_places",
                f"the organs lie as in no volume that the model has seen: {_times(*far)}",
                found=f"{far[0]:.2f} of the organs' spread from the nearest volume",
                expected=f"at most {far[1]:.2f}",
            )
        least = least_confidence([a.confidence for a in known if a.confidence is not None])
        if least is not None and answer.confidence is not None and answer.confidence < least:
            yield Departure(
                "confidence",
                "the model is less sure of the organs than in any volume that it has seen",
                found=f"{answer.confidence:.3f}",
                expected=f"at least {least:.3f}",
            )

    @property
    def most_bad(self) -> float | None:
        """See `most_bad_share`."""
        return most_bad_share([a.bad_share for a in self._answers if a.bad_share is not None])

    @property
    def _answers(self) -> list[Answer]:
        return [volume.answer for volume in self.volumes if volume.answer is not None]

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads back, in types that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Seen:
        """From what `to_dict` gave, through JSON or not. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(tuple(_volume(volume) for volume in content["volumes"]))


def grey_quantiles(window: Window, sample: NDArray[Any]) -> tuple[float, ...]:
    """QUANTILES of the normalised values of a sample of grey values (any shape, not empty), 0..1."""
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    return tuple(round(float(q), 5) for q in np.quantile(window.normalise(sample.ravel()), levels))


def spacing_departures(
    spacing: Spacing, seen: Sequence[tuple[float, float]], *, margin: float = SPACING_MARGIN
) -> Iterator[Departure]:
    """Where the spacing lies outside of the least and greatest that were seen along z, y, x in mm."""
    found = tuple(spacing)
    outside = [
        axis
        for axis, mm, (least, greatest) in zip("zyx", found, seen, strict=True)
        if not least / margin <= mm <= greatest * margin
    ]
    if outside:
        yield Departure(
            "spacing",
            f"the model has seen no volume with such a spacing along {' and '.join(outside)}",
            found=", ".join(f"{mm:g}" for mm in found) + " mm (z, y, x)",
            expected=", ".join(f"{least:g} to {greatest:g}" for least, greatest in seen) + " mm",
        )


def shear_departures(frame: Frame) -> Iterator[Departure]:
    """Where the axes are not at right angles, so that not every format can say where the result lies."""
    if message := of_shear(frame):
        yield Departure(
            "shear",
            message,
            found=f"{frame.shear_degrees:.2g} degrees off",
            expected="axes at right angles",
        )


def least_confidence(known: Sequence[float]) -> float | None:
    """Below which a confidence is unlike the known ones: the lowest, less MARGIN times its distance from their median.

    None of fewer than LEAST_VOLUMES.
    """
    if len(known) < LEAST_VOLUMES:
        return None
    lowest = min(known)
    return lowest - max(_LEAST_LIMITS["confidence"], (MARGIN - 1) * (float(np.median(known)) - lowest))


def most_bad_share(known: Sequence[float]) -> float | None:
    """Above which a share of bad slices is unlike the known ones: as `least_confidence`, from the greatest upwards."""
    if len(known) < LEAST_VOLUMES:
        return None
    greatest = max(known)
    return greatest + max(_LEAST_LIMITS["quality"], (MARGIN - 1) * (greatest - float(np.median(known))))


def limit(code: Code, known: Sequence[Value], distance: Callable[[Value, Value], float]) -> float | None:
    """How far from its nearest volume a scan may be; None of fewer than LEAST_VOLUMES."""
    if len(known) < LEAST_VOLUMES:
        return None
    alone = [
        min(distance(value, other) for place, other in enumerate(known) if place != own)
        for own, value in enumerate(known)
    ]
    return max(_LEAST_LIMITS[code], MARGIN * max(alone))


def _too_far(
    code: Code, value: Value, known: Sequence[Value], distance: Callable[[Value, Value], float]
) -> tuple[float, float] | None:
    """Distance from the nearest volume, and the limit that it is beyond; None where it is not."""
    most = limit(code, known, distance)
    if most is None:
        return None
    nearest = min(distance(value, other) for other in known)
    return (nearest, most) if nearest > most else None


def _times(found: float, most: float) -> str:
    return f"{found / most:.1f} times as far from the nearest as a volume may be"


def _volume(content: Mapping[str, Any]) -> SeenVolume:
    answer = content["answer"]
    quantiles = tuple(float(q) for q in content["quantiles"])
    if len(quantiles) != QUANTILES:
        raise ValueError(f"{len(quantiles)} quantiles; expected {QUANTILES}")
    return SeenVolume(Window(**content["window"]), quantiles, None if answer is None else _answer(answer))


def _answer(content: Mapping[str, Any]) -> Answer:
    sizes = tuple(float(mm3) for mm3 in content["sizes_mm3"])
    places = tuple(None if place is None else _point(place) for place in content["places_mm"])
    if len(sizes) != len(places):
        raise ValueError(f"{len(sizes)} sizes and {len(places)} places of organs")
    confidence, bad_share = content["confidence"], content.get("bad_share")
    return Answer(
        sizes,
        places,
        None if confidence is None else float(confidence),
        None if bad_share is None else float(bad_share),
    )


def _point(values: Sequence[float]) -> Point:
    z, y, x = values
    return (float(z), float(y), float(x))
