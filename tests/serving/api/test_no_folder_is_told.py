"""No call answers a key that is no administrator's with a folder of the server, however it stands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.auth.keys import Keys
from serving.storage.database import Database
from tests.serving.in_process import Answered, App, running_app

FILLED = {
    **{"name": "bad", "version": "1", "axis": "z", "index": "0", "organ": "1", "segment": "1"},
    **dict.fromkeys(("scan_id", "upload_id", "review_id"), "0" * 32),
}


@pytest.fixture
def keyed(tmp_path: Path, model_dir: Path) -> Iterator[tuple[App, dict[str, bytes]]]:
    """With a model in its repository that is none, its own model as shadow, and a key of each scope."""
    (tmp_path / "repository" / "bad" / "1").mkdir(parents=True)
    (tmp_path / "repository" / "bad" / "1" / "model.onnx").write_bytes(b"none")
    (tmp_path / "store").mkdir()
    database = Database(f"sqlite:///{tmp_path / 'store' / 'jobs.sqlite'}")
    database.open()
    made = {scope: Keys(database).add(owner="ada", scopes=[scope]).encode() for scope in ("segment", "review", "admin")}
    database.close()
    settings = {"model_repository": str(tmp_path / "repository"), "shadow": str(model_dir), "shadow_share": 1}
    with running_app(tmp_path, model_dir, **settings) as app:
        yield app, made


def all_calls(app: App) -> Iterator[tuple[str, bytes]]:
    """Each of the document, with something in the place of each name."""
    for path, calls in app.ask("GET", b"/openapi.json").json()["paths"].items():
        for method in calls:
            yield method.upper(), path.format_map(FILLED).encode()


@pytest.mark.slow
def test_no_answer_to_other_keys_holds_a_folder(
    keyed: tuple[App, dict[str, bytes]], tmp_path: Path, model_dir: Path
) -> None:
    """All calls, while all is well and while the scratch folder is away; an administrator is told where to look."""
    app, made = keyed
    folders = (str(tmp_path), str(model_dir), str(model_dir.parent))
    scratch = tmp_path / "store" / "scratch"

    def asked(method: str, path: bytes, key: bytes | None) -> Answered:
        shown = [] if key is None else [(b"authorization", b"Bearer " + key)]
        return app.ask(method, path, headers=[*shown, (b"content-type", b"application/json")], body=b"{}")

    for away in (False, True):
        if away:
            scratch.rename(tmp_path / "away")
            deadline = time.monotonic() + 30
            while asked("GET", b"/v2/health/ready", None).status == 200:  # it is looked at once a second
                assert time.monotonic() < deadline
                time.sleep(0.1)
        for method, path in all_calls(app):
            for key in (made["segment"], made["review"], None):
                answer = asked(method, path, key)
                for folder in folders:
                    assert folder not in answer.body.decode("utf-8", "replace"), (method, path, answer.body)
    (tmp_path / "away").rename(scratch)
    for method, path in (("POST", b"/v2/repository/index"), ("GET", b"/v1/models/shadow"), ("GET", b"/v1/models")):
        told = asked(method, path, made["admin"]).body.decode()
        assert any(folder in told for folder in folders), told
