"""Headers of answers that pass no middleware."""

from __future__ import annotations

from starlette.testclient import TestClient

from serving.app import create_app
from serving.settings import read_settings


def test_an_unexpected_error_has_the_headers_too() -> None:
    """They are set outside of what could fail."""
    app = create_app(read_settings({}, model="m"))
    app.add_api_route("/health/broken", lambda: 1 // 0)
    answer = TestClient(app, raise_server_exceptions=False).get("/health/broken")
    assert (answer.status_code, answer.json()["title"]) == (500, "The server failed; its log says why")
    assert answer.headers["x-content-type-options"] == "nosniff"
