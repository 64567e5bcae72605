"""Client: a server's scans from Python.

with Client("http://127.0.0.1:8000") as client:
    scan = client.submit(Path("fish.nii.gz"))
    for status in client.wait(scan.id):
        print(status.slices_done, "of", status.slices_total)
    client.download(scan.id, Path("organs.nii.gz"))
    print(client.organs(scan.id))
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import httpx

from ricefish.client.connection import QUEUE_FULL, Connection, NoAnswer, Patience, RicefishError, wait_for_allowance
from ricefish.client.corrections import Segmentations, SegmentationVersion, send_correction
from ricefish.client.fetched import fetch
from ricefish.client.organs import ServedOrgan
from ricefish.client.parameters import Priority, SubmissionOptions, download_parameters
from ricefish.client.resumable_upload import submit_resumable
from ricefish.client.review_calls import ReviewCalls
from ricefish.client.scan_status import ScanStatus, State
from ricefish.client.upload_body import Report, pieces, reported, upload_path, zipped_files
from scans.geometry import Spacing

__all__ = ["PATIENCE_SECONDS", "RESUMABLE_BYTES", "Client", "RicefishError", "ScanStatus"]

PATIENCE_SECONDS = 300.0
"""How long a server that does not answer, as one that is being restarted, is tried again."""
RESUMABLE_BYTES = 64_000_000
"""Larger files are sent so that what breaks off goes on where it stopped."""
_PAGE = 500


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

    @property
    def url(self) -> str:
        """Of the server, without a password that it was given with."""
        return self._connection.url

    def patience(self) -> Patience:
        """A new one, of `patience_seconds`: for calls that shall outlast a restart of the server."""
        return Patience(self._patience_seconds)

    def is_there(self) -> bool:
        """Whether the server answers, be it ready or not."""
        try:
            self._connection.request("GET", "/health/live")
        except RicefishError as error:
            return not isinstance(error, NoAnswer) and error.status not in (502, 504)
        return True

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
        key: str | None = None,
        sha256: str | None = None,
        report: Report | None = None,
    ) -> ScanStatus:
        """Sends a file, or a folder (DICOM or TIFF series, OME-Zarr), and returns when the server has accepted it.

        A header whose voxels are in a file beside it is sent with that. With its name goes that of the folder that
        `path` names before it, by which slices are offered for review evenly: of `day_7/fish.tif`, `day_7`.

        `spacing` is for files that do not state theirs; `fresh` segments anew what was segmented before; `model` and
        its `version` are among those that the server serves, None: its default. `dataset` names one of several volumes
        in an HDF5 file or a Zarr, or the axis that is the slices of a TIFF: frames or channels. `key` is an
        Idempotency-Key: sent again with it, it is the same scan, which `find` finds. `sha256` is that of what is sent,
        as `digest` gives it: the server refuses what arrives otherwise. `report` is called with the bytes sent so far,
        those of an earlier call that broke off among them: a large file goes on where that one stopped, in another
        process too. A server whose queue is full is asked again when it says so, for a day. Raises RicefishError with
        the server's reason if it refuses, FileNotFoundError if there is no such path, FileChanged if it is written to
        meanwhile.
        """
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        said = (upload_path(path), spacing, priority, fresh, model, version, dataset)
        options = SubmissionOptions(*said, sha256=sha256, idempotency_key=key)
        answer = None
        if not zipped_files(path) and path.stat().st_size > self._resumable_bytes:
            patience = self._patience_seconds
            answer = submit_resumable(self._connection, path, options, patience_seconds=patience, report=report)
        if answer is None:
            answer = self._submit_at_once(path, options, report)
        return ScanStatus.from_json(answer.json())

    def status(self, scan_id: str) -> ScanStatus:
        """How far a scan is."""
        return ScanStatus.from_json(self._connection.get(f"/v1/scans/{scan_id}").json())

    def scans(self, *, state: State | None = None, flagged: bool | None = None) -> Iterator[ScanStatus]:
        """All scans, the newest first, or those in a state; `flagged`: those with warnings, False: those without."""
        asked: dict[str, str] = {"limit": str(_PAGE)}
        if state is not None:
            asked["state"] = state
        if flagged is not None:
            asked["flagged"] = str(flagged).lower()
        while page := self._connection.get("/v1/scans", params=asked).json()["scans"]:
            yield from map(ScanStatus.from_json, page)
            asked["before"] = page[-1]["id"]

    def find(self, key: str) -> ScanStatus | None:
        """The scan that an Idempotency-Key stands for; None if there is none."""
        page = self._connection.get("/v1/scans", params={"idempotency_key": key}).json()["scans"]
        return ScanStatus.from_json(page[0]) if page else None

    def cancel(self, scan_id: str) -> ScanStatus:
        """Ends a scan that waits or is being segmented; it stays, so that `retry` can begin it again.

        Raises RicefishError, also if it has ended already.
        """
        return ScanStatus.from_json(self._connection.when_allowed("POST", f"/v1/scans/{scan_id}/cancel").json())

    def retry(self, scan_id: str) -> ScanStatus:
        """Queues a scan again that failed or was cancelled, at the slab where it stopped.

        Raises RicefishError, also if it is in another state, or if as much waits as may wait.
        """
        return ScanStatus.from_json(self._connection.when_allowed("POST", f"/v1/scans/{scan_id}/retry").json())

    def model_identity(self, model: str | None = None, version: str | None = None) -> str:
        """What tells the model that a scan would get now from all others: its name, version and SHA-256.

        Raises RicefishError where the server serves none of that name.
        """
        served = self._connection.get("/v1/models").json()["models"]
        for place in served:
            if place["name"] == model or (model is None and place["default"]):
                if version in (None, place["version"]):
                    return f"{place['name']} {place['version'] or ''} {place['sha256']}"
                return f"{place['name']} {version}"  # an earlier one, that may be served still
        names = ", ".join(sorted({place["name"] for place in served}))
        raise RicefishError(f"{self._connection.url} serves no model {model or ''}; it serves {names or 'none'}")

    def wait(self, scan_id: str, *, poll_seconds: float = 0.5) -> Iterator[ScanStatus]:
        """The scan's status again and again until it has ended, whatever the end is.

        A server that does not answer is tried again for `patience_seconds`: scans survive its restart.
        """
        while True:
            status = self.patience().persist(lambda: self.status(scan_id))
            yield status
            if status.ended:
                return
            time.sleep(poll_seconds)

    def correct(
        self, scan_id: str, path: Path, *, dataset: str | None = None, report: Report | None = None
    ) -> SegmentationVersion:
        """Sends labels that somebody has put right, a file or folder, as the next version of a scan's segmentation.

        They lie on the scan's voxels, in whichever order their axes run, and hold the model's classes, or 255 where
        nobody has looked; segments of 3D Slicer go by their names. `dataset` and `report` are as in `submit`. Raises
        RicefishError with the server's reason if it refuses, FileNotFoundError if there is no such path.
        """
        seconds = self._patience_seconds
        return send_correction(
            self._connection, scan_id, path, dataset=dataset, patience_seconds=seconds, report=report
        )

    def segmentations(self, scan_id: str) -> Segmentations:
        """The versions of a finished scan's segmentation: the model's answer, which is 0, and its corrections."""
        return Segmentations.from_json(self._connection.get(f"/v1/scans/{scan_id}/segmentations").json())

    def delete_correction(self, scan_id: str, version: int) -> None:
        """Removes a correction: whoever sent it may, and admins. Raises RicefishError."""
        self._connection.request("DELETE", f"/v1/scans/{scan_id}/segmentations/{version}")

    def download(
        self,
        scan_id: str,
        path: Path,
        *,
        with_scan: bool = False,
        version: int | None = None,
        report: Report | None = None,
    ) -> Path:
        """Fetches the segmentation into a file, in the format of its suffix: .nii.gz, .nrrd, .tif, .ome.zarr, .zip,
        or, of a scan that came as a DICOM series, .dcm.

        Without `version` it is the latest: 0 is the model's answer, corrections count from 1.

        The file appears when it is complete, and what was there before stays until then. `.ome.zarr` makes a folder.
        `with_scan`: an OME-Zarr has the scan in it too, with the segmentation as its labels. Raises ValueError for
        another suffix, RicefishError for an archive that arrived damaged.
        """
        parameters = download_parameters(path, with_scan=with_scan, version=version)
        return fetch(self._connection, f"/v1/scans/{scan_id}/segmentation", parameters, into=path, report=report)

    def image(self, scan_id: str, path: Path, *, report: Report | None = None) -> Path:
        """Fetches a finished scan as it was accepted into a file: .nii.gz, .nrrd or .tif. Raises as `download`."""
        address = f"/v1/scans/{scan_id}/image"
        return fetch(self._connection, address, download_parameters(path), into=path, report=report)

    def organs(self, scan_id: str, *, version: int | None = None) -> list[ServedOrgan]:
        """Size, place, extent and expected Dice of every organ of a finished scan; of a version, or the latest."""
        asked = {} if version is None else {"version": version}
        content = self._connection.get(f"/v1/scans/{scan_id}/organs", params=asked).json()
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
        self._connection.when_allowed("DELETE", f"/v1/scans/{scan_id}")

    def _submit_at_once(self, path: Path, options: SubmissionOptions, report: Report | None) -> httpx.Response:
        headers = {
            "Content-Type": "application/octet-stream",
            "Idempotency-Key": options.idempotency_key or uuid.uuid4().hex,
        }
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
