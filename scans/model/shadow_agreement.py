"""ShadowAgreement: how far two models segment the same scans alike. Serving writes it, as a tag of the version in the
registry that it is about; the gate shows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

TAG = "shadow_agreement"
"""Of the version that ran as a shadow."""
_DECIMALS = 4


@dataclass(frozen=True)
class ShadowAgreement:
    """A version's agreement with the model whose answers were given out. It says how alike, not which is better."""

    champion_name: str
    """Of the model that answered."""
    champion_version: str | None
    """Its version in the registry; None for a model from a folder."""
    scans: int
    """That both segmented."""
    dice: Mapping[str, float | None]
    """Per organ that both know, the mean over scans, 0..1; None where neither found it in any scan."""

    @property
    def mean_dice(self) -> float | None:
        """Mean of `dice` over the organs that have one; None where none has."""
        scored = [dice for dice in self.dice.values() if dice is not None]
        return sum(scored) / len(scored) if scored else None

    @property
    def worst(self) -> tuple[str, float] | None:
        """The organ that they agree on least, and its Dice."""
        scored = [(dice, organ) for organ, dice in self.dice.items() if dice is not None]
        return None if not scored else (min(scored)[1], min(scored)[0])

    def sentence(self, *, name: str, champion: str | None) -> str:
        """One line for the gate of the registered model `name`, whose champion is version `champion` now."""
        who = "champion" if self.champion_name == name else self.champion_name
        version = "from a folder" if self.champion_version is None else f"version {self.champion_version}"
        of_another = who == "champion" and self.champion_version != champion
        figures = "neither found any organ"
        if self.mean_dice is not None and self.worst is not None:
            figures = f"mean Dice {self.mean_dice:.4f}, worst organ {self.worst[0]} {self.worst[1]:.4f}"
        return (
            f"shadow: agreement with {who} {version} over {self.scans} scan{'' if self.scans == 1 else 's'}: {figures}"
            f"{f'; the champion is version {champion} now' if of_another and champion else ''}"
        )

    def to_tag(self) -> str:
        """What `from_tag` reads back; Dice to four decimals."""
        dice = {organ: None if value is None else round(value, _DECIMALS) for organ, value in self.dice.items()}
        champion = {"name": self.champion_name, "version": self.champion_version}
        return json.dumps({"champion": champion, "scans": self.scans, "dice": dice})

    @classmethod
    def from_tag(cls, tag: str) -> ShadowAgreement:
        """From what `to_tag` gave. Raises ValueError for anything else."""
        try:
            content = json.loads(tag)
            champion, dice = content["champion"], dict(content["dice"])
            return cls(
                champion_name=str(champion["name"]),
                champion_version=None if champion["version"] is None else str(champion["version"]),
                scans=int(content["scans"]),
                dice={str(organ): None if value is None else float(value) for organ, value in dice.items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the tag {TAG} is {tag!r}, which no server wrote") from error
