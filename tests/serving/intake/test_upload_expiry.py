"""Uploads that nobody goes on with are removed, whatever their neighbours are like."""

from __future__ import annotations

import os
import time
from pathlib import Path

from serving.intake.limits import Limits
from serving.intake.pools import ThreadPool
from serving.intake.tus import Uploads

EXPIRY_SECONDS = 100.0


def made_old(folder: Path) -> None:
    old = time.time() - 2 * EXPIRY_SECONDS
    for path in (*folder.iterdir(), folder):
        os.utime(path, (old, old))


def test_damaged_uploads_expire_and_hold_up_none(tmp_path: Path) -> None:
    """One whose upload.json is cut off, one without data, one with other fields: all go once they are old."""
    uploads = Uploads(
        tmp_path, limits=Limits(tmp_path, None), expiry_seconds=EXPIRY_SECONDS, writing=ThreadPool("writer", threads=1)
    )
    ids = [uploads.create(length=10, metadata="").id for _ in range(5)]
    (tmp_path / ids[0] / "upload.json").write_text('{"id": "')
    (tmp_path / ids[1] / "data").unlink()
    (tmp_path / ids[2] / "upload.json").write_text('{"of": "another version"}')
    uploads.expire()
    assert sorted(folder.name for folder in tmp_path.iterdir()) == sorted(ids), "they are young"
    for upload_id in ids[:4]:
        made_old(tmp_path / upload_id)
    uploads.expire()
    assert [folder.name for folder in tmp_path.iterdir()] == [ids[4]]
