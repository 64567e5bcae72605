"""Names outside ASCII arrive as they were given, whichever way they come in, and go out so."""

from __future__ import annotations

import base64
import json
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from ricefish.client.client import Client
from tests.serving.in_process import App, Headers, running_app
from tests.serving.intake.test_tus import TUS
from tests.serving.intake.test_ways_in import nifti
from tests.serving.running import RunningServer

pytestmark = pytest.mark.process
NAME = "Größe 龍 Å.nii"
DECOMPOSED = unicodedata.normalize("NFD", NAME)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("instrument")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, root: Path) -> Iterator[App]:
    with running_app(tmp_path_factory.mktemp("names"), model_dir, source_roots=(root,)) as running:
        yield running


def form(disposition: bytes, content: bytes, **fields: bytes) -> tuple[Headers, bytes]:
    """A form's headers and body, with its file under this Content-Disposition."""
    body = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), value)
        for name, value in fields.items()
    )
    body += b"--x\r\nContent-Disposition: form-data; name=file; %b\r\n\r\n%b\r\n--x--\r\n" % (disposition, content)
    return [(b"content-type", b"multipart/form-data; boundary=x")], body


FORMS: dict[str, tuple[bytes, dict[str, bytes]]] = {
    "the part's filename": (b'filename="%b"' % NAME.encode(), {}),
    "decomposed": (b'filename="%b"' % DECOMPOSED.encode(), {}),
    "filename* alone": (b"filename*=UTF-8''%b" % quote(NAME).encode(), {}),
    "filename* beside filename": (b"filename=\"Gr__e.nii\"; filename*=utf-8'de'%b" % quote(NAME).encode(), {}),
    "a field": (b"filename=a.nii", {"filename": NAME.encode()}),
}


@pytest.mark.parametrize("way", FORMS)
def test_a_form_keeps_a_name(app: App, way: str) -> None:
    """In its file's header, in either notation, and in a field."""
    disposition, fields = FORMS[way]
    headers, body = form(disposition, nifti(31), fresh=b"true", **fields)
    answer = app.ask("POST", b"/v1/scans", headers=headers, body=body)
    assert (answer.status, answer.json().get("filename")) == (202, NAME), answer.body


@pytest.mark.parametrize(
    ("disposition", "fields", "said"),
    [
        (b'filename="Gr\xf6\xdfe.nii"', {}, "the form's filename is b'Gr\\xf6\\xdfe.nii', which is not UTF-8"),
        (b"filename=a.nii", {"filename": b"Gr\xf6\xdfe"}, "the form's field 'filename' is b'Gr\\xf6\\xdfe'"),
        (b"filename*=windows-1252''Gr%F6", {}, "the form's filename* is in 'windows-1252'; write it in UTF-8"),
    ],
)
def test_a_form_that_is_not_utf8_is_refused(app: App, disposition: bytes, fields: dict[str, bytes], said: str) -> None:
    """It would have to be guessed what was meant."""
    headers, body = form(disposition, nifti(31), **fields)
    answer = app.ask("POST", b"/v1/scans", headers=headers, body=body)
    assert answer.status == 400
    assert said in answer.json()["detail"]


def test_a_query_keeps_a_name_and_the_download_has_it(app: App) -> None:
    """Also in the plain name for clients that know no other; a query that is not UTF-8 is refused."""
    target = f"/v1/scans?fresh=true&filename={quote(DECOMPOSED)}".encode()
    scan = app.ask("POST", target, body=nifti(32)).json()
    assert scan["filename"] == NAME
    while app.ask("GET", scan["links"]["self"].encode()).json()["state"] != "succeeded":
        pass
    headers = app.ask("GET", scan["links"]["segmentation"].encode()).headers
    plain, _, exact = headers["content-disposition"].partition("filename*=UTF-8''")
    assert unquote(exact) == NAME.replace(".nii", "_segmentation.nii.gz")
    assert plain.isascii() and 'filename="Gr__e _ __segmentation.nii.gz"' in plain
    refused = app.ask("POST", b"/v1/scans?filename=Gr%F6%DFe.nii", body=nifti(32))
    assert (refused.status, refused.json()["field"]) == (400, "filename")
    assert "not UTF-8; write it as UTF-8, such as Gr%C3%B6%C3%9Fe.nii" in refused.json()["detail"]


def test_a_resumable_upload_and_json_keep_a_name(app: App) -> None:
    """The metadata of tus in base64; the name in JSON goes before it."""
    content = nifti(33)
    headers = [(name.encode(), value.encode()) for name, value in TUS.items()]
    metadata = b"filename " + base64.b64encode(NAME.encode())
    created = app.ask(
        "POST",
        b"/v1/uploads",
        headers=[*headers, (b"upload-length", str(len(content)).encode()), (b"upload-metadata", metadata)],
    )
    place = created.headers["location"].removeprefix("http://127.0.0.1")
    offset = [(b"upload-offset", b"0"), (b"content-type", b"application/offset+octet-stream")]
    assert app.ask("PATCH", place.encode(), headers=[*headers, *offset], body=content).status == 204
    source: dict[str, Any] = {"source": {"upload": place.rpartition("/")[2]}, "fresh": True}
    assert posted(app, source)["filename"] == NAME


def posted(app: App, content: dict[str, Any]) -> dict[str, Any]:
    """The scan that JSON has become."""
    headers = [(b"content-type", b"application/json")]
    answer = app.ask("POST", b"/v1/scans", headers=headers, body=json.dumps(content, ensure_ascii=False).encode())
    assert answer.status == 202, answer.body
    scan: dict[str, Any] = answer.json()
    return scan


def test_a_source_keeps_its_name(app: App, root: Path) -> None:
    """File and folder, in UTF-8 and, from an old disk, in Latin-1."""
    (root / NAME).write_bytes(nifti(34))
    assert posted(app, {"source": {"uri": (root / NAME).as_uri()}, "fresh": True})["filename"] == NAME
    latin = os.fsencode(root) + b"/Gr\xf6\xdfe.nii"
    Path(os.fsdecode(latin)).write_bytes(nifti(35))
    uri = f"{root.as_uri()}/Gr%F6%DFe.nii"
    assert posted(app, {"source": {"uri": uri}, "fresh": True})["filename"] == "Größe.nii"
    assert posted(app, {"source": {"uri": uri}, "filename": NAME, "fresh": True})["filename"] == NAME


def test_the_client_sends_a_name(server: RunningServer, tmp_path: Path) -> None:
    """At once, and resumably, also one that a disk holds in Latin-1."""
    path = tmp_path / NAME
    path.write_bytes(nifti(36))
    latin = Path(os.fsdecode(os.fsencode(tmp_path) + b"/Gr\xf6\xdfe.nii"))
    latin.write_bytes(nifti(37))
    for most in (0, 1 << 30):
        with Client(server.url, resumable_bytes=most) as client:
            names = [
                server.get(f"/v1/scans/{client.submit(one, fresh=True).id}").json()["filename"] for one in (path, latin)
            ]
        assert names == [NAME, "Größe.nii"]
    assert NAME in server.log
