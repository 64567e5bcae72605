"""Provenance: from which server, scan, model and correction the files of a raw data set are, in its provenance.csv."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from scans.raw.layout import PROVENANCE_FILE
from scans.replacing import replacing


class ProvenanceError(ValueError):
    """A provenance.csv that cannot be used; the message names the file and the line."""


@dataclass(frozen=True)
class Origin:
    """Where a scan of a raw data set is from. All is text; what does not apply is ""."""

    image: str
    """The file, relative to the data set."""
    labels: str
    """The file of its labels, relative to the data set."""
    server: str
    """Address of the server that handed them out."""
    scan: str
    """Its id there."""
    scan_sha256: str
    """Of the file that was sent there."""
    model: str
    """Name of the model that segmented it."""
    model_version: str
    """In the registry."""
    model_sha256: str
    """Of its model.onnx."""
    correction: str
    """Number of the version that the labels are."""
    author: str
    """Whose key that was sent with."""
    corrected: str
    """When it was stored, ISO 8601."""
    correction_sha256: str
    """Of the file that was sent as the correction."""
    image_sha256: str
    """Of `image`, as it was written into the data set."""
    labels_sha256: str
    """Of `labels`, as they were written into the data set."""

    @property
    def what(self) -> str:
        """In words: "correction 2 by ada of scan 0123abcd"."""
        by = f" by {self.author}" if self.author else ""
        return f"correction {self.correction}{by} of scan {self.scan}" if self.correction else f"scan {self.scan}"


_COLUMNS = tuple(field.name for field in dataclasses.fields(Origin))


def read_provenance(raw_dir: Path) -> dict[str, Origin]:
    """The origins in provenance.csv, by image; none where there is no such file. Raises ProvenanceError."""
    path = raw_dir / PROVENANCE_FILE
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise ProvenanceError(f"{path} is not UTF-8: {error}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise ProvenanceError(f"{path} has no column {', '.join(missing)}; its first line names {', '.join(_COLUMNS)}")
    found: dict[str, Origin] = {}
    try:
        for row in reader:
            origin = Origin(**{column: row[column] or "" for column in _COLUMNS})
            if not origin.image or origin.image in found:
                twice = f"names {origin.image} a second time" if origin.image else "names no image"
                raise ProvenanceError(f"{path}, line {reader.line_num}, {twice}")
            found[origin.image] = origin
    except csv.Error as error:
        raise ProvenanceError(f"{path}, line {reader.line_num}: {error}") from error
    return found


def write_provenance(raw_dir: Path, origins: Iterable[Origin]) -> None:
    """Writes provenance.csv, in the order of images, durably and as a whole."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(origin) for origin in sorted(origins, key=lambda origin: origin.image))
    with replacing(raw_dir / PROVENANCE_FILE) as part, part.open("w", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())


def origin_from(content: Mapping[str, str] | None) -> Origin | None:
    """From what `dataclasses.asdict` gave, through JSON; None of None."""
    return None if content is None else Origin(**content)
