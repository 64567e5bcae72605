"""Calls that there are not: refused with those that there are."""

from __future__ import annotations

from pathlib import Path

from tests.serving.in_process import running_app


def test_a_call_that_there_is_not_is_told_with_what_there_is(tmp_path: Path, model_dir: Path) -> None:
    """A path that no call has, and a method that the path does not have: all that it has are named, of every route."""
    with running_app(tmp_path, model_dir, readers=0) as app:
        nowhere = app.ask("POST", b"/v1/v1/scans")
        assert nowhere.status == 404
        assert nowhere.json()["detail"] == "there is no POST http://127.0.0.1/v1/v1/scans; /docs lists every call"
        for path, methods in ((b"/v1/scans", "GET, POST"), (b"/v1/scans/" + b"a" * 32, "DELETE, GET")):
            refused = app.ask("PUT", path)
            assert (refused.status, refused.headers["allow"]) == (405, methods)
            assert f"but {methods}; /docs" in refused.json()["detail"]
