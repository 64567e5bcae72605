"""A raw data set: the folder of scans that a lab brings, and what must hold before anything is learnt from it.

    organs.yaml                  class index to organ name; 255: not_labelled, where labels are of parts
    labelled/images/NAME.*       scans
    labelled/labels/NAME.*       their labels, under the same name, in any format
    unlabelled/images/*          scans without labels, or
    unlabelled/EXPERIMENT/*      the same, by beam time or facility
    provenance.csv               of scans that a server handed out, from where they are: see scans/raw/provenance.py
    spacing.yaml                 z, y, x in mm: only for files that do not state their spacing
    datasets.yaml                which data set is the volume, by file: only for HDF5 and Zarr that hold several, and
                                 "frames" or "channels" for TIFF whose slices were saved as such

A scan is a file of any accepted format, or a folder that holds a series of slices. Hidden files and side files, such as
notes and previews, are passed over; those that somebody wrote are said.
"""

from __future__ import annotations

import fnmatch
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from scans.formats import FormatError, SpacingMissing, open_volume, stem
from scans.formats.beside import voxel_file_names
from scans.formats.file_names import readable, same_name
from scans.formats.side_files import is_leftover, is_side_file
from scans.geometry import Spacing
from scans.hashes import file_sha256
from scans.organs import OrganMap
from scans.raw.layout import (
    LABELLED_IMAGES,
    LABELLED_LABELS,
    ORGANS_FILE,
    PROVENANCE_FILE,
    UNLABELLED,
    experiment_of,
    unlabelled_dir,
)
from scans.raw.placed_labels import LabelsElsewhere, open_labels
from scans.raw.provenance import Origin, ProvenanceError, read_provenance
from scans.volume import Volume

SPACING_FILE = "spacing.yaml"
DATASETS_FILE = "datasets.yaml"

logger = logging.getLogger(__name__)


class RawDataError(ValueError):
    """A raw data set that cannot be used. `problems` holds every one that was found; so does the message."""

    def __init__(self, raw_dir: Path, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        super().__init__("\n  - ".join([f"{raw_dir} cannot be used; {count}:", *self.problems]))


@dataclass(frozen=True)
class RawScan:
    """One scan of the folder."""

    id: str
    """Name without suffix; with the experiment before it where there is one."""
    experiment: str
    """The folder's name under unlabelled/; "" for `images` and for labelled scans."""
    image: Path
    labels: Path | None


@dataclass(frozen=True)
class RawData:
    """What lies in the folder, by its names alone: no scan has been opened."""

    raw_dir: Path
    organs: OrganMap
    spacing: Spacing | None
    """From spacing.yaml."""
    datasets: Mapping[str, str]
    """From datasets.yaml: pattern of paths to the name of a data set; the first that fits counts."""
    scans: tuple[RawScan, ...]
    origins: Mapping[str, Origin]
    """From provenance.csv, by image."""
    problems: tuple[str, ...]
    """Why it cannot be used."""

    def source(self, path: Path) -> str:
        """A path as people who know the folder call it."""
        return path.relative_to(self.raw_dir).as_posix()

    def dataset(self, path: Path) -> str | None:
        """Which data set of a file is the volume; None where nothing is said of it."""
        name = self.source(path)
        return next((data for pattern, data in self.datasets.items() if fnmatch.fnmatchcase(name, pattern)), None)

    def origin(self, scan: RawScan) -> Origin | None:
        """Which server a scan is from, as far as its files, which are read, are still what came from there."""
        origin = self.origins.get(self.source(scan.image))
        if origin is None:
            return None
        stated = ((scan.image, origin.image_sha256), (scan.labels, origin.labels_sha256))
        changed = [self.source(path) for path, sha256 in stated if path and not _is_file_of(path, sha256)]
        if not changed:
            return origin
        why = f"{PROVENANCE_FILE} says that {origin.image} is {origin.what}; it goes without that origin"
        logger.warning("%s is not what was added, and %s", " and ".join(changed), why)
        return None

    @contextmanager
    def open(self, scan: RawScan) -> Iterator[tuple[Volume, Volume | None]]:
        """A scan's image and labels, lazy.

        Labels are on the image's voxels, however their own axes run. Raises FormatError for a file that cannot be read,
        RawDataError for labels that do not lie where the image lies.
        """
        with ExitStack() as stack:
            image = stack.enter_context(self._opened(scan.image))
            if scan.labels is None:
                yield image, None
                return
            dataset = self.dataset(scan.labels)
            try:
                labels = stack.enter_context(open_labels(scan.labels, image, self.organs, dataset=dataset))
            except LabelsElsewhere as error:
                raise RawDataError(self.raw_dir, [f"{self.source(scan.labels)} {error}"]) from None
            yield image, labels

    @contextmanager
    def _opened(self, path: Path) -> Iterator[Volume]:
        dataset = self.dataset(path)
        with ExitStack() as stack:
            try:
                volume = stack.enter_context(open_volume(path, dataset=dataset))
            except SpacingMissing as error:
                if self.spacing is None:
                    expected = (
                        f"a file {SPACING_FILE} beside organs.yaml, such as {{z: 0.01, y: 0.005, x: 0.005}}, in mm"
                    )
                    raise FormatError(path, error.found, expected) from None
                volume = stack.enter_context(open_volume(path, spacing=self.spacing, dataset=dataset))
            yield volume


def discover(raw_dir: Path) -> RawData:
    """Finds the scans of a raw data set. What is wrong with its names is told in `problems`.

    Raises OrganMapError if organs.yaml cannot be used, RawDataError if spacing.yaml or provenance.csv cannot.
    """
    organs = OrganMap.from_yaml(raw_dir / ORGANS_FILE)
    labelled, problems = _labelled(raw_dir)
    unlabelled, misplaced = _unlabelled(raw_dir)
    problems += misplaced
    by_id = defaultdict(list)
    for scan in (*labelled, *unlabelled):
        by_id[scan.id].append(scan.image.relative_to(raw_dir).as_posix())
    problems += [
        f"{' and '.join(paths)} have the same name, {volume_id}; rename one, or remove it if they are the same scan"
        for volume_id, paths in by_id.items()
        if len(paths) > 1
    ]
    if len(labelled) < 2:
        problems.append(
            f"labelled/ holds {len(labelled)} scans with labels; it takes two, one to learn from and one to hold out"
        )
    datasets = _datasets(raw_dir)
    paths = [scan.image.relative_to(raw_dir).as_posix() for scan in (*labelled, *unlabelled)]
    paths += [scan.labels.relative_to(raw_dir).as_posix() for scan in labelled if scan.labels]
    problems += [
        f"{DATASETS_FILE} names {pattern}, as no scan or label is called; expected paths such as labelled/images/*.h5"
        for pattern in datasets
        if not fnmatch.filter(paths, pattern)
    ]
    scans = (*labelled, *unlabelled)
    return RawData(raw_dir, organs, _spacing(raw_dir), datasets, scans, _origins(raw_dir), tuple(problems))


def _labelled(raw_dir: Path) -> tuple[list[RawScan], list[str]]:
    problems: list[str] = []
    images = _by_stem(raw_dir, LABELLED_IMAGES, problems)
    labels = _by_stem(raw_dir, LABELLED_LABELS, problems)
    problems += [
        f"{LABELLED_IMAGES}/{images[name].name} has no labels; expected {LABELLED_LABELS}/{name} with any format's "
        "suffix"
        for name in sorted(set(images) - set(labels))
    ]
    problems += [
        f"{LABELLED_LABELS}/{labels[name].name} has no image; expected {LABELLED_IMAGES}/{name} with any format's "
        "suffix"
        for name in sorted(set(labels) - set(images))
    ]
    both = sorted(set(images) & set(labels))
    return [RawScan(name, "", images[name], labels[name]) for name in both], problems


def _unlabelled(raw_dir: Path) -> tuple[list[RawScan], list[str]]:
    folder = raw_dir / UNLABELLED
    scans: list[RawScan] = []
    problems: list[str] = []
    for entry in _entries(folder) if folder.is_dir() else []:
        if not entry.is_dir():
            problems.append(
                f"{UNLABELLED}/{entry.name} is in no experiment; move it to {unlabelled_dir('')}/{entry.name}"
            )
            continue
        experiment = experiment_of(entry.name)
        prefix = f"{experiment}-" if experiment else ""
        found = _by_stem(raw_dir, f"{UNLABELLED}/{entry.name}", problems)
        scans += [RawScan(prefix + name, experiment, path, None) for name, path in found.items()]
    return scans, problems


def _by_stem(raw_dir: Path, folder: str, problems: list[str]) -> Mapping[str, Path]:
    """The scans of a folder by name without suffix; two of one name are a problem."""
    if not (raw_dir / folder).is_dir():
        problems.append(f"{folder}/ does not exist")
        return {}
    found: dict[str, Path] = {}
    for path in _entries(raw_dir / folder):
        name = readable(stem(path))
        if name in found:
            problems.append(
                f"{folder}/{found[name].name} and {folder}/{path.name} have the same name, {name}; keep one"
            )
        found.setdefault(name, path)
    return found


def _entries(folder: Path) -> list[Path]:
    visible = sorted(path for path in folder.iterdir() if not is_leftover(path.name))
    voxels = [name for path in visible if path.is_file() for name in voxel_file_names(path)]
    found = [path for path in visible if not any(same_name(path.name, name) for name in voxels)]
    for path in found:
        if path.is_file() and is_side_file(path.name):
            logger.warning("%s is passed over: by its name it is no scan", path)
    return [path for path in found if not (path.is_file() and is_side_file(path.name))]


def _origins(raw_dir: Path) -> Mapping[str, Origin]:
    try:
        return read_provenance(raw_dir)
    except ProvenanceError as error:
        raise RawDataError(raw_dir, [str(error)]) from error


def _is_file_of(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def _spacing(raw_dir: Path) -> Spacing | None:
    path = raw_dir / SPACING_FILE
    if not path.exists():
        return None
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Spacing(z=float(content["z"]), y=float(content["y"]), x=float(content["x"]))
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        problem = f"{SPACING_FILE}: {' '.join(str(error).split())}; expected {{z: 0.01, y: 0.005, x: 0.005}}, in mm"
        raise RawDataError(raw_dir, [problem]) from error


def _datasets(raw_dir: Path) -> Mapping[str, str]:
    path = raw_dir / DATASETS_FILE
    if not path.exists():
        return {}
    expected = "expected a line for each pattern of paths, such as labelled/images/*: exchange/data"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RawDataError(raw_dir, [f"{DATASETS_FILE}: {' '.join(str(error).split())}; {expected}"]) from error
    if not isinstance(content, dict) or not all(isinstance(text, str) for pair in content.items() for text in pair):
        raise RawDataError(raw_dir, [f"{DATASETS_FILE} is no list of names; {expected}"])
    return content
