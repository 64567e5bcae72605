"""Places: where in a raw data set each scan of a server belongs, and what is there already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ricefish.client.corrections import Segmentations, SegmentationVersion
from scans.formats import stem
from scans.formats.file_names import readable
from scans.hashes import file_sha256
from scans.raw.layout import LABELLED_IMAGES, LABELLED_LABELS, unlabelled_dir
from scans.raw.provenance import Origin

SUFFIX = ".nii.gz"
_ID_DIGITS = 8


@dataclass(frozen=True)
class DataSetPlace:
    """Where a scan belongs in a data set."""

    scan: Segmentations
    correction: SegmentationVersion | None
    """What becomes its labels; None: it has none."""
    image: str
    """The file, relative to the data set."""
    labels: str
    """The file of its labels; "" for none."""

    @property
    def files(self) -> tuple[str, ...]:
        """All that it has."""
        return (self.image, self.labels) if self.labels else (self.image,)

    def origin(self, folder: Path, *, server: str) -> Origin:
        """What is noted of it once its files are there; reads them."""
        correction = self.correction
        return Origin(
            image=self.image,
            labels=self.labels,
            server=server,
            scan=self.scan.scan_id,
            scan_sha256=self.scan.sha256,
            model=self.scan.model,
            model_version=self.scan.model_version or "",
            model_sha256=self.scan.model_sha256,
            correction="" if correction is None else str(correction.number),
            author="" if correction is None else correction.author or "",
            corrected="" if correction is None else correction.created.isoformat(),
            correction_sha256="" if correction is None else correction.sha256 or "",
            image_sha256=file_sha256(folder / self.image),
            labels_sha256=file_sha256(folder / self.labels) if self.labels else "",
        )


def place_of(scan: Segmentations, *, experiment: str | None, with_id: bool) -> DataSetPlace | None:
    """Among the labelled where it was corrected, else in an experiment; None where none is named."""
    name = readable(stem(Path(scan.filename)))
    if with_id:
        name = f"{name}_{scan.scan_id[:_ID_DIGITS]}"
    if scan.correction is not None:
        image, labels = f"{LABELLED_IMAGES}/{name}{SUFFIX}", f"{LABELLED_LABELS}/{name}{SUFFIX}"
        return DataSetPlace(scan, scan.correction, image, labels)
    if experiment is None:
        return None
    return DataSetPlace(scan, None, f"{unlabelled_dir(experiment)}/{name}{SUFFIX}", "")


def of_another(folder: Path, place: DataSetPlace, known: Mapping[str, Origin]) -> list[str]:
    """Files in the way that are not of the same scan, each with what to do."""
    found = []
    for file in place.files:
        noted = known.get(place.image)
        for other in _of_that_stem(folder / file):
            if noted is not None and noted.scan != place.scan.scan_id:
                why = f"is of scan {noted.scan}"
            elif other.name != Path(file).name:
                why = "has the same name without its suffix"
            else:
                continue
            found.append(
                f"scan {place.scan.scan_id} ({place.scan.filename}) would be {file}, and "
                f"{other.relative_to(folder).as_posix()} {why}; --with-id names it by its id, too"
            )
    return found


def _of_that_stem(path: Path) -> list[Path]:
    if not path.parent.is_dir():
        return []
    name = readable(stem(path))
    visible = (other for other in path.parent.iterdir() if not other.name.startswith("."))
    return sorted(other for other in visible if readable(stem(other)) == name)


def is_there(folder: Path, file: str, sha256: str) -> bool:
    """Whether a file is what was written into the data set."""
    return (folder / file).is_file() and file_sha256(folder / file) == sha256
