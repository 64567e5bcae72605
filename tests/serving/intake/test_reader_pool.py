"""Uploads are read in processes of their own: what a file does to its reader is said of the file, and hurts nobody."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest

from scans.formats import FormatError, SpacingMissing
from scans.geometry import Spacing
from scans.intensity import IntensityRule
from serving.intake.limits import Limits, UploadTooLarge
from serving.intake.reader_pool import ReaderFailed, ReaderPool
from serving.intake.verification import Verified, verify
from tests.serving.running import RunningServer

pytestmark = pytest.mark.process

MEMORY = 512 << 20


@pytest.fixture(scope="module")
def pool() -> Iterator[ReaderPool]:
    """Readers of half a gigabyte, which are stuck after five seconds."""
    pool = ReaderPool(most=2, memory_bytes=MEMORY, stall_seconds=5.0)
    yield pool
    pool.close()


def asked(folder: Path, most_bytes: int | None = None, spacing: Spacing | None = None) -> dict[str, object]:
    return {
        "spacing": spacing,
        "rule": IntensityRule(1.0, 99.0),
        "image": folder / f"{uuid.uuid4().hex}.ome.zarr",
        "limits": Limits(folder, most_bytes),
        "most_slices": 4,
    }


def nifti(path: Path, shape: tuple[int, int, int] = (9, 8, 7)) -> Path:
    grey = np.random.default_rng(0).integers(0, 999, shape).astype(np.int16)
    nib.save(nib.Nifti1Image(grey, np.diag([0.5, 0.5, 0.5, 1.0])), path)
    return path


def large(path: Path) -> Path:
    """One slice of 537 MB, in a few kilobytes."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("scan", (1, 8192, 8192), np.float64, chunks=(1, 1024, 1024), compression="gzip")
        data[0, 0, 0] = 1
    return path


def readers() -> set[int]:
    """The processes that this one has started and that read."""
    found = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False
    )
    return {int(line.split()[0]) for line in found.stdout.splitlines() if "reader_process" in line}


@pytest.fixture
def others() -> set[int]:
    """Readers that were there before."""
    return readers()


def new_reader(others: set[int]) -> int:
    deadline = time.monotonic() + 60
    while not (new := readers() - others):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return new.pop()


@pytest.mark.parametrize("name", ["fish.nii", "fish.nii.gz"])
def test_a_reader_finds_what_the_server_would(name: str, pool: ReaderPool, tmp_path: Path) -> None:
    """The same answer, field by field, and the same image, file by file."""
    path = nifti(tmp_path / name)
    found = pool.verify(path, **asked(tmp_path))
    assert found == verify(path, **asked(tmp_path))  # type: ignore[arg-type]
    assert isinstance(found, Verified)
    assert set(found.image_checksums) == {"zarr.json", "0/zarr.json", *(f"0/c/{slab}/0/0" for slab in range(2))}


def test_one_reader_reads_many_files(pool: ReaderPool, tmp_path: Path) -> None:
    """It is started once."""
    path = nifti(tmp_path / "fish.nii")
    pool.verify(path, **asked(tmp_path))
    before = readers()
    for _ in range(3):
        pool.verify(path, **asked(tmp_path))
    assert readers() == before


def test_what_is_wrong_with_a_file_comes_back_as_it_is(pool: ReaderPool, tmp_path: Path) -> None:
    """The types of `verify`, with what they say."""
    (tmp_path / "a.nii").write_bytes(b"no scan")
    with pytest.raises(FormatError, match=r"a\.nii: an unknown format") as refused:
        pool.verify(tmp_path / "a.nii", **asked(tmp_path))
    assert refused.value.path == tmp_path / "a.nii"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("scan/fish.mhd", "NDims = 3")
    with pytest.raises(FormatError) as refused:
        pool.verify(tmp_path / "a.zip", **asked(tmp_path))
    assert refused.value.path == tmp_path / "a.zip" / "scan" / "fish.mhd"
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["scan"] = np.zeros((3, 4, 5), np.uint8)
    with pytest.raises(SpacingMissing, match="element_size_um"):
        pool.verify(tmp_path / "a.h5", **asked(tmp_path))
    with pytest.raises(UploadTooLarge, match="this server accepts 100"):
        pool.verify(nifti(tmp_path / "b.nii"), **asked(tmp_path, most_bytes=100))
    with pytest.raises(FileNotFoundError) as missing:
        pool.verify(tmp_path / "gone.nii", **asked(tmp_path))
    assert missing.value.errno == errno.ENOENT


def test_a_file_that_takes_too_much_memory_is_refused(pool: ReaderPool, tmp_path: Path) -> None:
    """A slice of half a gigabyte, and its values as float32, where that much is allowed; the next file is read."""
    path = large(tmp_path / "large.h5")
    with pytest.raises(FormatError, match=f"within {MEMORY} bytes of memory"):
        pool.verify(path, **asked(tmp_path, spacing=Spacing(1.0, 1.0, 1.0)))
    pool.verify(nifti(tmp_path / "fish.nii"), **asked(tmp_path))


class Stuck:
    """A file is read that never comes, a pipe, until something ends that."""

    def __init__(self, pool: ReaderPool, folder: Path, **more: object) -> None:
        self.path = folder / "pipe"
        self._more = more
        folder.mkdir(exist_ok=True)
        os.mkfifo(self.path)
        self._pool = pool
        self._raised: list[Exception] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            self._pool.verify(self.path, **{**asked(self.path.parent), **self._more})
        except (FormatError, ReaderFailed) as error:
            self._raised.append(error)

    def ended(self) -> Exception:
        """What was raised, once something was."""
        self._thread.join(30)
        (error,) = self._raised
        return error


def test_no_owner_has_every_reader(tmp_path: Path) -> None:
    """Ada's files are stuck in all that she may use; Bob's is read. Without keys there are no others to wait."""
    limits = Limits(tmp_path, None).of_scan(1 << 20, light_voxels=1 << 20)
    pool = ReaderPool(most=2, memory_bytes=MEMORY, stall_seconds=60.0)
    stuck = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        stuck.append(Stuck(pool, tmp_path / str(number), limits=limits, owner="ada"))
    time.sleep(1.0)
    bobs = {**asked(tmp_path), "limits": limits, "owner": "bob"}
    assert pool.verify(nifti(tmp_path / "fish.nii"), **bobs).shape == (7, 8, 9)
    pool.close()
    assert all(isinstance(one.ended(), ReaderFailed) for one in stuck)


def test_a_file_that_crashes_its_reader_is_refused(others: set[int], tmp_path: Path) -> None:
    """By the signal that ended it; the next file is read."""
    pool = ReaderPool(most=1, memory_bytes=MEMORY, stall_seconds=60.0)
    pool.verify(nifti(tmp_path / "fish.nii"), **asked(tmp_path))
    reader = new_reader(others)
    stuck = Stuck(pool, tmp_path)
    time.sleep(0.5)
    os.kill(reader, signal.SIGSEGV)
    error = stuck.ended()
    assert isinstance(error, FormatError)
    assert "crashed its reader (SIGSEGV)" in str(error)
    assert pool.verify(tmp_path / "fish.nii", **asked(tmp_path)).shape == (7, 8, 9)
    assert reader not in readers()
    pool.close()


def test_a_file_of_which_nothing_comes_is_refused(pool: ReaderPool, tmp_path: Path) -> None:
    """After the seconds that were allowed without progress, not in all."""
    assert "nothing of it came for 5 seconds" in str(Stuck(pool, tmp_path).ended())


def test_a_reader_that_was_killed_while_idle_is_replaced(others: set[int], tmp_path: Path) -> None:
    """Nobody's file is blamed for it."""
    pool = ReaderPool(most=1, memory_bytes=MEMORY, stall_seconds=60.0)
    path = nifti(tmp_path / "fish.nii")
    pool.verify(path, **asked(tmp_path))
    os.kill(new_reader(others), signal.SIGKILL)
    time.sleep(0.3)
    assert pool.verify(path, **asked(tmp_path)).shape == (7, 8, 9)
    pool.close()


def test_closing_the_pool_ends_readers_at_work(others: set[int], tmp_path: Path) -> None:
    """What they were asked for is not said to be a bad file."""
    pool = ReaderPool(most=3, memory_bytes=MEMORY, stall_seconds=60.0)
    stuck = [Stuck(pool, tmp_path / name) for name in "abc"]
    time.sleep(2.0)
    pool.close()
    assert all(isinstance(one.ended(), ReaderFailed) for one in stuck)
    assert readers() == others


def test_over_http_a_file_that_takes_too_much_memory_is_refused(model_dir: Path, tmp_path: Path) -> None:
    """422, and the server takes the next one."""
    server = RunningServer(tmp_path, model_dir, reader_memory_bytes=MEMORY, voxels_per_byte=1e9).start()
    try:
        answer = server.post(large(tmp_path / "large.h5"), "large.h5", spacing="1,1,1")
        assert answer.status_code == 422
        assert answer.json()["type"].endswith("unreadable-scan")
        assert "bytes of memory" in answer.json()["detail"]
        assert server.get("/health/ready").status_code == 200
        assert server.post(nifti(tmp_path / "fish.nii"), "fish.nii").status_code == 202
    finally:
        server.end()


PARENT = """
import sys, time
import zipfile
from pathlib import Path
from tests.serving.intake.test_reader_pool import MEMORY, asked, new_reader, nifti
from serving.intake.reader_pool import ReaderPool
pool = ReaderPool(most=1, memory_bytes=MEMORY, stall_seconds=60.0)
folder = Path(sys.argv[1])
pool.verify(nifti(folder / "fish.nii"), **asked(folder))
print(new_reader(set()), flush=True)
time.sleep(60)
"""


def test_a_reader_ends_with_its_server(tmp_path: Path) -> None:
    """Which was killed, and could tell it nothing."""
    server = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    reader = int(server.stdout.readline())
    server.kill()
    server.wait()
    server.stdout.close()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{reader}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{reader}").exists()
