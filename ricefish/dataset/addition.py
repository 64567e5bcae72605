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

    Raises DataSetError with all that is wrong, before anything is written, and, with what was added by then, for a file
    in the way of a scan whose content is not that scan's, which is known when the scan has been fetched. RicefishError
    where the server refuses, OrganMapError and ProvenanceError for files of the data set that cannot be used.
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
    _add_each([_Adding(client, folder, place, organs, known) for place in places], tell)


def _add_each(scans: Sequence[_Adding], tell: Tell) -> None:
    added: list[str] = []
    for scan in scans:
        image = scan.place.image
        if (there := scan.whole()) is not None:
            tell(f"{image} is there already: {there.what}")
            continue
        scan.put(added_before=added)
        write_provenance(scan.folder, scan.known.values())
        added.append(image)
        tell(f"{image} is {scan.known[image].what}")


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
    later = place.correction is not None and noted.correction != str(place.correction.number)
    for file, sha256 in ((noted.image, noted.image_sha256), (noted.labels, noted.labels_sha256)):
        if later and file == noted.labels:
            continue  # may be the later ones, of an update that was cut off: see _Adding
        if file and (folder / file).exists() and not is_there(folder, file, sha256):
            yield f"{file} is not what was added, as {PROVENANCE_FILE} has it: keep it under another name, or remove it"
    if place.correction is not None and later and not wishes.update:
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

    def whole(self) -> Origin | None:
        """What is noted of it, if all of it is there."""
        noted = self.known.get(self.place.image)
        if noted is None:
            return None
        number = "" if self.place.correction is None else str(self.place.correction.number)
        files = ((noted.image, noted.image_sha256), (noted.labels, noted.labels_sha256))
        there = noted.correction == number and all(is_there(self.folder, *file) for file in files if file[0])
        return noted if there else None

    def put(self, *, added_before: Sequence[str]) -> None:
        """Puts its files in place and notes its origin in `known`.

        Raises DataSetError, and changes nothing, where files in the way hold something else.
        """
        place, noted = self.place, self.known.get(self.place.image)
        replaced = noted.labels_sha256 if noted is not None else ""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".adding-") as temporary:
            arrived = {place.labels: self._labels(Path(temporary))} if place.labels else {}
            arrived[place.image] = self._image(Path(temporary))
            if problems := [
                f"{file} is there with other content; keep it under another name, or remove it"
                for file, source in arrived.items()
                if self._is_other(file, source, replaced_sha256=replaced if file == place.labels else "")
            ]:
                raise DataSetError(self.folder, problems, added=added_before)
            for file, source in arrived.items():
                source.replace(self.folder / file)
        for earlier in self._earlier():
            del self.known[earlier.image]
        self.known[place.image] = place.origin(self.folder, server=self.client.url)

    def _labels(self, temporary: Path) -> Path:
        version = None if self.place.correction is None else self.place.correction.number
        scan = self.place.scan
        fetched = self.client.download(scan.scan_id, temporary / "labels.nii.gz", version=version)
        renumber(fetched, self.organs, scan.organs)
        return fetched

    def _image(self, temporary: Path) -> Path:
        """Where it lies in the data set already, be it without labels; else fetched."""
        for origin in self._earlier():
            if is_there(self.folder, origin.image, origin.image_sha256):
                return self.folder / origin.image
        return self.client.image(self.place.scan.scan_id, temporary / "image.nii.gz")

    def _earlier(self) -> list[Origin]:
        """What is noted of the same scan."""
        return [origin for origin in self.known.values() if origin.scan == self.place.scan.scan_id]

    def _is_other(self, file: str, arrived: Path, *, replaced_sha256: str) -> bool:
        """Whether a file is there that is neither what has arrived nor what was added before, and is replaced."""
        target = self.folder / file
        return target.exists() and file_sha256(target) not in (file_sha256(arrived), replaced_sha256)
