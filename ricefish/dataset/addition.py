"""Addition: scans of a server come into a raw data set, corrected ones with their labels, each noted with its origin.

A file gets its name when all of it is there, and the origin is noted last: what was cut off goes on when it is done
again, and what is there already is left alone.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ricefish.client.client import Client
from ricefish.client.corrections import Segmentations
from ricefish.dataset.errors import DataSetError
from ricefish.dataset.organ_maps import disagreements, renumber, write_organs
from ricefish.dataset.places import DataSetPlace, is_there, of_another, place_of
from scans.hashes import file_sha256
from scans.organs import OrganMap
from scans.raw.layout import ORGANS_FILE, PROVENANCE_FILE
from scans.raw.provenance import Origin, read_provenance, write_provenance

logger = logging.getLogger("ricefish")

Tell = Callable[[str], None]
"""Called with a sentence for each scan."""


@dataclass(frozen=True)
class Wishes:
    """How scans are to be added."""

    experiment: str | None = None
    """Where scans go that nobody has corrected: unlabelled/NAME; None: nowhere."""
    corrected_only: bool = False
    """Leave those out, rather than refuse them."""
    with_id: bool = False
    """Name files by the id of the scan, too."""
    update: bool = False
    """Replace the labels of an earlier correction."""


def add_scans(client: Client, folder: Path, scan_ids: Sequence[str], wishes: Wishes, *, tell: Tell) -> None:
    """Adds scans to the raw data set in `folder`, which is made where it is not there.

    Raises DataSetError with all that is wrong, before anything is written; RicefishError where the server refuses,
    OrganMapError and ProvenanceError for files of the data set that cannot be used.
    """
    _check_experiment(folder, wishes.experiment)
    known = read_provenance(folder)
    scans = [client.segmentations(scan_id) for scan_id in dict.fromkeys(scan_ids)]
    places, problems = [], []
    for scan in scans:
        place = place_of(scan, experiment=wishes.experiment, with_id=wishes.with_id)
        if place is not None:
            places.append(place)
        elif wishes.corrected_only:
            tell(f"scan {scan.scan_id} ({scan.filename}) is left out: nobody has corrected it")
        else:
            problems.append(_uncorrected(scan))
    if not places:
        if problems:
            raise DataSetError(folder, problems)
        return
    organs = _organs(folder, places)
    problems += [problem for place in places for problem in _problems(folder, place, organs, known, wishes)]
    problems += _twice(places)
    if problems:
        raise DataSetError(folder, problems)
    _make(folder, organs, places)
    for place in places:
        tell(_Adding(client, folder, place, organs, known).done())
        write_provenance(folder, known.values())


def _check_experiment(folder: Path, experiment: str | None) -> None:
    if experiment is not None and (Path(experiment).name != experiment or experiment.startswith(".")):
        raise DataSetError(folder, [f"the experiment {experiment!r} is no name of a folder, such as spring_2026"])


def _uncorrected(scan: Segmentations) -> str:
    return (
        f"nobody has corrected scan {scan.scan_id} ({scan.filename}): correct it, or give --experiment NAME to have it "
        "without labels, or --corrected to leave such scans out"
    )


def _organs(folder: Path, places: Sequence[DataSetPlace]) -> OrganMap:
    """Those of the data set; of a new one, those of the first scan's model. Raises OrganMapError."""
    if (folder / ORGANS_FILE).exists():
        return OrganMap.from_yaml(folder / ORGANS_FILE)
    partial = any(place.correction is not None and place.correction.not_labelled for place in places)
    return replace(places[0].scan.organs, not_labelled=partial)


def _problems(
    folder: Path, place: DataSetPlace, organs: OrganMap, known: dict[str, Origin], wishes: Wishes
) -> Iterator[str]:
    if place.correction is not None:
        not_labelled = bool(place.correction.not_labelled)
        for problem in disagreements(organs, place.scan.organs, not_labelled=not_labelled):
            yield f"scan {place.scan.scan_id} ({place.scan.filename}): {problem}"
    yield from of_another(folder, place, known)
    for origin in known.values():
        if origin.scan == place.scan.scan_id and origin.image != place.image and (origin.labels or not place.labels):
            yield f"scan {origin.scan} ({place.scan.filename}) is there already, as {origin.image}"
    noted = known.get(place.image)
    if noted is None or noted.scan != place.scan.scan_id:
        return
    for file, sha256 in ((noted.image, noted.image_sha256), (noted.labels, noted.labels_sha256)):
        if file and (folder / file).exists() and not is_there(folder, file, sha256):
            yield f"{file} is not what was added, as {PROVENANCE_FILE} has it: keep it under another name, or remove it"
    if place.correction is not None and noted.correction != str(place.correction.number) and not wishes.update:
        yield (
            f"{place.labels} is correction {noted.correction} of scan {noted.scan}, and {place.correction.number} is "
            "the latest; --update replaces it"
        )


def _twice(places: Sequence[DataSetPlace]) -> Iterator[str]:
    for image, times in Counter(place.image for place in places).items():
        if times > 1:
            ids = " and ".join(place.scan.scan_id for place in places if place.image == image)
            yield f"the scans {ids} would both be {image}; --with-id names them by their ids, too"


def _make(folder: Path, organs: OrganMap, places: Sequence[DataSetPlace]) -> None:
    for place in places:
        for file in place.files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
    if not (folder / ORGANS_FILE).exists():
        write_organs(folder / ORGANS_FILE, organs, not_labelled=organs.not_labelled)


@dataclass(frozen=True)
class _Adding:
    """One scan on its way in."""

    client: Client
    folder: Path
    place: DataSetPlace
    organs: OrganMap
    known: dict[str, Origin]
    """What is noted, to which this is added."""

    def done(self) -> str:
        """Adds it; gives what was done. Raises DataSetError for files in the way that hold something else."""
        place, noted = self.place, self.known.get(self.place.image)
        if noted is not None and self._is_whole(noted):
            return f"{place.image} is there already: {noted.what}"
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".adding-") as temporary:
            if place.correction is not None:
                self._put(self._labels(Path(temporary)), place.labels, noted.labels_sha256 if noted else "")
            if not self._moved():
                self._put(self._image(Path(temporary)), place.image, "")
        for earlier in self._earlier():
            del self.known[earlier.image]
        self.known[place.image] = origin = place.origin(self.folder, server=self.client.url)
        return f"{place.image} is {origin.what}"

    def _is_whole(self, noted: Origin) -> bool:
        number = "" if self.place.correction is None else str(self.place.correction.number)
        files = ((noted.image, noted.image_sha256), (noted.labels, noted.labels_sha256))
        return noted.correction == number and all(is_there(self.folder, *file) for file in files if file[0])

    def _labels(self, temporary: Path) -> Path:
        version = None if self.place.correction is None else self.place.correction.number
        scan = self.place.scan
        fetched = self.client.download(scan.scan_id, temporary / "labels.nii.gz", version=version)
        renumber(fetched, self.organs, scan.organs)
        return fetched

    def _image(self, temporary: Path) -> Path:
        return self.client.image(self.place.scan.scan_id, temporary / "image.nii.gz")

    def _moved(self) -> bool:
        """Whether the image is where it belongs, be it that it was moved from where it lay without labels."""
        for origin in self._earlier():
            if is_there(self.folder, origin.image, origin.image_sha256):
                (self.folder / origin.image).replace(self.folder / self.place.image)
                return True
        return False

    def _earlier(self) -> list[Origin]:
        """What is noted of the same scan."""
        return [origin for origin in self.known.values() if origin.scan == self.place.scan.scan_id]

    def _put(self, arrived: Path, file: str, replaced_sha256: str) -> None:
        """Gives a file its name. One of other content is replaced only if it is what was added before."""
        target = self.folder / file
        if target.exists() and file_sha256(target) not in (file_sha256(arrived), replaced_sha256):
            raise DataSetError(
                self.folder, [f"{file} is there with other content; keep it under another name, or remove it"]
            )
        arrived.replace(target)
