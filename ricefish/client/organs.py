"""What a server says of the organs of a scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scans.geometry import Box
from scans.measures.statistics import OrganRow
from scans.model.expected_dice import ExpectedDice


@dataclass(frozen=True)
class ServedOrgan(OrganRow):
    """One organ of a finished scan, and how good its segmentation is likely to be."""

    expected_dice: ExpectedDice | None
    """None where the organ was not found, or the model's Quality Classifier says nothing of organs."""

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ServedOrgan:
        """From an element of `organs` in the answer of `GET /v1/scans/ID/organs`."""
        box, dice = content["box"], content.get("quality")
        low, high = content.get("quality_low"), content.get("quality_high")
        return cls(
            index=content["index"],
            name=content["name"],
            voxels=content["voxels"],
            volume_mm3=content["volume_mm3"],
            centroid_voxels=_point(content["centroid_voxels"]),
            centroid_mm=_point(content["centroid_mm"]),
            box=box and Box(tuple(box["start"]), tuple(box["stop"])),
            touches_border=content["touches_border"],
            # a server of before says another thing by that name, and gives no bounds
            expected_dice=None if dice is None or low is None or high is None else ExpectedDice(dice, low, high),
        )


def _point(values: list[float] | None) -> tuple[float, float, float] | None:
    if values is None:
        return None
    a, b, c = values
    return (a, b, c)
