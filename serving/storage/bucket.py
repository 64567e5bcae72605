"""BucketStore: scans in an S3 bucket. What is worked on is copied to the local disk, shards go up as they are finished.

An attempt is an object, `scans/ID/attempts/EPOCH`, which a newer attempt removes; every publication looks for its own
first. A shard is put only where there is none (If-None-Match), so that what an older attempt could still put between
its look and its put is a shard that is missing. One that is there with other bytes, damaged or of another processor's
rounding, is replaced by the attempt that holds the mark.
"""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec.asyn
import s3fs

from serving.settings import S3_SCHEME
from serving.storage.contract import RESULT_DIR, Attempt, Fenced, Stamp, StoreError, correction_dir, each_file
from serving.storage.private_folder import make_private
from serving.storage.rehearsal import REHEARSED, Stages
from serving.storage.scratch import Scratch


class BucketStore:
    """See `Store`."""

    def __init__(self, url: str, *, scratch: Scratch, endpoint: str | None) -> None:
        """`url` is s3://BUCKET or s3://BUCKET/PREFIX; keys come from the usual AWS_ variables."""
        self.name = url
        self._root = url.removeprefix(S3_SCHEME)
        self._scratch = scratch
        self._options: dict[str, Any] = {"endpoint_url": endpoint, "use_listings_cache": False}
        self._s3 = s3fs.S3FileSystem(**self._options, skip_instance_cache=True)

    @contextmanager
    def open(self, *, alone: bool) -> Iterator[None]:
        """Looks whether the bucket can be written. Raises StoreError; a bucket cannot be claimed for one process."""
        try:
            self._s3.pipe_file(f"{self._root}/.written", b"")
        except Exception as error:  # botocore, aiohttp and OSErrors
            raise StoreError(f"the store {self.name} cannot be written: {type(error).__name__}: {error}") from error
        make_private(self.models_dir)
        yield

    def check(self) -> None:
        """Asks for the object that `open` has written."""
        self._s3.info(f"{self._root}/.written")

    def rehearse(self) -> dict[str, float]:
        """Seconds of putting, of putting where there is something already, of getting, and of removing."""
        watch, place = Stages(), f"{self._root}/rehearsals/{uuid.uuid4().hex}"
        try:
            with watch.stage("put"):
                self._s3.pipe_file(place, REHEARSED, mode="create")
            with watch.stage("conditional put"):
                self._refuses_another(place)
            with watch.stage("get"):
                found = self._s3.cat_file(place)
            if found != REHEARSED:
                raise StoreError(f"the store {self.name} gives back other bytes than were written")
        finally:
            with watch.stage("delete"):
                self._s3.rm_file(place)
        return watch.seconds

    def _refuses_another(self, place: str) -> None:
        try:
            self._s3.pipe_file(place, b"another", mode="create")
        except FileExistsError:
            return
        raise StoreError(f"the store {self.name} does not keep to If-None-Match: finished shards could be overwritten")

    def accept(self, incoming: Path, scan_id: str) -> None:
        """Puts all files of a complete folder into the bucket."""
        for file in each_file(incoming):
            self._s3.put_file(str(file), f"{self._scan(scan_id)}/{file.relative_to(incoming).as_posix()}")

    def scan_ids(self) -> list[str]:
        """Ids of all scans of which there is anything."""
        place = f"{self._root}/scans"
        found = self._s3.ls(place, detail=False) if self._s3.exists(place) else []
        return sorted(name.rpartition("/")[2] for name in found)

    def remove(self, scan_id: str) -> None:
        """Removes all of a scan; nothing if there is nothing of it."""
        if found := self._s3.find(self._scan(scan_id)):
            self._s3.rm(found)

    def sweep(self) -> None:
        """Nothing to do: what is removed is never elsewhere first."""

    def read_file(self, scan_id: str, name: str, *, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes of an object; no others are fetched."""
        content: bytes = self._s3.cat_file(f"{self._scan(scan_id)}/{name}", start=start or None, end=stop)
        return content

    @contextmanager
    def begin(self, scan_id: str, epoch: int) -> Iterator[Attempt]:
        """Begins an attempt and fences all of a lower epoch off. Raises Fenced."""
        attempts = f"{self._scan(scan_id)}/attempts"
        if not any(not name.startswith(f"{attempts}/") for name in self._s3.find(self._scan(scan_id))):
            raise Fenced(f"scan {scan_id} is gone")
        mine = f"{attempts}/{epoch}"
        self._s3.pipe_file(mine, b"")
        others = [name for name in self._s3.find(attempts) if name != mine]
        try:
            if any(int(name.rpartition("/")[2]) > epoch for name in others):
                raise Fenced(f"a newer attempt at scan {scan_id} is under way")
            if others:
                self._s3.rm(others)
            yield _BucketAttempt(self._s3, mine, f"{self._scan(scan_id)}/{RESULT_DIR}")
        finally:
            if self._s3.exists(mine):
                self._s3.rm_file(mine)

    def read_result(self, scan_id: str, names: Collection[str], *, place: str = RESULT_DIR) -> dict[str, bytes]:
        """Files of the result, or of a correction, that are there, by name; several are fetched at once."""
        if not names:
            return {}
        places = {f"{self._scan(scan_id)}/{place}/{name}": name for name in names}
        found = self._s3.cat(list(places), on_error="return")
        for content in found.values():
            if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                raise content
        return {places[where]: content for where, content in found.items() if isinstance(content, bytes)}

    def add_correction(self, incoming: Path, scan_id: str, correction_id: str) -> None:
        """Puts all files of a complete folder beside the result; nobody looks for them before the database says so."""
        place = f"{self._scan(scan_id)}/{correction_dir(correction_id)}"
        for file in each_file(incoming):
            self._s3.put_file(str(file), f"{place}/{file.relative_to(incoming).as_posix()}")

    def remove_correction(self, scan_id: str, correction_id: str) -> None:
        """Removes what there is of a correction."""
        if found := self._s3.find(f"{self._scan(scan_id)}/{correction_dir(correction_id)}"):
            self._s3.rm(found)

    def stamp(self, scan_id: str, name: str) -> Stamp | None:
        """Of an object of a scan; None where there is none."""
        try:
            found = self._s3.info(f"{self._scan(scan_id)}/{name}")
        except FileNotFoundError:
            return None
        return Stamp(int(found["size"]), str(found["ETag"]))

    def read_part(self, scan_id: str, name: str, start: int, stop: int) -> tuple[bytes, Stamp] | None:
        """Bytes [start, stop) of an object of a scan, by a ranged get; None where there is none."""
        bucket, key, _ = self._s3.split_path(f"{self._scan(scan_id)}/{name}")
        try:
            found, content = fsspec.asyn.sync(self._s3.loop, self._get, bucket, key, f"bytes={start}-{stop - 1}")
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:  # what becomes of 416: it ends before `start`
                raise
            shorter = self.stamp(scan_id, name)
            return None if shorter is None else (b"", shorter)
        size = int(found["ContentRange"].rpartition("/")[2])
        return content, Stamp(size, str(found["ETag"]))

    async def _get(self, bucket: str, key: str, ranged: str) -> tuple[dict[str, Any], bytes]:
        found = await self._s3._call_s3("get_object", Bucket=bucket, Key=key, Range=ranged)
        try:
            return found, await found["Body"].read()
        finally:
            found["Body"].close()

    @property
    def models_dir(self) -> Path:
        """Copies on the local disk; `fetch_model` and `keep_model` move them from and to the bucket."""
        return self._scratch.root / "models"

    def fetch_model(self, key: str) -> None:
        """Brings a model copy into `models_dir`; nothing if it is there already, or nowhere."""
        place, target = f"{self._root}/models/{key}", self.models_dir / key
        if target.is_dir():
            return
        with self._scratch.passing("staging") as folder:
            names = self._s3.find(place)
            for name in names:
                file = folder / "model" / name.removeprefix(f"{place}/")
                file.parent.mkdir(parents=True, exist_ok=True)
                self._s3.get_file(name, str(file))
            if names:
                shutil.move(folder / "model", target)

    def keep_model(self, key: str) -> None:
        """Puts a copy that is in `models_dir` into the bucket; the manifest last, by which it is known to be whole."""
        folder, place = self.models_dir / key, f"{self._root}/models/{key}"
        if self._s3.exists(f"{place}/manifest.json"):
            return
        for file in sorted(each_file(folder), key=lambda file: file == folder / "manifest.json"):
            self._s3.put_file(str(file), f"{place}/{file.relative_to(folder).as_posix()}")

    def discard_model(self, key: str) -> None:
        """Removes a copy; the manifest first, by which it is known to be whole."""
        place = f"{self._root}/models/{key}"
        for name in sorted(self._s3.find(place), key=lambda name: not name.endswith("/manifest.json")):
            self._s3.rm_file(name)

    def fetch_references(self) -> None:
        """Brings all notes into `models_dir`."""
        place, target = f"{self._root}/models/references", self.models_dir / "references"
        target.mkdir(parents=True, exist_ok=True)
        for name in self._s3.find(place):
            beside = target / f".{uuid.uuid4().hex}"
            self._s3.get_file(name, str(beside))
            beside.replace(target / Path(name).name)

    def keep_reference(self, name: str) -> None:
        """Puts a note into the bucket."""
        self._s3.put_file(str(self.models_dir / "references" / name), f"{self._root}/models/references/{name}")

    def _scan(self, scan_id: str) -> str:
        return f"{self._root}/scans/{scan_id}"


@dataclass(frozen=True)
class _BucketAttempt:
    s3: s3fs.S3FileSystem
    mark: str
    result: str

    def publish(self, folder: Path, names: Iterable[str]) -> None:
        """Puts shards where there are none; see `Attempt`. Raises Fenced."""
        for name in names:
            if not self.s3.exists(self.mark):
                raise Fenced(f"the attempt {self.mark} was fenced off")
            self._put(f"{self.result}/{name}", (folder / name).read_bytes())
            (folder / name).unlink()

    def _put(self, place: str, content: bytes) -> None:
        try:
            self.s3.pipe_file(place, content, mode="create")
        except FileExistsError:  # put by an attempt that was interrupted right after it, or damaged since
            if self.s3.cat_file(place) != content:
                self.s3.pipe_file(place, content)
