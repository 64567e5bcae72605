"""Reviews: what people say of slices of segmentations, as reviews.csv has it, in training as in a server."""

from __future__ import annotations

from typing import Literal, get_args

Verdict = Literal["good", "bad", "unsure", "skip"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""good and bad teach; unsure and skip say that somebody has looked."""

NEEDED_COLUMNS = ("volume", "slice_index", "verdict")
"""The first of reviews.csv, in this order."""
MARKING_COLUMNS = ("organ", "mask_sha256", "reviewer", "ending")
"""May be there: the organ that the verdict is on (empty: the slice), the mask that was seen, who judged, and why the
verdict no longer stands (empty: it does)."""
NOTED_COLUMNS = ("time", "comment", "axis", "scan", "model", "version", "model_sha256", "id")
"""May be there, for people to read."""
