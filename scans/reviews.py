"""Reviews: what people say of slices of segmentations, as reviews.csv has it, in training as in a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

Verdict = Literal["good", "bad", "unsure", "skip"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""good and bad teach; unsure and skip say that somebody has looked."""

NEEDED_COLUMNS = ("volume", "slice_index", "verdict")
"""The first of reviews.csv, in this order."""
MARKING_COLUMNS = ("organ", "mask_sha256", "reviewer", "ending")
"""May be there: the organ that the verdict is on (empty: the slice), the mask that was seen, who judged, and why the
verdict no longer stands (empty: it does)."""
NOTED_COLUMNS = ("time", "comment", "axis", "scan", "model", "version", "model_sha256", "id", "organs")
"""May be there, for people; by `scan`, its id at a server, training knows volumes that came from there too, and by
`organs`, a JSON list of names, what the class indices of the mask stand for (empty: what they do in the data set)."""


def masks_dir(reviews_file: Path) -> Path:
    """Where the masks of a reviews.csv lie: `reviews/DIGEST.png` beside it, as `scans.mask_picture` writes them."""
    return reviews_file.with_suffix("" if reviews_file.suffix else ".masks")


def teaches(verdict: str, ending: str) -> bool:
    """Whether a verdict is good or bad, and stands."""
    return verdict in ("good", "bad") and not ending


_LATER = frozenset({"other_organs", "held_out", "on_pseudo_labels"})
"""Fields of a tally that those of an earlier version have not."""


@dataclass(frozen=True)
class ReviewTally:
    """What became of the verdicts in a reviews.csv that are good or bad and stand: each is counted in one place."""

    sha256: str
    """Of the file."""
    good: int = 0
    """Of slices that are good: they teach, as examples of the Quality Classifier."""
    bad: int = 0
    """Of slices that are bad: they teach, too."""
    on_organs: int = 0
    """Of single organs in slices, good and bad ones: they teach."""
    other_masks: int = 0
    """On other masks than the pseudo-labels have: on slices whose mask is not at hand, or on single organs."""
    other_scans: int = 0
    """On volumes, slices or organs that are not in the data set."""
    disputed: int = 0
    """On what reviewers do not agree on."""
    other_organs: int = 0
    """On masks of a model that had other organs than the data set."""
    held_out: int = 0
    """On other masks of validation volumes, which teach nothing."""
    on_pseudo_labels: int = 0
    """Of those that teach, how many are on the very masks of the pseudo-labels: by these refine goes. They are counted
    among the others, too."""
    reviewers: tuple[str, ...] = ()
    """Names of those whose verdicts teach, in order; a file that names nobody has none."""

    @property
    def counted(self) -> int:
        """How many teach."""
        return self.good + self.bad + self.on_organs

    @property
    def given(self) -> int:
        """How many there are."""
        unused = self.other_masks + self.other_scans + self.disputed + self.other_organs + self.held_out
        return self.counted + unused

    @property
    def examples(self) -> int:
        """How many are examples of the Quality Classifier: those that teach of slices as a whole."""
        return self.good + self.bad

    @property
    def what(self) -> str:
        """In words: "3 of 40 verdicts (1 slice good, 1 bad, 1 on organs)"."""
        slices = f"{self.good} slice{'' if self.good == 1 else 's'} good"
        return f"{self.counted} of {self.given} verdicts ({slices}, {self.bad} bad, {self.on_organs} on organs)"

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ReviewTally:
        """From what `dataclasses.asdict` gave, through JSON. Raises ValueError for what is no tally.

        Those of an earlier version, in which only verdicts on the pseudo-labels' own masks taught, have less to tell.
        """
        names = [field.name for field in fields(cls)]
        if set(content) == set(names) - _LATER:
            known = sum(content[name] for name in ("good", "bad", "on_organs") if type(content[name]) is int)
            content = {**content, **dict.fromkeys(_LATER, 0), "on_pseudo_labels": known}
        if set(content) != set(names):
            raise ValueError(f"it has {', '.join(sorted(content))}; expected {', '.join(names)}")
        counts = {name: content[name] for name in names if name not in ("sha256", "reviewers")}
        for name, value in counts.items():
            if type(value) is not int or value < 0:
                raise ValueError(f"{name} is {value!r}; expected how many there are")
        return cls(sha256=str(content["sha256"]), reviewers=tuple(map(str, content["reviewers"])), **counts)
