"""Files of a pyramid in part: of what was compared with its checksum, on a disk and in a bucket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scans.checksums import checksum
from serving.segmentation import served_files
from serving.segmentation.served_files import FileDamaged, ServedFiles
from serving.storage import FolderStore, Scratch, Store
from serving.storage.bucket import BucketStore
from serving.storage.contract import RESULT_DIR, Stamp
from tests.serving.storage.test_store_s3 import endpoint  # noqa: F401 - a fixture

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

SCAN = "a" * 32
SHARD = "0/c/0/0/0"
CONTENT = bytes(range(256)) * 40
NOTED = {SHARD: checksum(CONTENT)}


class Watched:
    """A store that counts the bytes that are read of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.read = 0

    def stamp(self, scan_id: str, name: str) -> Stamp | None:
        return self.store.stamp(scan_id, name)

    def read_part(self, scan_id: str, name: str, start: int, stop: int) -> tuple[bytes, Stamp] | None:
        found = self.store.read_part(scan_id, name, start, stop)
        self.read += 0 if found is None else len(found[0])
        return found


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.process)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "folder":
        folder = FolderStore(tmp_path / "store")
        with folder.open(alone=True):
            yield folder
        return
    address = request.getfixturevalue("endpoint")
    with Scratch(tmp_path / "scratch").opened() as scratch:
        bucket = BucketStore(f"s3://fish/{tmp_path.name}", scratch=scratch, endpoint=address)
        with bucket.open(alone=False):
            yield bucket


@pytest.fixture
def watched(store: Store, tmp_path: Path) -> Watched:
    put(store, tmp_path, CONTENT)
    return Watched(store)


def put(store: Store, folder: Path, content: bytes) -> None:
    """As the file of the scan, whatever was there."""
    store.remove(SCAN)
    file = folder / "incoming" / RESULT_DIR / SHARD
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    store.accept(folder / "incoming", SCAN)
    for left in sorted((folder / "incoming").rglob("*"), reverse=True) if (folder / "incoming").exists() else ():
        left.unlink() if left.is_file() else left.rmdir()
    if (folder / "incoming").exists():
        (folder / "incoming").rmdir()


def test_a_part_is_read_alone_once_the_whole_was_compared(watched: Watched) -> None:
    """The first part costs the file, and every further one itself."""
    files = ServedFiles(watched)  # type: ignore[arg-type]  # what is asked of a store here
    file = files.find(SCAN, RESULT_DIR, SHARD, NOTED)
    assert file is not None and file.size == len(CONTENT) == watched.read
    for start, stop in ((0, 1), (100, 300), (len(CONTENT) - 7, len(CONTENT))):
        watched.read = 0
        again = files.find(SCAN, RESULT_DIR, SHARD, NOTED)
        assert again == file
        assert b"".join(files.pieces(file, start, stop)) == CONTENT[start:stop]
        assert watched.read == stop - start


def test_long_parts_come_in_pieces(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 4 KiB here, so that memory does not depend on what is asked for."""
    monkeypatch.setattr(served_files, "PIECE_BYTES", 4096)
    files = ServedFiles(watched)  # type: ignore[arg-type]  # as above
    file = files.find(SCAN, RESULT_DIR, SHARD, NOTED)
    assert file is not None
    pieces = list(files.pieces(file, 10, 10_000))
    assert [len(piece) for piece in pieces] == [4096, 4096, 1798]
    assert b"".join(pieces) == CONTENT[10:10_000]


def test_what_was_not_noted_is_not_there(watched: Watched) -> None:
    """Whatever lies in the store: names of other files, and those that lead elsewhere."""
    files = ServedFiles(watched)  # type: ignore[arg-type]  # as above
    for name in ("0/c/1/0/0", "", ".", "..", f"../{RESULT_DIR}/{SHARD}", f"./{SHARD}", f"/{SHARD}", "0/c/0/0"):
        assert files.find(SCAN, RESULT_DIR, name, NOTED) is None
    assert watched.read == 0


@pytest.mark.parametrize("damaged", [CONTENT[:-1] + b"x", CONTENT[:100], b"", CONTENT + b"x"])
def test_a_damaged_file_is_not_handed_out(watched: Watched, tmp_path: Path, damaged: bytes) -> None:
    """Neither to who asks first, nor where it was whole before, nor in the middle of what is being sent."""
    files = ServedFiles(watched)  # type: ignore[arg-type]  # as above
    file = files.find(SCAN, RESULT_DIR, SHARD, NOTED)
    assert file is not None
    pieces = files.pieces(file, 0, 50)
    put(watched.store, tmp_path, damaged)
    with pytest.raises(FileDamaged, match=SHARD):
        next(pieces)
    for known in (files, ServedFiles(watched)):  # type: ignore[arg-type]  # as above
        with pytest.raises(FileDamaged, match=SHARD):
            known.find(SCAN, RESULT_DIR, SHARD, NOTED)
    watched.store.remove(SCAN)
    with pytest.raises(FileDamaged, match=SHARD):
        files.find(SCAN, RESULT_DIR, SHARD, NOTED)


def test_a_file_that_was_written_again_is_compared_again(watched: Watched, tmp_path: Path) -> None:
    """The same bytes under another stamp: what is being sent goes on."""
    files = ServedFiles(watched)  # type: ignore[arg-type]  # as above
    file = files.find(SCAN, RESULT_DIR, SHARD, NOTED)
    assert file is not None
    put(watched.store, tmp_path, CONTENT)
    assert b"".join(files.pieces(file, 5, 9)) == CONTENT[5:9]


def test_few_files_are_remembered(watched: Watched) -> None:
    """The one that was asked for last; another is compared again."""
    files = ServedFiles(watched, most_remembered=1)  # type: ignore[arg-type]  # as above
    files.find(SCAN, RESULT_DIR, SHARD, NOTED)
    watched.read = 0
    files.find(SCAN, RESULT_DIR, SHARD, NOTED)
    assert watched.read == 0
    files.find(SCAN, RESULT_DIR, SHARD, {SHARD: ""})  # as an earlier version noted none
    files.find(SCAN, RESULT_DIR, SHARD, NOTED)
    assert watched.read == 2 * len(CONTENT)


def test_a_part_of_a_file_on_a_disk_comes_with_its_own_stamp(tmp_path: Path) -> None:
    """Its size, and another one after every change, be the size the same."""
    store = FolderStore(tmp_path / "store")
    with store.open(alone=True):
        put(store, tmp_path, CONTENT)
        place = tmp_path / "store" / "scans" / SCAN / RESULT_DIR / SHARD
        before = store.read_part(SCAN, f"{RESULT_DIR}/{SHARD}", 0, 4)
        place.write_bytes(CONTENT[::-1])
        os.utime(place, ns=(1, 1))
        after = store.read_part(SCAN, f"{RESULT_DIR}/{SHARD}", 0, 4)
    assert before is not None and after is not None
    assert (before[0], after[0]) == (CONTENT[:4], CONTENT[:-5:-1])
    assert before[1].size == after[1].size and before[1].mark != after[1].mark
