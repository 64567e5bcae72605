"""Output: whether a result can be put where it is wanted, asked before a scan is sent for an hour, and putting it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ricefish.client.client import Client
from ricefish.client.connection import Patience
from ricefish.client.parameters import download_parameters
from ricefish.client.upload_body import Report
from scans.formats import DOWNLOADS, stem
from scans.formats.label_names import LABELS_HEAD
from scans.replacing import replacing

_SHARE, _LEAST_BYTES = 100, 1_000_000
"""A segmentation takes about a hundredth of what its scan takes, or more; with less room it cannot be kept."""
_PROBE = bytes(4096)
"""Written and removed, since a full disk still has room for an empty file."""


_SUFFIXES = tuple(suffix for download in DOWNLOADS.values() for suffix in download.suffixes)
_WITHOUT_COLOURS = ".nii.gz"
"""Of such a file, ITK-SNAP finds names and colours of labels in a description that it is given beside it."""


class OutputRefused(OSError):
    """A result cannot be put there; the message says why, and what would be right."""


def outputs(path: Path) -> tuple[Path, ...]:
    """What is written: the segmentation, and where that cannot hold names and colours, their description."""
    described = path.name.lower().endswith(_WITHOUT_COLOURS)
    return (path, path.with_name(f"{stem(path)}_labels.txt")) if described else (path,)


def check_output(path: Path, *, sent_bytes: int, force: bool) -> None:
    """Raises OutputRefused unless the segmentation of a scan of so many bytes can be written there.

    `force` allows that something is there already.
    """
    folder = path.parent
    if not folder.is_dir():
        raise OutputRefused(f"{path}: there is no folder {folder.absolute()}; make it, or name another")
    if os.path.lexists(path) and not force:
        raise OutputRefused(f"{path} exists; --force replaces it when the new one is there, or name another file")
    if path.is_dir() and not path.name.lower().endswith(".zarr"):
        raise OutputRefused(f"{path} is a folder; name a file")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(_PROBE)
    except OSError as error:
        raise OutputRefused(f"{path}: the folder {folder.absolute()} cannot be written: {error.strerror}") from error
    free, needed = shutil.disk_usage(folder).free, max(_LEAST_BYTES, sent_bytes // _SHARE)
    if free < needed:
        raise OutputRefused(
            f"{path}: the disk of {folder.absolute()} has {free / 1e6:.1f} MB left; the segmentation of this scan "
            f"takes {needed / 1e6:.1f} MB or more"
        )


def check_source(path: Path, out: Path) -> None:
    """Raises OutputRefused where a DICOM segmentation is wanted of a file that begins as one of another format."""
    from scans.formats.signatures import GZIP, START_BYTES, known_by  # noqa: PLC0415

    if out.suffix.lower() != ".dcm" or not path.is_file():
        return
    with path.open("rb") as file:
        start = file.read(START_BYTES)
    known = known_by(start)
    other = known is not None and not known.folders and ".dcm" not in known.suffixes
    if other or start.startswith(GZIP):
        raise OutputRefused(
            f"{out}: a DICOM segmentation refers to the DICOM series that it is of, and {path.name} is none; name a "
            "file such as organs.nii.gz, organs.seg.nrrd, organs.tif or organs.ome.zarr"
        )


def check_outputs(path: Path, *, sent_bytes: int, force: bool) -> None:
    """Raises OutputRefused, as `check_output`, unless the segmentation and what belongs beside it can be written."""
    for place in outputs(path):
        left = place != path and _is_left(place, of=path)
        check_output(place, sent_bytes=sent_bytes, force=force or left)


def fetch_result(
    client: Client,
    scan_id: str,
    out: Path,
    *,
    with_scan: bool = False,
    force: bool = False,
    patience: Callable[[], Patience] = lambda: Patience(0.0),
    report: Report | None = None,
) -> None:
    """Fetches a segmentation, and what belongs beside it; that comes first: where the segmentation is, all of it is.

    Each appears when it is whole. A description of labels that was left without its segmentation is replaced. Raises
    OutputRefused where another text is in its place, unless `force`; RicefishError for what does not pass in time.
    """
    for beside in outputs(out)[1:]:
        text = patience().persist(lambda: client.labels(scan_id))
        _write_beside(beside, text, force=force or _is_left(beside, of=out))
    patience().persist(lambda: client.download(scan_id, out, with_scan=with_scan, report=report))


def _is_left(beside: Path, *, of: Path) -> bool:
    """Whether it is a description of labels, as it is fetched, of a segmentation that was not fetched any more."""
    head = LABELS_HEAD.encode()
    if os.path.lexists(of) or beside.is_symlink() or not beside.is_file():
        return False
    with beside.open("rb") as file:
        return file.read(len(head)) == head


def _write_beside(path: Path, text: str, *, force: bool) -> None:
    """Writes a text that is there as a whole or not at all. Raises OutputRefused where there is another."""
    content = text.encode()
    if os.path.lexists(path):
        if path.is_file() and path.read_bytes() == content:
            return
        if not force:
            raise OutputRefused(f"{path} exists and says something else; --force replaces it")
    with replacing(path) as part:
        part.write_bytes(content)


def result_suffix(said: str | None, *, with_scan: bool) -> str:
    """The suffix of results whose format is named; .nii.gz where it is not.

    Raises ValueError that lists what there is, and for one that has no room for the scan.
    """
    if said is None:
        return ".ome.zarr" if with_scan else ".nii.gz"
    suffix = "." + said.lower().removeprefix(".").replace("ome-zarr", "ome.zarr")
    if suffix not in _SUFFIXES:
        raise ValueError(f"--format is {said!r}; it is one of {', '.join(one[1:] for one in _SUFFIXES)}")
    download_parameters(Path(f"--format{suffix}"), with_scan=with_scan)
    return suffix
