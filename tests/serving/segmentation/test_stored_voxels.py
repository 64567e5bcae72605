"""Stored voxels: damage is told from a server that is being stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import create_autospec

import pytest

from scans.formats.ome_zarr_pyramid import Pyramid
from serving.segmentation.stored_voxels import ScanDamaged, StoredVoxels
from serving.storage.folder import FolderStore
from tests.serving.queues import new_scan


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("Zstd decompression error: b'Data corruption detected'"), ScanDamaged),
        (ValueError("Stored and computed checksum do not match"), ScanDamaged),
        (RuntimeError("cannot schedule new futures after shutdown"), RuntimeError),
        (OSError(5, "Input/output error"), OSError),
    ],
    ids=["chunk", "index", "stopped", "disk"],
)
def test_only_what_says_so_is_damage(error: Exception, expected: type[Exception], tmp_path: Path) -> None:
    """A scan that is called damaged has to be sent again; one that a server was stopped over is gone on with."""

    def read(*_: Any) -> NoReturn:
        raise error

    pyramid = create_autospec(Pyramid, instance=True)
    pyramid.plane.side_effect = read
    with pytest.raises(expected) as raised:
        StoredVoxels(FolderStore(tmp_path), new_scan(), pyramid).plane(1, 0)
    assert isinstance(raised.value, ScanDamaged) is (expected is ScanDamaged)
