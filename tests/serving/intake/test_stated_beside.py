"""What the query and the headers say beside a JSON or a form counts as it does beside a file, or is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.in_process import Answered, App, running_app
from tests.serving.intake.test_ways_in import nifti

pytestmark = pytest.mark.process
JSON = (b"content-type", b"application/json")
FORM = (b"content-type", b"multipart/form-data; boundary=x")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("instrument") / "fish.nii"
    path.write_bytes(nifti(61))
    return path


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, file: Path, processes: None) -> Iterator[App]:
    """One that works on nothing."""
    folder = tmp_path_factory.mktemp("beside")
    with running_app(folder, model_dir, concurrent_scans=0, source_roots=f'["{file.parent}"]') as running:
        yield running


def fetch(app: App, file: Path, query: str = "", *, digest: bytes | None = None, **named: Any) -> Answered:
    body = json.dumps({"source": {"uri": file.as_uri()}, **named}).encode()
    headers = [JSON, *([] if digest is None else [(b"content-digest", stated(digest))])]
    return app.ask("POST", f"/v1/scans?{query}".encode(), headers=headers, body=body)


def stated(content: bytes) -> bytes:
    return b"sha-256=:%s:" % base64.b64encode(hashlib.sha256(content).digest())


def test_the_query_counts_beside_json(app: App, file: Path) -> None:
    """Priority, name and the wish for a new scan, said in the query alone, are those of the scan."""
    first = fetch(app, file).json()
    answer = fetch(app, file, "priority=interactive&fresh=true&filename=other.nii")
    assert answer.status == 202, answer.body
    scan = answer.json()
    assert (scan["priority"], scan["filename"]) == ("interactive", "other.nii") and scan["id"] != first["id"]
    assert fetch(app, file, "fresh=false").json()["id"] == first["id"]


def test_a_wrong_checksum_in_the_query_is_refused_beside_json(app: App, file: Path) -> None:
    """As it is in the JSON; the right one passes, in whatever case of letters it stands twice."""
    right = hashlib.sha256(file.read_bytes()).hexdigest()
    answer = fetch(app, file, f"sha256={'0' * 64}")
    assert answer.status == 400 and right in answer.json()["detail"], answer.body
    assert fetch(app, file, f"sha256={right}", sha256=right.upper()).status == 202


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("priority=backlog", {"priority": "normal"}),
        ("fresh=yes", {"fresh": False}),
        ("filename=a.nii", {"filename": "b.nii"}),
        ("spacing=1,1,1", {"spacing": "1,1,2"}),
        (f"sha256={'0' * 64}", {"sha256": "1" * 64}),
        ("dataset=a", {"dataset": "b"}),
        ("version=1", {"version": "2"}),
        ("model=a", {"model": "b"}),
    ],
)
def test_what_query_and_json_say_differently_is_refused(
    app: App, file: Path, query: str, named: dict[str, Any]
) -> None:
    """400 by name, rather than one of the two at a guess."""
    answer = fetch(app, file, query, **named)
    assert answer.status == 400, answer.body
    assert answer.json()["field"] == next(iter(named)) and "JSON" in answer.json()["detail"]


def test_what_query_and_json_say_alike_is_taken(app: App, file: Path) -> None:
    """In other words too; null says nothing."""
    query = "spacing=1,1,1&fresh=1&filename=a.nii"
    answer = fetch(app, file, query, spacing="1.0,1.00,1", fresh=True, filename=None)
    assert (answer.status, answer.json().get("filename")) == (202, "a.nii"), answer.body


def test_a_digest_of_json_or_a_form_is_checked(app: App, file: Path) -> None:
    """Of the body that it comes with, as RFC 9530 has it: the right one passes, a wrong or unreadable one does not."""
    body = json.dumps({"source": {"uri": file.as_uri()}}).encode()
    part = b'Content-Disposition: form-data; name="file"; filename="fish.nii"\r\n\r\n'
    form = b"--x\r\n" + part + file.read_bytes() + b"\r\n--x--\r\n"
    for kind, content in ((JSON, body), (FORM, form)):
        for digest, status in ((stated(content), 202), (stated(b"other"), 400), (b"sha-256=:AAAA:", 400)):
            headers = [kind, (b"content-digest", digest)]
            answer = app.ask("POST", b"/v1/scans", headers=headers, body=content)
            assert answer.status == status, (kind, digest, answer.body)
