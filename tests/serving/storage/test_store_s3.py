"""Scans in an S3 bucket: a real server and a worker on it, and what an older attempt can no longer do."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import nibabel as nib
import numpy as np
import pydicom
import pytest
from moto.server import ThreadedMotoServer

from harness import forked, servers
from harness.postgresql import new_postgresql_database, postgresql_server
from scans.checksums import checksum
from scans.formats.dicom_series import DicomSeries, SliceObject
from scans.formats.errors import NotSegmentable
from scans.formats.ome_zarr_pyramid import Pyramid
from scans.geometry import Frame, Spacing
from serving.models.cache import ModelCache
from serving.models.references import KeptVersion
from serving.models.registry import RegisteredVersion
from serving.segmentation.dicom_results import read_source_headers
from serving.segmentation.source_headers import SOURCE_HEADERS
from serving.segmentation.stored_voxels import ScanDamaged
from serving.storage import Fenced, Scratch, StoreError
from serving.storage.bucket import BucketStore
from tests.serving.models import write_model
from tests.serving.queues import new_scan

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        address = "http://{}:{}".format(*server.get_host_and_port())
        boto3.client("s3", endpoint_url=address).create_bucket(Bucket="fish")
        yield address
    server.stop()


@pytest.fixture
def address(tmp_path: Path) -> str:
    """Of a store of the test's own, in the bucket of all."""
    return f"s3://fish/{tmp_path.name}"


@pytest.fixture
def store(endpoint: str, address: str, tmp_path: Path) -> Iterator[BucketStore]:
    with Scratch(tmp_path / "scratch").opened() as scratch:
        store = BucketStore(address, scratch=scratch, endpoint=endpoint)
        with store.open(alone=False):
            yield store


def accepted(store: BucketStore, folder: Path, scan_id: str) -> Path:
    """A scan with an empty result; gives a folder with one staged shard."""
    incoming = folder / "incoming"
    (incoming / "source").mkdir(parents=True)
    (incoming / "source" / "fish.nii").write_bytes(b"voxels")
    about = {"shape": (4, 4, 4), "dtype": np.uint8, "frame": Frame.from_lps(Spacing(1, 1, 1)), "organs": None}
    Pyramid.create(incoming / "segmentation.ome.zarr", slab_slices=4, **about)  # type: ignore[arg-type]
    store.accept(incoming, scan_id)
    staged = folder / "staged"
    Pyramid.create(staged, slab_slices=4, **about).write(0, np.full((4, 4, 4), 7, np.uint8))  # type: ignore[arg-type]
    return staged


def test_what_is_published_can_be_read(store: BucketStore, tmp_path: Path) -> None:
    """A file whole and in parts, the result's voxels, its files; and after the removal, nothing."""
    staged = accepted(store, tmp_path, "a" * 32)
    limits: tuple[tuple[int, int | None, bytes], ...] = ((0, None, b"voxels"), (1, 3, b"ox"), (4, None, b"ls"))
    for start, stop, content in (*limits, (-2, None, b"ls")):
        assert store.read_file("a" * 32, "source/fish.nii", start=start, stop=stop) == content
    with store.begin("a" * 32, 1) as attempt:
        attempt.publish(staged, ["0/c/0/0/0"])
    names = {"zarr.json", "0/zarr.json", "0/c/0/0/0"}
    assert store.scan_ids() == ["a" * 32]
    files = store.read_result("a" * 32, [*names, "0/c/1/0/0"])
    assert set(files) == names
    np.testing.assert_array_equal(Pyramid.of_files(files).read(0, 4), 7)
    store.remove("a" * 32)
    store.remove("a" * 32)
    assert store.scan_ids() == []
    assert store.read_result("a" * 32, ["zarr.json"]) == {}
    with pytest.raises(FileNotFoundError):
        store.read_file("a" * 32, "source/fish.nii")
    with pytest.raises(Fenced), store.begin("a" * 32, 2):
        pass


def test_dicom_headers_come_from_the_bucket_as_they_were_kept(store: BucketStore, tmp_path: Path) -> None:
    """Compared with their checksum; a scan that has none is no DICOM, one whose file is gone is damaged."""
    slices = (SliceObject("1.2", "1.2.3", None, (1.0, 2.0, 3.0)),)
    content = DicomSeries(pydicom.Dataset(), slices, (1.0, 0, 0, 0, 1.0, 0), (0.5, 0.25)).to_json()
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / SOURCE_HEADERS).write_bytes(content)
    scan = new_scan(source_headers=checksum(content))
    store.accept(tmp_path / "incoming", scan.id)
    assert read_source_headers(store, scan).slices == slices
    with pytest.raises(ScanDamaged, match="they are not what was written"):
        read_source_headers(store, dataclasses.replace(scan, source_headers="0" * 16))
    with pytest.raises(NotSegmentable, match="it did not come as one"):
        read_source_headers(store, dataclasses.replace(scan, source_headers=None))
    store.remove(scan.id)
    with pytest.raises(ScanDamaged, match="are damaged"):
        read_source_headers(store, scan)


def test_an_older_attempt_is_fenced_off(store: BucketStore, tmp_path: Path) -> None:
    """Once a newer one has begun, the older publishes nothing, and cannot begin again."""
    staged = accepted(store, tmp_path, "b" * 32)
    with store.begin("b" * 32, 1) as old, store.begin("b" * 32, 2) as new:
        with pytest.raises(Fenced):
            old.publish(staged, ["0/c/0/0/0"])
        assert store.read_result("b" * 32, ["0/c/0/0/0"]) == {}
        with pytest.raises(Fenced), store.begin("b" * 32, 1):
            pass
        new.publish(staged, ["0/c/0/0/0"])
    assert "0/c/0/0/0" in store.read_result("b" * 32, ["0/c/0/0/0"])


def test_a_damaged_shard_is_put_again(store: BucketStore, endpoint: str, tmp_path: Path) -> None:
    """A shard is put where there is none; one that is there with other bytes is replaced, the same is left alone."""
    staged = accepted(store, tmp_path, "c" * 32)
    whole = (staged / "0/c/0/0/0").read_bytes()
    place = "prefix/scans/" + "c" * 32 + "/segmentation.ome.zarr/0/c/0/0/0"
    boto3.client("s3", endpoint_url=endpoint).put_object(Bucket="fish", Key=place, Body=b"damaged")
    for _ in range(2):
        (staged / "0/c/0/0/0").write_bytes(whole)
        with store.begin("c" * 32, 1) as attempt:
            attempt.publish(staged, ["0/c/0/0/0"])
        assert store.read_result("c" * 32, ["0/c/0/0/0"]) == {"0/c/0/0/0": whole}


def test_model_copies_and_notes_go_through_the_bucket(
    store: BucketStore, endpoint: str, address: str, tmp_path: Path
) -> None:
    """Another process, with nothing on its own disk, finds what a reference means and the copy of it; until removed."""
    reference = "models:/ricefish@champion"
    here = ModelCache(store.models_dir, remote=store)
    identity = here.add(write_model(tmp_path / "model"), name="ricefish", version="1")
    here.remember(reference, KeptVersion(identity, RegisteredVersion("ricefish", "1", created_ms=5)))
    with Scratch(tmp_path / "elsewhere").opened() as scratch:
        other = BucketStore(address, scratch=scratch, endpoint=endpoint)
        with other.open(alone=False):
            there = ModelCache(other.models_dir, remote=other)
            note = there.note(reference)
            assert note is not None
            assert note.versions[0].identity == identity
            folder = there.copy(identity.key)
            assert folder is not None
            assert (folder / "model.onnx").is_file()
            other.discard_model(identity.key)
    with Scratch(tmp_path / "third").opened() as scratch:
        third = BucketStore(address, scratch=scratch, endpoint=endpoint)
        with third.open(alone=False):
            assert ModelCache(third.models_dir, remote=third).copy(identity.key) is None


def test_a_bucket_that_is_not_there_is_named(endpoint: str, tmp_path: Path) -> None:
    """Before anything is taken in."""
    with Scratch(tmp_path / "scratch").opened() as scratch:
        store = BucketStore("s3://elsewhere", scratch=scratch, endpoint=endpoint)
        with pytest.raises(StoreError, match="s3://elsewhere"), store.open(alone=False):
            pass


@pytest.mark.process
def test_a_server_and_a_worker_share_a_bucket(endpoint: str, tmp_path: Path) -> None:
    """Taken in by one, segmented by two others, one of them killed in the middle; fetched, removed, nothing left."""
    model = write_model(tmp_path / "model", rounds=30)
    s3 = boto3.client("s3", endpoint_url=endpoint)
    grey = np.random.default_rng(0).integers(0, 999, (40, 40, 36)).astype(np.int16)
    with postgresql_server() as uri:
        common = {
            "database_url": new_postgresql_database(uri), "s3_endpoint": endpoint, "threads": 1, "batch_size": 1,
            "slab_slices": 1, "lease_seconds": 2, "store": "s3://fish/site",
        }  # fmt: skip
        taking_in = {"concurrent_scans": 0, "worker_id": "server", "scratch": tmp_path / "scratch"}
        server = forked.server(tmp_path / "server", model=model, **{**common, **taking_in})
        workers = [forked.worker(tmp_path, name=f"worker-{n}", **common) for n in range(2)]
        try:
            for process in (server, *workers):
                process.start()
            with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as http:
                content = bytes(nib.Nifti1Image(grey.T, np.eye(4)).to_bytes())
                scan_id = http.post("/v1/scans", params={"filename": "a.nii"}, content=content).json()["id"]
                while (scan := http.get(f"/v1/scans/{scan_id}").json())["slices_done"] < 5:
                    pass
                first = next(worker for worker in workers if worker.settings["worker_id"] == scan["worker"])
                first.send(signal.SIGKILL)
                assert servers.wait_until_ended(http, scan_id)["state"] == "succeeded"
                for name in ("nii.gz", "ome-zarr"):
                    assert http.get(f"/v1/scans/{scan_id}/segmentation", params={"format": name}).status_code == 200
                assert http.get(f"/v1/scans/{scan_id}/slices/z/3.png").status_code == 200
                assert http.delete(f"/v1/scans/{scan_id}").status_code == 204
        finally:
            for process in (*workers, server):
                process.kill()
    assert "Contents" not in s3.list_objects_v2(Bucket="fish", Prefix="site/scans/")
    assert "AWS_ACCESS_KEY_ID" in os.environ
