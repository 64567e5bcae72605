"""No answer to others than admins holds a path of the server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from serving.observability.reasons import without_paths
from tests.serving.auth.test_keys import add
from tests.serving.conftest import Example
from tests.serving.running import RunningServer

ASKED = ("/v1/scans/{}", "/v1/scans", "/v1/models", "/v1/scans/{}/segmentation", "/v2/models/none")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("[Errno 2] No such file: '/srv/my store/scans/a.nii'", "[Errno 2] No such file: 'a.nii'"),
        ("the store /srv/ricefish/store cannot be written", "the store store cannot be written"),
        ("/srv/a.nii: damaged (/srv/b/)", "a.nii: damaged (b)"),
        ("its state is at /v1/scans/ab; POST /v2/models/m/infer", None),
        ("2 data sets of three axes: entry_1/tomo/data 4 x 5 x 6, entry (1)/tomo/data 4 x 5 x 6", None),
        ("'s3://bucket/key' or file:///data/x.nii, application/json, 1/2, ../a/b", None),
    ],
)  # fmt: skip
def test_a_path_is_shown_by_its_last_name(said: str, shown: str | None) -> None:
    """Between quotes with its spaces; calls of this server and what has a scheme stay."""
    assert without_paths(said) == (said if shown is None else shown)


@pytest.mark.parametrize("piece", ["/a", "'/a", "(/ab", '"/a b', "/", "'/"])
def test_long_texts_take_as_long_as_they_are(piece: str) -> None:
    """Eight times the text, and not sixty-four times the time."""

    def seconds(text: str) -> float:
        began = time.process_time()
        without_paths(text)
        return time.process_time() - began

    short, long = (min(seconds(piece * count) for _ in range(3)) for count in (20_000, 160_000))
    assert long < 0.05 + 24 * short


@pytest.fixture
def server(tmp_path: Path, model_dir: Path) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path, model_dir, slab_slices=4)
    yield running
    running.end()


@pytest.mark.process
def test_a_key_that_is_no_admins_sees_no_folder(server: RunningServer, tmp_path: Path, example: Example) -> None:
    """In refusals, failures of scans, the list of models, and what health checks say; admins see the whole of it."""
    key, admin = add(server, "--scope", "segment"), add(server, "--scope", "admin")
    server.start()
    post = f"{server.url}/v1/scans?filename="
    scan = server.http.post(f"{post}a.nii.gz", content=example.path.read_bytes(), headers=key).json()["id"]
    server.until(lambda: server.http.get(f"{server.url}/v1/scans/{scan}", headers=key).json()["state"] == "succeeded")
    engine = create_engine(f"sqlite:///{server.store / 'jobs.sqlite'}")
    with engine.begin() as connection:
        failed = f"FileNotFoundError: [Errno 2] No such file or directory: '{server.store}/scans/{scan}/a.nii.gz'"
        connection.execute(text("UPDATE ricefish_scans SET state = 'failed', error = :error"), {"error": failed})
    engine.dispose()
    folders = (str(tmp_path), str(server.model))
    asked = [
        server.http.post(f"{post}b.nii.gz", content=b"\x1f\x8b" + bytes(1000), headers=key),
        server.http.post(f"{post}b.h5", content=b"\x89HDF\r\n\x1a\n" + bytes(1000), headers=key),
        server.http.post(f"{post}b.tif", content=b"II*\0" + bytes(1000), headers=key),
        server.http.post(f"{post}b.zip", content=b"PK\3\4" + bytes(1000), headers=key),
        *(server.http.get(server.url + path.format(scan), headers=key) for path in ASKED),
    ]
    assert "a.nii.gz" in asked[4].json()["error"]
    (server.store / "scans").rename(server.store / "elsewhere")
    server.until(lambda: server.get("/health/ready").status_code == 503)
    asked.append(server.get("/health/ready"))
    for answer in asked:
        assert not any(folder in answer.text for folder in folders), answer.text
    assert str(server.model) in server.http.get(f"{server.url}/v1/models", headers=admin).text
