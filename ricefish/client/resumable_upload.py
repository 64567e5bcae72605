"""Resumable uploads, by the tus protocol 1.0.0: what broke off goes on where it stopped, also in a new process."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import BinaryIO

import httpx

from ricefish.client.connection import LONG_SECONDS, Connection, NoAnswer, Patience, RicefishError
from ricefish.client.parameters import SubmissionOptions
from ricefish.client.upload_body import Report, pieces_of, reported
from ricefish.client.upload_state import UploadIdentity, UploadState, upload_state

_UPLOADS = "/v1/uploads"
_VERSION = {"Tus-Resumable": "1.0.0"}
_CHECKSUMS = ("sha256", "sha1")
_LEAST_PART_BYTES, _FIRST_PART_BYTES, _MOST_PART_BYTES = 256 << 10, 4 << 20, 16 << 20
_SILENCE_SECONDS = 120.0
"""How long a part may stand still, or its answer stay away, before the connection counts as dead."""
_GONE = frozenset({404, 410})
_STANDS_ELSEWHERE = frozenset({409, 423, 460})
"""The part was not taken: another offset, another writer, damaged on its way."""
_MOST_UPLOADS = 3
"""How many uploads of one file may be lost by the server before it is given up."""


class FileChanged(OSError):
    """The file was written to while it was being sent."""


def submit_resumable(
    connection: Connection, path: Path, options: SubmissionOptions, *, patience_seconds: float, report: Report | None
) -> httpx.Response | None:
    """Sends a file, or the rest of it, and asks for it as a scan; None if the server takes no resumable uploads.

    Raises RicefishError if the server refuses or does not answer for `patience_seconds`; what has arrived is kept, and
    the next call goes on there. Raises UploadUnderWay, and FileChanged if it is written to meanwhile.
    """
    patience = Patience(patience_seconds)
    described = _describe(connection, patience)
    if described.headers.get("tus-version", "") != _VERSION["Tus-Resumable"]:
        return None
    identity = UploadIdentity.of(path, server=connection.url)
    offered = [name.strip() for name in described.headers.get("tus-checksum-algorithm", "").split(",")]
    checksum = next((name for name in _CHECKSUMS if name in offered), None)
    with upload_state(identity) as entry:
        sending = _Sending(connection, path, identity, checksum=checksum, patience=patience, report=report)
        for _ in range(_MOST_UPLOADS):
            if (answer := sending.once(entry, options)) is not None:
                entry.upload_id = None
                return answer
            entry.upload_id = None
    raise RicefishError(f"{connection.url} lost {_MOST_UPLOADS} uploads of {path.name}; its log may say why")


def _describe(connection: Connection, patience: Patience) -> httpx.Response:
    """What the server knows of the protocol. A server that is not there at all is an error at once."""
    while True:
        try:
            return connection.request("OPTIONS", _UPLOADS)
        except RicefishError as error:
            if error.status in (404, 405, 501):
                return httpx.Response(error.status)
            if isinstance(error, NoAnswer):
                raise
            patience.pause(error)


class _Sending:
    """One file on its way to one server."""

    def __init__(
        self,
        connection: Connection,
        path: Path,
        identity: UploadIdentity,
        *,
        checksum: str | None,
        patience: Patience,
        report: Report | None,
    ) -> None:
        self._connection = connection
        self._path = path
        self._identity = identity
        self._checksum = checksum
        self._patience = patience
        self._report = report
        self._part_bytes = _FIRST_PART_BYTES
        self._arrived = 0

    def once(self, entry: UploadState, options: SubmissionOptions) -> httpx.Response | None:
        """The server's answer to the scan; None if it does not know, or no longer knows, the upload."""
        if entry.upload_id is None:
            entry.upload_id = self._create(options)
        try:
            self._send(entry.upload_id)
        except FileChanged:
            entry.upload_id = None
            raise
        except RicefishError as error:
            if error.status not in _GONE:
                arrived = f"{self._arrived} of {self._identity.bytes} bytes have arrived; sent again, it goes on there"
                raise error.adding(arrived) from error
        return self._ask(entry.upload_id, options)

    def _create(self, options: SubmissionOptions) -> str:
        said = {"filename": options.filename, "priority": options.priority}
        metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in said.items())
        headers = {"Upload-Length": str(self._identity.bytes), "Upload-Metadata": metadata}
        answer = self._patience.persist(lambda: self._connection.request("POST", _UPLOADS, headers=_VERSION | headers))
        upload_id = str(answer.headers.get("location", "")).rstrip("/").rpartition("/")[2]
        if not upload_id.isalnum():
            raise RicefishError(f"{self._connection.url} does not say where the upload is", status=answer.status_code)
        return upload_id

    def _send(self, upload_id: str) -> None:
        """Sends what is missing. Raises RicefishError with 404 or 410 if the upload is gone, FileChanged."""
        self._see(upload_id)
        with self._path.open("rb") as file:
            while (before := self._arrived) < self._identity.bytes:
                try:
                    self._append(upload_id, file)
                    self._part_bytes = min(2 * self._part_bytes, _MOST_PART_BYTES)
                except RicefishError as error:
                    self._part_bytes = max(self._part_bytes // 2, _LEAST_PART_BYTES)
                    self._patience.pause(error, also=_STANDS_ELSEWHERE)
                    self._see(upload_id)
                if self._arrived > before:
                    self._patience.renew()
        self._check_unchanged()

    def _append(self, upload_id: str, file: BinaryIO) -> None:
        """Sends the next part."""
        self._check_unchanged()
        file.seek(self._arrived)
        part = file.read(self._part_bytes)
        headers = {
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(len(part)),
            "Upload-Offset": str(self._arrived),
        }
        if self._checksum:
            digest = hashlib.new(self._checksum, part, usedforsecurity=False).digest()
            headers["Upload-Checksum"] = f"{self._checksum} {base64.b64encode(digest).decode()}"
        answer = self._connection.request(
            "PATCH",
            f"{_UPLOADS}/{upload_id}",
            headers=_VERSION | headers,
            content=reported(pieces_of(part), self._report, before=self._arrived),
            timeout=_SILENCE_SECONDS,
        )
        self._arrived = self._stated_offset(answer)

    def _see(self, upload_id: str) -> None:
        """Asks how much has arrived."""
        answer = self._patience.persist(
            lambda: self._connection.request(
                "HEAD", f"{_UPLOADS}/{upload_id}", headers=_VERSION, timeout=_SILENCE_SECONDS
            )
        )
        self._arrived = self._stated_offset(answer)
        if self._report:
            self._report(self._arrived)

    def _stated_offset(self, answer: httpx.Response) -> int:
        stated = str(answer.headers.get("upload-offset", ""))
        if not stated.isdecimal() or int(stated) > self._identity.bytes:
            raise RicefishError(
                f"{self._connection.url} says that an upload of {self._identity.bytes} bytes stands at {stated!r}",
                status=answer.status_code,
            )
        return int(stated)

    def _ask(self, upload_id: str, options: SubmissionOptions) -> httpx.Response | None:
        """Asks for the upload as a scan, as often as need be: the key makes it one scan."""
        self._patience.renew()
        try:
            return self._patience.persist(
                lambda: self._connection.request(
                    "POST",
                    "/v1/scans",
                    json={"source": {"upload": upload_id}, **options.content},
                    headers={"Idempotency-Key": options.key(upload_id)},
                    timeout=httpx.Timeout(30.0, read=LONG_SECONDS),
                )
            )
        except RicefishError as error:
            if error.status in _GONE:
                return None
            raise

    def _check_unchanged(self) -> None:
        if UploadIdentity.of(self._path, server=self._identity.server) != self._identity:
            raise FileChanged(f"{self._path} changed while it was being sent; send it when nothing writes to it")
