"""Client: a server's scans from Python.

with Client("http://127.0.0.1:8000") as client:
    scan = client.submit(Path("fish.nii.gz"))
    for status in client.wait(scan.id):
        print(status.slices_done, "of", status.slices_total)
    client.download(scan.id, Path("organs.nii.gz"))
    print(client.organs(scan.id))
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import httpx

from ricefish.client.connection import QUEUE_FULL, Connection, Patience, RicefishError, to_be_tried, wait_for_allowance
from ricefish.client.organs import ServedOrgan
from ricefish.client.parameters import Priority, SubmissionOptions, download_parameters
from ricefish.client.resumable_upload import submit_resumable
from ricefish.client.review_calls import ReviewCalls
from ricefish.client.upload_body import Report, pieces, reported, upload_name, zipped_files
from scans.geometry import Spacing

__all__ = ["PATIENCE_SECONDS", "RESUMABLE_BYTES", "Client", "RicefishError", "ScanStatus"]

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]

PATIENCE_SECONDS = 300.0
"""How long a server that does not answer, as one that is being restarted, is tried again."""
RESUMABLE_BYTES = 64_000_000
"""Larger files are sent so that what breaks off goes on where it stopped."""


@dataclass(frozen=True)
class ScanStatus:
    """How far a scan is."""

    id: str
    state: State
    slices_done: int
    slices_total: int
    slices_per_second: float | None
    eta_seconds: float | None
    error: str | None
    model: str
    """Name and, from a registry, version."""
    warnings: tuple[str, ...] = ()
    """How the scan is unlike what the model has seen, a sentence each."""
    notes: tuple[str, ...] = ()
    """What to know of how the file was read, a sentence each."""

    @property
    def ended(self) -> bool:
        """True once the state no longer changes."""
        return self.state in ("succeeded", "failed", "cancelled")


class Client:
    """A server. Use it as a context manager, or `close` it.

    `key` is for servers that want one; None: that of the environment variable RICEFISH_API_KEY. `ca` is a PEM file with
    the certificate of who signed the server's, where this machine trusts it by no other way; None: that of RICEFISH_CA,
    if there is one. Files of more than `resumable_bytes` are sent resumably. Raises ValueError for what cannot be a key
    or a certificate.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
        resumable_bytes: int = RESUMABLE_BYTES,
        ca: Path | None = None,
    ) -> None:
        self._connection = Connection(url, key=key, ca=ca)
        self.reviews = ReviewCalls(self._connection)
        """Slices to be judged, and what was said of them."""
        self._patience_seconds = patience_seconds
        self._resumable_bytes = resumable_bytes

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._connection.close()

    def submit(
        self,
        path: Path,
        *,
        spacing: Spacing | None = None,
        priority: Priority = "normal",
        fresh: bool = False,
        model: str | None = None,
        version: str | None = None,
        dataset: str | None = None,
        report: Report | None = None,
    ) -> ScanStatus:
        """Sends a file, or a folder (DICOM or TIFF series, OME-Zarr), and returns when the server has accepted it.

        A header whose voxels are in a file beside it is sent with that.

        `spacing` is for files that do not state theirs; `fresh` segments anew what was segmented before; `model` and
        its `version` are among those that the server serves, None: its default. `dataset` names one of several volumes
        in an HDF5 file or a Zarr, or the axis that is the slices of a TIFF: frames or channels. `report` is called with
        the bytes sent so far, those of an earlier call that broke off among them: a large file goes on where that one
        stopped, in another process too. A server whose queue is full is asked again when it says so, for a day. Raises
        RicefishError with the server's reason if it refuses, FileNotFoundError if there is no such path, FileChanged if
        it is written to meanwhile.
        """
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        options = SubmissionOptions(upload_name(path), spacing, priority, fresh, model, version, dataset)
        answer = None
        if not zipped_files(path) and path.stat().st_size > self._resumable_bytes:
            patience = self._patience_seconds
            answer = submit_resumable(self._connection, path, options, patience_seconds=patience, report=report)
        if answer is None:
            answer = self._submit_at_once(path, options, report)
        return _status(answer.json())

    def status(self, scan_id: str) -> ScanStatus:
        """How far a scan is."""
        return _status(self._connection.get(f"/v1/scans/{scan_id}").json())

    def wait(self, scan_id: str, *, poll_seconds: float = 0.5) -> Iterator[ScanStatus]:
        """The scan's status again and again until it has ended, whatever the end is.

        A server that does not answer is tried again for `patience_seconds`: scans survive its restart.
        """
        unreached_since: float | None = None
        while True:
            try:
                status = self.status(scan_id)
            except RicefishError as error:
                now = time.monotonic()
                waited = 0.0 if unreached_since is None else now - unreached_since
                if error.status not in (None, 502, 503, 504) or waited > self._patience_seconds:
                    raise
                if unreached_since is None:
                    unreached_since = now
                    to_be_tried(error, self._patience_seconds)
            else:
                unreached_since = None
                yield status
                if status.ended:
                    return
            time.sleep(poll_seconds)

    def download(self, scan_id: str, path: Path, *, with_scan: bool = False, report: Report | None = None) -> Path:
        """Fetches the segmentation into a file, in the format of its suffix: .nii.gz, .nrrd, .tif, .ome.zarr, .zip.

        The file appears when it is complete, and what was there before stays until then. `.ome.zarr` makes a folder.
        `with_scan`: an OME-Zarr has the scan in it too, with the segmentation as its labels. Raises ValueError for
        another suffix, RicefishError for an archive that arrived damaged.
        """
        parameters = download_parameters(path, with_scan=with_scan)
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
        try:
            self._fetch(f"/v1/scans/{scan_id}/segmentation", parameters, into=part, report=report)
            if path.name.lower().endswith(".zarr"):
                _unpack(part, path)
            else:
                part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return path

    def organs(self, scan_id: str) -> list[ServedOrgan]:
        """Size, place, extent and expected Dice of every organ of a finished scan."""
        content = self._connection.get(f"/v1/scans/{scan_id}/organs").json()
        return [ServedOrgan.from_json(row) for row in content["organs"]]

    def labels(self, scan_id: str) -> str:
        """Index, colour and name of every label of a finished scan, as the text that ITK-SNAP imports."""
        return self._connection.get(f"/v1/scans/{scan_id}/labels").text

    def quality(self, scan_id: str) -> list[float]:
        """Probability, for each slice of a finished scan, that its segmentation is good.

        Raises RicefishError where the model has no Quality Classifier.
        """
        content = self._connection.get(f"/v1/scans/{scan_id}/quality").json()
        return [row["good"] for row in content["slices"]]

    def delete(self, scan_id: str) -> None:
        """Cancels the scan if it is under way, and removes it from the server."""
        self._connection.request("DELETE", f"/v1/scans/{scan_id}")

    def _submit_at_once(self, path: Path, options: SubmissionOptions, report: Report | None) -> httpx.Response:
        headers = {"Content-Type": "application/octet-stream", "Idempotency-Key": uuid.uuid4().hex}
        if not zipped_files(path):
            headers["Content-Length"] = str(path.stat().st_size)
        patience = Patience(self._patience_seconds)
        while True:
            content = reported(pieces(path), report)
            try:
                return self._connection.request(
                    "POST", "/v1/scans", params=options.content, headers=headers, content=content
                )
            except RicefishError as error:
                if error.problem == QUEUE_FULL:
                    patience.pause(error)
                else:
                    wait_for_allowance(error)

    def _fetch(self, path: str, parameters: dict[str, str], *, into: Path, report: Report | None) -> None:
        with self._connection.stream(path, params=parameters) as answer, into.open("wb") as file:
            for piece in reported(answer.iter_raw(), report):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())


def _unpack(archive: Path, folder: Path) -> None:
    """Puts what an archive holds in the place of a folder, once all of it is unpacked."""
    beside = archive.with_suffix(".unpacked")
    try:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(beside)
        _put_in_place(beside, folder)
    except zipfile.BadZipFile as error:
        raise RicefishError(f"{folder.name} arrived damaged, and nothing was replaced: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _put_in_place(new: Path, folder: Path) -> None:
    """Gives a folder the name of another, which is removed afterwards; one that cannot be put there changes nothing."""
    before = new.with_suffix(".before")
    try:
        with suppress(FileNotFoundError):
            folder.rename(before)
        new.rename(folder)
    except BaseException:  # whoever ends the command here finds what was there before
        if os.path.lexists(before) and not os.path.lexists(folder):
            before.rename(folder)
        raise
    if before.is_dir() and not before.is_symlink():
        shutil.rmtree(before)
    else:
        before.unlink(missing_ok=True)


def _status(content: dict[str, Any]) -> ScanStatus:
    model = content["model"]
    return ScanStatus(
        id=content["id"],
        state=content["state"],
        slices_done=content["slices_done"],
        slices_total=content["slices_total"],
        slices_per_second=content["slices_per_second"],
        eta_seconds=content["eta_seconds"],
        error=content["error"],
        model=f"{model['name']} {model['version'] or ''}".strip(),
        warnings=tuple(_sentence(warning) for warning in content.get("warnings", ())),
        notes=tuple(content.get("notes", ())),
    )


def _sentence(warning: dict[str, str]) -> str:
    return f"{warning['message']} ({warning['found']}; expected: {warning['expected']})"
