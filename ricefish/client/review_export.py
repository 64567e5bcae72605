"""Review export: verdicts of a server, and the masks that they are on, as the files that retraining reads.

Masks come first, each once and for good, so an export that was cut off goes on where it was; then the list of verdicts
takes the place of the one before.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from ricefish.client.connection import Connection, RicefishError
from scans.mask_digest import mask_sha256
from scans.mask_picture import MaskPictureError, mask_from_png
from scans.replacing import replacing
from scans.reviews import masks_dir, teaches


@dataclass(frozen=True)
class ExportedReviews:
    """What an export has left on the disk."""

    path: Path
    """The list of verdicts, such as data/reviews.csv."""
    reviews: int
    """Verdicts in it."""
    masks: int
    """That verdicts which teach are on, in the folder beside it, be they new or not."""
    not_kept: int
    """Of such masks, those that the server has no longer: their verdicts may teach nothing."""


def export_reviews(connection: Connection, path: Path, parameters: Mapping[str, str]) -> ExportedReviews:
    """Fetches the verdicts for which `parameters` ask into a file, and their masks into the folder beside it.

    The file appears when it and all masks are complete, and what was there before stays until then; of masks nothing
    is ever removed. Raises RicefishError.
    """
    with replacing(path) as part:
        asked = {**parameters, "format": "csv"}
        with connection.stream("/v1/reviews", params=asked) as answer, part.open("wb") as file:
            for piece in answer.iter_bytes():
                file.write(piece)
        with part.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        judged: dict[str, list[str]] = {}
        for row in rows:
            if row["mask_sha256"] and teaches(row["verdict"], row["ending"]):
                judged.setdefault(row["mask_sha256"], []).append(row["id"])
        there = [_fetch(connection, masks_dir(path), digest, ids) for digest, ids in judged.items()]
    return ExportedReviews(path, len(rows), masks=sum(there), not_kept=len(there) - sum(there))


def _fetch(connection: Connection, folder: Path, digest: str, review_ids: Iterable[str]) -> bool:
    """Has a mask in the folder, that of any of these reviews; False where the server has none of them."""
    path = folder / f"{digest}.png"
    if path.exists() and _is_of(digest, path.read_bytes()):
        return True
    for review_id in review_ids:
        try:
            content = connection.get(f"/v1/reviews/{review_id}/mask.png").content
        except RicefishError as error:
            if error.status == httpx.codes.NOT_FOUND:
                continue
            raise
        if not _is_of(digest, content):
            raise RicefishError(f"the mask of review {review_id} is not the one of its digest {digest}")
        folder.mkdir(exist_ok=True)
        with replacing(path) as part:
            part.write_bytes(content)
        return True
    return False


def _is_of(digest: str, content: bytes) -> bool:
    try:
        return mask_sha256(mask_from_png(content)) == digest
    except MaskPictureError:
        return False
