"""Fetching: the segmentations of scans that a server has, into a file or a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ricefish.cli.output import OutputRefused, check_output, fetch_result, result_suffix
from ricefish.client.client import Client, RicefishError
from ricefish.client.parameters import download_parameters
from scans.formats import stem

_ZIP = ".zip"


class Fetching:
    """Where segmentations are put. `fetch` fetches one."""

    def __init__(
        self, client: Client, ids: Sequence[str], out: Path | None, *, suffix: str | None, with_scan: bool, force: bool
    ) -> None:
        """`out` is a file for a single scan, else a folder, which is made; None: the present one.

        Raises ValueError where these do not go together, OutputRefused where no folder can be made.
        """
        folder = Path() if out is None else out
        self._file = out if out is not None and stem(out) != out.name else None
        if self._file is not None and len(ids) > 1:
            raise ValueError(f"{out} names one file, and there are {len(ids)} scans; give a folder, and --format")
        if self._file is not None and suffix is not None:
            raise ValueError(f"--format is for segmentations that go into a folder; here {out} says the format")
        if self._file is not None:
            download_parameters(self._file, with_scan=with_scan)
        self._suffix = result_suffix(suffix, with_scan=with_scan)
        self._client, self._folder = client, folder
        self._with_scan, self._force = with_scan, force
        self._written: set[Path] = set()
        if self._file is None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputRefused(f"{folder}: the folder cannot be made: {error.strerror}") from error

    def fetch(self, scan_id: str) -> Path:
        """The file that has been written; raises RicefishError, and OutputRefused where it cannot be."""
        scan = self._client.status(scan_id)
        if scan.state != "succeeded":
            raise RicefishError(f"the scan is {scan.state}: only what has succeeded can be fetched", status=409)
        out = self._file or self._folder / f"{_stem(scan.filename)}{self._suffix}"
        if out in self._written:
            raise OutputRefused(f"{out} is that of another of these scans; fetch this one with -o FILE")
        check_output(out, sent_bytes=0, force=self._force)
        fetch_result(self._client, scan_id, out, with_scan=self._with_scan, force=self._force)
        self._written.add(out)
        return out


def _stem(filename: str) -> str:
    """Of a scan, which may have been a folder, or a header with its voxels: these were sent as a zip."""
    name = Path(filename).name
    return stem(Path(name[: -len(_ZIP)])) if name.lower().endswith(_ZIP) else stem(Path(name))
