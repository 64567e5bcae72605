"""What a request says of a scan counts, wherever it says it, or is refused; nothing is passed over in silence."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.serving.intake.test_tus import PART, TUS
from tests.serving.intake.test_ways_in import nifti
from tests.serving.running import RunningServer

pytestmark = pytest.mark.process
NO_SCAN = "0" * 32


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, processes: None) -> Iterator[RunningServer]:
    """A server that works on nothing, where one scan of the backlog may wait, and does."""
    running = RunningServer(tmp_path_factory.mktemp("idle"), model_dir, concurrent_scans=0, queue_scans=1)
    running.start()
    assert running.post(nifti(1), "first.nii", priority="backlog").status_code == 202
    yield running
    running.end()


def form(server: RunningServer, *fields: tuple[str, str], query: str = "", content: bytes) -> httpx.Response:
    """With its fields in this order; the file is the one without a value."""
    parts = [
        (name, (None, value)) if value else (name, ("fish.nii", content))  # httpx takes both
        for name, value in fields
    ]
    return server.http.post(f"{server.url}/v1/scans{query}", files=parts)


def has_room(server: RunningServer) -> bool:
    """For an ordinary scan, as far as the server knows."""
    answer = server.http.post(f"{server.url}/v1/uploads", headers={**TUS, "Upload-Length": "1"})
    return answer.status_code == 201


@pytest.mark.parametrize("order", [("priority", "file"), ("file", "priority")])
def test_a_form_waits_where_its_priority_says(idle: RunningServer, order: tuple[str, ...]) -> None:
    """No more of the backlog may wait: such a form is refused, wherever the field stands, and nothing of it is left."""
    said = {"priority": "backlog", "file": ""}
    answer = form(idle, *((name, said[name]) for name in order), content=nifti(2))
    assert (answer.status_code, answer.json().get("limit")) == (429, "scans"), answer.text
    assert not any(idle.incoming.iterdir())


def test_the_query_counts_before_the_form(idle: RunningServer) -> None:
    """It was admitted as interactive, and that is what it is; what the query does not say, the form does."""
    answer = form(idle, ("priority", "backlog"), ("file", ""), query="?priority=interactive", content=nifti(3))
    assert (answer.status_code, answer.json().get("priority")) == (202, "interactive"), answer.text
    idle.delete(f"/v1/scans/{answer.json()['id']}").raise_for_status()
    said = {"priority": "interactive", "file": ""}
    for order in (("priority", "file"), ("file", "priority")):
        idle.until(lambda: has_room(idle))
        answer = form(idle, *((name, said[name]) for name in order), query="?filename=a.nii", content=nifti(4))
        assert (answer.status_code, answer.json().get("priority")) == (202, "interactive"), answer.text
        idle.delete(f"/v1/scans/{answer.json()['id']}").raise_for_status()


@pytest.mark.parametrize("word", ["1", "true", "on", "yes", "ON"])
@pytest.mark.parametrize("other", ["0", "false", "off", "no"])
def test_yes_and_no_are_read_alike_everywhere(server: RunningServer, word: str, other: str) -> None:
    """In a form and in the query: the same file is a new scan, or the one before."""
    content = nifti(5)
    first = form(server, ("file", ""), content=content).json()["id"]
    for wish, same in ((word, False), (other, True)):
        by_form = form(server, ("fresh", wish), ("file", ""), content=content)
        by_query = form(server, ("file", ""), query=f"?fresh={wish}", content=content)
        assert {by_form.status_code, by_query.status_code} <= {200, 202}, (by_form.text, by_query.text)
        known = {first} if same else {by_form.json()["id"], by_query.json()["id"]}
        assert (first in known) is same and len(known) == (1 if same else 2)


def test_what_is_neither_yes_nor_no_is_refused(server: RunningServer) -> None:
    """With the words that there are, and the parameter's name; in JSON too."""
    content = nifti(6)
    json = {"source": {"upload": NO_SCAN}, "fresh": "maybe"}
    answers = [
        form(server, ("fresh", "maybe"), ("file", ""), content=content),
        form(server, ("file", ""), query="?fresh=maybe", content=content),
        server.http.post(f"{server.url}/v1/scans", json=json),
        server.get("/v1/scans?flagged=maybe"),
    ]
    for answer in answers:
        assert answer.status_code == 400, answer.text
        assert "true, 1, on, yes, false, 0, off, no" in answer.json()["detail"]
        assert answer.json()["field"] in ("fresh", "flagged")


def test_a_field_that_comes_twice_is_refused(server: RunningServer) -> None:
    """In a form and in a query: neither of the two is passed over."""
    answer = form(server, ("fresh", "no"), ("fresh", "yes"), ("file", ""), content=nifti(7))
    assert answer.status_code == 400 and "comes twice" in answer.json()["detail"]
    answer = server.get("/v1/scans?limit=1&limit=2")
    assert (answer.status_code, answer.json()["field"]) == (400, "limit")


def test_no_call_passes_an_unknown_name_over(server: RunningServer) -> None:
    """Each call of the server's own description, with a parameter that it does not have; `_` means nothing."""
    calls = 0
    for path, methods in server.get("/openapi.json").json()["paths"].items():
        if path.startswith("/v2"):
            continue
        ids = dict.fromkeys(("scan_id", "upload_id", "review_id"), NO_SCAN)
        place = path.format(**ids, axis="z", index=0, organ="1", segment=1, version=1, name="zarr.json")
        for method in methods:
            answer = server.http.request(method, f"{server.url}{place}?zzz=1", headers=TUS)
            assert answer.status_code == 400, (method, path, answer.text)
            if method != "head":
                assert "has no parameter 'zzz'" in answer.json()["detail"], answer.text
            calls += 1
    assert calls > 20
    assert server.get("/metrics?zzz=1").status_code == 400
    assert server.get("/v1/scans?_=1234567").status_code == server.get("/health/live?_=1").status_code == 200
    assert server.get("/v2?any=1").status_code == 200


def test_the_nearest_name_is_told(server: RunningServer) -> None:
    """Or those that there are."""
    assert "did you mean priority?" in server.post(nifti(8), "a.nii", prioriti="backlog").json()["detail"]
    assert (
        "it knows before, flagged, idempotency_key, limit, state" in server.get("/v1/scans?colour=red").json()["detail"]
    )
    assert "it takes none" in server.get("/v1/models?name=a").json()["detail"]


@pytest.mark.parametrize("keys", [(None, None), ("k", "k"), (None, "other"), ("one", "two")])
def test_two_posts_of_one_upload_are_one_scan(server: RunningServer, keys: tuple[str | None, str | None]) -> None:
    """At once, with the same Idempotency-Key, with none or with two: both hear of the same scan."""
    content = nifti(20 + len(str(keys)))
    name = base64.b64encode(b"fish.nii").decode()
    headers = {**PART, "Upload-Length": str(len(content)), "Upload-Metadata": f"filename {name}"}
    place = server.http.post(f"{server.url}/v1/uploads", headers=headers, content=content).headers["location"]
    together = threading.Barrier(4)

    def post(number: int) -> httpx.Response:
        key = keys[number % 2]
        with httpx.Client(trust_env=False, timeout=60) as http:
            together.wait()
            return http.post(
                f"{server.url}/v1/scans",
                json={"source": {"upload": place.rpartition("/")[2]}, "fresh": True},
                headers={} if key is None else {"Idempotency-Key": f"{key} {place}"},
            )

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(post, range(4)))
    assert {answer.status_code for answer in answers} <= {200, 202}, [answer.text for answer in answers]
    assert len({answer.json()["id"] for answer in answers}) == 1
