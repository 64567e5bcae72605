"""`ricefish doctor --store` names what was removed, by what is known of it from elsewhere in the store."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from serving.observability.findings import Finding, Level
from serving.process.diagnosis import audit
from tests.serving.in_process import App, running_app

TUS = (b"Tus-Resumable", b"1.0.0")
PART = [TUS, (b"Content-Type", b"application/offset+octet-stream"), (b"Upload-Offset", b"0")]
SPACED = b"/v1/scans?filename=a.tif&spacing=1,1,1"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RICEFISH_TEST_DATA", raising=False)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Path:
    """The store of a server that has segmented a scan, and stopped while an upload of two bytes had one."""
    folder = tmp_path_factory.mktemp("served")
    with running_app(folder, model_dir, readers=0) as app:
        _segmented(app)
        begun = app.ask("POST", b"/v1/uploads", headers=[TUS, (b"Upload-Length", b"2")])
        place = begun.headers["location"].encode()
        assert app.ask("PATCH", place, headers=PART, body=b"a").status == 204
        assert app.ask("POST", b"/v1/uploads", headers=[TUS, (b"Upload-Length", b"2")]).status == 201
    return folder / "store"


def _segmented(app: App) -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.arange(512, dtype=np.int16).reshape(8, 8, 8), photometric="minisblack")
    posted = app.ask("POST", SPACED, body=file.getvalue())
    assert posted.status == 202, posted.body
    until = time.monotonic() + 60
    while app.ask("GET", f"/v1/scans/{posted.json()['id']}".encode()).json()["state"] != "succeeded":
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def store(served: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it, to be damaged."""
    return shutil.copytree(served, tmp_path / "store")


def failures(store: Path) -> dict[str, Finding]:
    found = {finding.name: finding for finding in audit(store=store) if finding.level is Level.FAIL}
    if found:
        assert found.pop("store").found.endswith("damaged files")
    return found


def test_a_store_from_which_nothing_is_gone_is_well(store: Path) -> None:
    """Uploads of one byte and of none among it."""
    assert failures(store) == {}


def test_a_note_of_a_reference_that_is_gone_is_named(store: Path) -> None:
    """By the model that a scan began with, be the note removed or the folder of all notes."""
    (note,) = (store / "models" / "references").iterdir()
    note.unlink()
    found = failures(store)
    assert set(found) == {"models/references"}
    assert "the note of what was served as" in found["models/references"].found
    (store / "models" / "references").rmdir()
    assert set(failures(store)) == {"models/references"}


def test_a_checksum_of_an_upload_that_is_gone_is_named(store: Path) -> None:
    """Of what has arrived, and of an upload of which nothing has: it is written when the upload is begun."""
    uploads = sorted(store.glob("scratch/uploads/*/arrived.json"))
    assert len(uploads) == 2
    for file in uploads:
        file.unlink()
    assert set(failures(store)) == {f"upload {file.parent.name}" for file in uploads}


def test_a_database_that_is_gone_is_named_and_not_made(store: Path) -> None:
    """With each scan whose files are here."""
    for file in store.glob("jobs.sqlite*"):
        file.unlink()
    found = failures(store)
    (scan,) = (store / "scans").iterdir()
    assert set(found) == {"database", f"scan {scan.name}"}
    assert f"sqlite:///{store}/jobs.sqlite is gone, or was never there" in found["database"].found
    assert "backup" in found["database"].advice
    assert not list(store.glob("jobs.sqlite*")) and not list(store.glob(".ricefish*"))
