"""Corrections in an S3 bucket: a real server on it."""

from __future__ import annotations

from pathlib import Path

import boto3
import numpy as np
import pytest

from tests.serving.conftest import Example
from tests.serving.corrected import as_nifti, fetched, put, segmented, voxels
from tests.serving.running import RunningServer
from tests.serving.storage.test_store_s3 import KEYS, address, endpoint

__all__ = ["address", "endpoint"]

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
    pytest.mark.process,
]


def test_a_correction_is_kept_in_the_bucket(
    endpoint: str,
    address: str,
    tmp_path: Path,
    model_dir: Path,
    example: Example,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It comes back, is another version than the model's answer, and goes alone, or with its scan."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    server = RunningServer(
        tmp_path, model_dir, fork=False, slab_slices=4, s3_endpoint=endpoint, scratch=tmp_path / "scratch"
    )
    server.process.settings["store"] = address
    try:
        scan_id = segmented(server.start(), example.path)
        answered = fetched(server, scan_id)
        labels = np.random.default_rng(1).integers(0, 3, example.grey.shape).astype(np.uint8)
        first, second = (
            put(server, scan_id, as_nifti(one, answered.affine), "a.nii.gz").json()["version"]
            for one in (labels, labels[::-1])
        )
        np.testing.assert_array_equal(voxels(fetched(server, scan_id, f"&version={first}")), labels)
        np.testing.assert_array_equal(voxels(fetched(server, scan_id)), labels[::-1])
        np.testing.assert_array_equal(voxels(fetched(server, scan_id, "&version=0")), voxels(answered))
        assert server.delete(f"/v1/scans/{scan_id}/segmentations/{second}").status_code == 204
        np.testing.assert_array_equal(voxels(fetched(server, scan_id)), labels)
        assert len(_corrections(endpoint, address)) == 1
        assert server.delete(f"/v1/scans/{scan_id}").status_code == 204
        assert not _corrections(endpoint, address)
    finally:
        server.end()


def _corrections(endpoint: str, address: str) -> set[str]:
    """Names of the folders of corrections in the bucket."""
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    found = boto3.client("s3", endpoint_url=endpoint).list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/scans/")
    names = [entry["Key"] for entry in found.get("Contents", [])]
    return {name.split("/corrections/")[1].split("/")[0] for name in names if "/corrections/" in name}
