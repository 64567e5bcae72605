"""The OpenAPI document: valid, whole, in words, and with every way in which a call is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, routing
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from openapi_spec_validator import validate

from serving.api.problem_table import ROWS
from serving.app import create_app
from serving.settings import read_settings

_NAMES = ("GPU", "Prometheus", "GLB", "STL", "Neuroglancer")
"""Words that are written so in a summary."""
PAGES = (
    *("/docs", "/docs/oauth2-redirect", "/openapi.json", "/static-offline-docs"),
    *("/", "/sign-in", "/sign-out", "/scans/rows", "/scans/{scan_id}", "/scans/{scan_id}/organ-names/info", "/models"),
    "/models/versions",
    "/models/verdict",
    "/reviews",
    *("/static/{file:path}", "/v/{scan}/{file:path}", "/events/{scan_id}"),
)
NOT_OFFERED = (
    *("/v2/logging", "/v2/trace/setting", "/v2/models/{name}/trace/setting"),
    "/v2/cudasharedmemory/region/{name}/register",
)


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(read_settings({}, model="m"))


@pytest.fixture(scope="module")
def document(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def calls(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            yield method, path, call


def test_it_is_valid(document: dict[str, Any]) -> None:
    """By the specification's own validator."""
    validate(document)


def test_it_holds_every_call(app: FastAPI, document: dict[str, Any]) -> None:
    """Those of /v2 that are bare applications, and /metrics, as well; pages and what is not offered are no calls."""
    answered = {
        (method.lower(), context.path.replace(":path}", "}"))
        for context in iter_route_contexts(app.routes)
        if context.path not in (*PAGES, *NOT_OFFERED)
        for method in getattr(context, "methods", None) or ()
    }
    described = {(method, path) for method, path, _ in calls(document)}
    assert ("post", "/v2/models/{name}/infer") in described
    assert described == answered


def test_no_request_waits_until_its_route_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """FastAPI builds what a route depends on late; here that is over when the application is made, for all of them."""
    app = create_app(read_settings({}, model="m"))

    def built(**_: object) -> None:
        raise AssertionError("a route was built for a request")

    monkeypatch.setattr(routing, "get_dependant", built)
    http = TestClient(app)
    assert http.get("/health/live").status_code == 200
    assert http.get("/v1/scans").status_code == 503  # nothing is opened yet


def test_titles_are_words_and_names_are_unique(document: dict[str, Any]) -> None:
    """A summary is a phrase, which no other call has; an operation's id is a plain name for a client's function."""
    summaries = [call["summary"] for _, _, call in calls(document)]
    names = [call["operationId"] for _, _, call in calls(document)]
    assert len(set(summaries)) == len(summaries)
    assert len(set(names)) == len(names)
    assert "Successful Response" not in str(document["paths"])
    for summary, name in zip(summaries, names, strict=True):
        assert summary[0].isupper(), summary
        assert summary[1:] == summary[1:].lower() or any(word in summary for word in _NAMES), summary
        assert name.isidentifier(), name


def test_posting_a_scan_comes_first(document: dict[str, Any]) -> None:
    """Of the first group of calls that `/docs` shows."""
    first = document["tags"][0]["name"]
    shown = [(method, path) for method, path, call in calls(document) if call["tags"] == [first]]
    assert shown[0] == ("post", "/v1/scans")
    assert {tag for _, _, call in calls(document) for tag in call["tags"]} == {one["name"] for one in document["tags"]}


def test_every_refusal_is_described(document: dict[str, Any]) -> None:
    """Each status of the table of problems stands in some call, in the words of the table, as a problem or /v2's."""
    responses = document["components"]["responses"]
    for problem in ROWS:
        assert problem.title in responses[f"Problem{problem.status}"]["description"]
    for _, path, call in calls(document):
        kind = "Inference" if path.startswith("/v2") else "Problem"
        refused = {int(status): answer for status, answer in call["responses"].items() if int(status) >= 400}
        assert {400, 500, 503} <= set(refused)
        assert not call["security"] or {401, 403, 429} <= set(refused)
        for status, answer in refused.items():
            if "content" not in answer:
                assert answer == {"$ref": f"#/components/responses/{kind}{status}"}


def test_a_route_names_what_is_its_own(document: dict[str, Any]) -> None:
    """Posting a scan may be refused in all these ways, and a picture in fewer."""
    posted = document["paths"]["/v1/scans"]["post"]["responses"]
    assert {int(status) for status in posted} == {
        *(200, 202, 400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 503, 507)
    }
    picture = document["paths"]["/v1/scans/{scan_id}/slices/{axis}/{index}.png"]["get"]["responses"]
    assert {int(status) for status in picture} == {200, 400, 401, 403, 404, 409, 429, 500, 503}
    assert list(picture["200"]["content"]) == ["image/png"]
