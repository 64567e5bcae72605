"""Work is bounded by what was sent: voxels for each byte, and in all for each owner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.auth.identity import Identity
from serving.inference.backpressure import QueueFull
from serving.intake.acceptance import Acceptance
from serving.intake.limits import HeavyVolume, Limits, UploadTooLarge
from serving.queue.jobs import Jobs
from tests.serving.queues import queued

UINT8 = np.dtype(np.uint8)


def test_a_file_may_hold_so_many_voxels_for_each_byte(tmp_path: Path) -> None:
    """Of 10 for a byte, 100 million in ten million bytes pass and one more does not; a small volume always does."""
    limits = Limits(tmp_path, None, voxels_per_byte=10).of_scan(10_000_000, light_voxels=None)
    limits.check_volume((100, 1000, 1000), UINT8, name="fish.nii.gz")
    with pytest.raises(UploadTooLarge, match=r"100000100 voxels in 10000000 bytes.*RICEFISH_VOXELS_PER_BYTE"):
        limits.check_volume((10, 1_000_001, 10), UINT8, name="fish.nii.gz")
    Limits(tmp_path, None, voxels_per_byte=10).of_scan(1, light_voxels=None).check_volume(
        (16, 1024, 1024), UINT8, name="fish.nii.gz"
    )


def test_a_slice_may_be_as_large_as_memory_allows(tmp_path: Path) -> None:
    """8192 x 8192 pixels, and no row more, be the scan of one slice."""
    limits = Limits(tmp_path, None)
    limits.check_volume((1, 8192, 8192), UINT8, name="fish.nii")
    with pytest.raises(UploadTooLarge, match=r"fish\.nii has slices of 8193 x 8192 pixels; .* 67108864 in a slice"):
        limits.check_volume((1, 8193, 8192), UINT8, name="fish.nii")


def test_a_large_volume_is_told_from_its_header(tmp_path: Path) -> None:
    """Whatever was sent of it: it is not read where small ones are."""
    limits = Limits(tmp_path, None).of_scan(100, light_voxels=1000)
    limits.check_volume((10, 10, 10), UINT8, name="fish.nii")
    with pytest.raises(HeavyVolume) as raised:
        limits.check_volume((10, 10, 11), UINT8, name="fish.nii")
    assert raised.value.voxels == 1100


def test_an_owner_may_have_so_many_voxels_waiting(jobs: Jobs) -> None:
    """160 of Ada's wait, 200 may: 40 more do, 41 do not; Bob, of whom none wait, may post any scan."""
    nothing: Any = None
    ada, bob = (jobs.seen_by(Identity(owner, frozenset({"segment"}))) for owner in ("ada", "bob"))
    ended = queued(ada)
    ada.cancel(ended.id)
    assert queued(ada).shape == (10, 4, 4)
    acceptance = Acceptance(
        store=nothing, models=nothing, jobs=jobs, limits=nothing, readers=nothing, owner_voxels=200, slab_slices=32,
        keep_uploads=False,         tracing=nothing, observer=nothing,
    )  # fmt: skip
    acceptance.using(ada).check_owner(40)
    with pytest.raises(QueueFull, match="RICEFISH_OWNER_VOXELS"):
        acceptance.using(ada).check_owner(41)
    acceptance.using(bob).check_owner(10**15)
