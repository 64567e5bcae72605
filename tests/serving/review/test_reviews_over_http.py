"""Reviews on real servers: asked by several at once, killed, without a model, and read by the pipeline."""

from __future__ import annotations

import gzip
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from harness import forked
from harness.postgresql import new_postgresql_database
from harness.servers import Process
from ricefish.client import Client, RicefishError
from ricefish.client.review_calls import ReviewSelection
from scans.mask_digest import mask_sha256
from scans.mask_picture import mask_from_png
from serving.auth.keys import Keys
from serving.storage.database import Database
from tests.serving.intake.test_ways_in import nifti
from tests.serving.models import write_classifier, write_model
from tests.serving.running import RunningServer
from training.quality.reviews import Review, Reviewable, read_reviews

SCAN = nifti(3, (12, 24, 20))
BOUND_SECONDS = 60
"""Longer than it takes on any machine."""


@pytest.fixture(scope="module")
def judged_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_model(tmp_path_factory.mktemp("judged_model"))
    write_classifier(folder / "quality_classifier")
    return folder


@pytest.fixture
def server(tmp_path: Path, judged_model: Path, processes: None) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path, judged_model, slab_slices=4)
    yield running.start()
    running.end(signal.SIGKILL)


def segmented(server: RunningServer, name: str = "day_7/fish.nii") -> str:
    scan_id = str(server.post(SCAN, name).json()["id"])
    assert server.until_ended(scan_id)["state"] == "succeeded"
    return scan_id


def said(question: dict[str, Any], verdict: str, **more: object) -> dict[str, object]:
    return {name: question[name] for name in ("scan", "slice_index", "mask_sha256")} | {"verdict": verdict, **more}


def post(server: RunningServer, body: dict[str, object]) -> httpx.Response:
    return server.http.post(f"{server.url}/v1/reviews", json=body)


def test_a_slice_is_offered_shown_judged_and_exported(server: RunningServer, tmp_path: Path) -> None:
    """What is offered says which mask its picture shows; the export is a reviews.csv of the very same slice."""
    scan_id = segmented(server)
    with Client(server.url) as client:
        question = client.reviews.next()
        assert question is not None and (question.scan, question.volume) == (scan_id, "day_7-fish")
        segmentation = server.get(f"/v1/scans/{scan_id}/segmentation?format=nrrd").content
        mask = _last_voxels(segmentation, (12, 24, 20))[question.slice_index]
        assert question.mask_sha256 == mask_sha256(mask)
        assert question.organs == tuple(name for index, name in ((1, "heart"), (2, "eye")) if (mask == index).any())
        pictures = [client.reviews.picture(question, with_organs=on) for on in (True, False)]
        assert pictures[0] != pictures[1] and all(picture.startswith(b"\x89PNG") for picture in pictures)
        client.reviews.add(question, "unsure")
        first = client.reviews.add(question, "bad", comment='half of it, "the left"\nis gone')
        organ = client.reviews.add(question, "bad", organ="eye")
        assert [review.id for review in client.reviews.each()] == [organ.id, first.id]
        assert (first.reviewer, first.comment) == ("anonymous", 'half of it, "the left"\nis gone')
        done = client.reviews.export(tmp_path / "reviews.csv")
        assert (done.reviews, done.masks, done.not_kept) == (2, 1, 0)
        assert np.array_equal(client.reviews.mask(first.id), mask), "the very mask"
        assert client.reviews.counts()["reviewers"][0]["bad"] == 2
        later = ReviewSelection(since=datetime.now(UTC) + timedelta(days=1))
        assert list(client.reviews.each(later)) == [] != list(client.reviews.each(ReviewSelection(history=True)))
    assert mask_from_png((tmp_path / "reviews" / f"{question.mask_sha256}.png").read_bytes()).tolist() == mask.tolist()
    of = {"mask_sha256": question.mask_sha256, "reviewer": "anonymous", "organs": ("heart", "eye")}
    expected = [Review("day_7-fish", question.slice_index, good=False, organ=organ, **of) for organ in ("eye", "")]
    assert list(read_reviews(done.path, Reviewable({"day_7-fish": 12}, ["heart", "eye"]))) == expected
    history = server.get("/v1/reviews?format=csv&history=yes").text
    (tmp_path / "history.csv").write_text(history, encoding="utf-8")
    assert "replaced" in history
    assert len(read_reviews(tmp_path / "history.csv", Reviewable({"day_7-fish": 12}, ["heart", "eye"]))) == 2


def test_the_client_names_the_folder_of_a_file(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That which its path names, sent at once or in parts: so the pipeline knows the volume by the name on its disk,
    `unlabelled/day_7/fish.nii`, and `unlabelled/images/fish.nii`, which is of no experiment.
    """
    found = []
    for path, resumable_bytes in (
        ("day_7/fish.nii", 0),
        ("day_8/fish.nii", 1 << 30),
        ("images/fish.nii", 0),
        ("a.nii", 0),
    ):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(SCAN)
        monkeypatch.chdir(tmp_path)
        with Client(server.url, resumable_bytes=resumable_bytes) as client:
            scan = client.submit(Path(path), fresh=True)
            assert server.until_ended(scan.id)["filename"] == Path(path).name
            questions = iter(client.reviews.next, None)
            found.append(next(question.volume for question in questions if question.scan == scan.id))
    assert found == ["day_7-fish", "day_8-fish", "fish", "a"]


def _last_voxels(nrrd: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    header, _, data = nrrd.partition(b"\n\n")
    voxels = gzip.decompress(data) if b"encoding: gzip" in header else data
    return np.frombuffer(voxels, np.uint8).reshape(shape)


def test_all_slices_come_once_and_then_there_is_nothing(server: RunningServer) -> None:
    """Twelve slices, eight asks at a time: each once; when all are judged the answer is 204, until one is undone."""
    assert server.get("/v1/reviews/next").status_code == 204
    segmented(server)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: httpx.get(f"{server.url}/v1/reviews/next", timeout=60), range(12)))
    questions = [answer.json() for answer in answers]
    assert sorted(question["slice_index"] for question in questions) == list(range(12))
    uncertainty = {question["slice_index"]: question["uncertainty"] for question in questions}
    assert len(set(uncertainty.values())) > 1, "they differ"
    reviews = [post(server, said(question, "good")).json() for question in questions]
    nothing = server.get("/v1/reviews/next")
    assert (nothing.status_code, nothing.content) == (204, b"")
    assert server.delete(f"/v1/reviews/{reviews[4]['id']}").status_code == 204
    assert server.get("/v1/reviews/next").json()["slice_index"] == reviews[4]["slice_index"]
    counts = server.get("/v1/reviews/counts").json()
    assert (counts["verdicts"], counts["good"], counts["waiting"], counts["waiting_for_you"]) == (11, 11, 1, 1)
    assert counts["reviewers"][0]["per_hour"] > 0


def test_what_cannot_be_a_verdict_is_refused_in_words(server: RunningServer) -> None:
    """Another mask is a conflict; all else names the field; nothing is kept of any."""
    scan_id = segmented(server)
    right = said(server.get("/v1/reviews/next").json(), "good")
    other = "0" * 64
    refused = [
        ({**right, "mask_sha256": other}, 409, "other-mask", "another mask by now; look at it again"),
        ({**right, "organ": "hart"}, 400, "bad-review", "organ is 'hart'; expected heart"),
        ({**right, "verdict": "fine"}, 400, "bad-review", "verdict: "),
        ({**right, "axis": "x"}, 400, "bad-review", "axis: "),
        ({**right, "slice_index": 12}, 404, "no-such-slice", "z=0 to z=11"),
        ({**right, "slice_index": -1}, 400, "bad-review", "slice_index: "),
        ({**right, "slice_index": 10**30}, 404, "no-such-slice", "z=0 to z=11"),
        ({**right, "scan": "0" * 32}, 404, "no-such-scan", "no scan"),
        ({**right, "comment": "\0"}, 400, "bad-review", "comment: "),
        ({**right, "colour": 1}, 400, "bad-review", "colour: "),
        ({name: right[name] for name in right if name != "mask_sha256"}, 400, "bad-review", "mask_sha256: "),
    ]
    for body, status, slug, words in refused:
        answer = post(server, body)
        assert (answer.status_code, answer.json()["type"]) == (status, f"urn:ricefish:problem:{slug}"), answer.text
        assert words in answer.json()["detail"]
    assert server.get("/v1/reviews?history=yes").json() == {"reviews": []}
    assert server.get("/v1/reviews?before=none").status_code == 404
    assert [post(server, right).status_code for _ in range(2)] == [201, 200]
    assert server.delete(f"/v1/scans/{scan_id}").status_code == 204
    assert post(server, right).status_code == 404
    (review,) = server.get(f"/v1/reviews?scan={scan_id}").json()["reviews"]
    assert review["verdict"] == "good", "work outlives the scan"
    mask = server.get(review["mask"])
    assert (mask.status_code, mask.headers["content-type"]) == (200, "image/png")
    assert mask_sha256(mask_from_png(mask.content)) == review["mask_sha256"], "and so does the mask"
    assert server.get("/v1/reviews/none/mask.png").json()["type"] == "urn:ricefish:problem:no-such-review"


def test_a_killed_server_loses_no_verdict_and_needs_no_model(server: RunningServer, tmp_path: Path) -> None:
    """Killed after each answer 201; started again with plain models alone, it has all of them, and goes on."""
    segmented(server)
    for verdict in ("good", "bad", "skip"):
        assert post(server, said(server.get("/v1/reviews/next").json(), verdict)).status_code == 201
        server.end(signal.SIGKILL)
        if verdict == "bad":
            (tmp_path / "plain").mkdir()
            del server.process.settings["model"]
            server.set(model_repository=tmp_path / "plain")
        server.start()
    assert server.get("/v1/model").status_code == 503, "there is none"
    assert [row["verdict"] for row in server.get("/v1/reviews").json()["reviews"]] == ["skip", "bad", "good"]
    question = server.get("/v1/reviews/next").json()
    assert server.get(question["links"]["overlay"]).status_code == 200
    assert post(server, said(question, "good")).status_code == 201


@pytest.fixture
def two_servers(tmp_path: Path, judged_model: Path, postgresql: str) -> Iterator[tuple[list[Process], Database]]:
    """Of one PostgreSQL queue and one store."""
    url = new_postgresql_database(postgresql)
    common = {"database_url": url, "store": tmp_path / "store", "threads": 1, "batch_size": 4}
    servers = [
        forked.server(
            tmp_path / name, model=judged_model, worker_id=name, scratch=tmp_path / f"{name}_scratch", **common
        )
        for name in ("one", "two")
    ]
    database = Database(url)
    database.open()
    try:
        for server in servers:
            server.start()
        yield list(servers), database
    finally:
        for server in servers:
            server.kill()
        database.close()


def test_two_processes_give_two_reviewers_different_slices(two_servers: tuple[list[Process], Database]) -> None:
    """Ada asks one server and Eve the other, six times each at once: twelve slices, each given once.

    A key that is for another owner's scans is told of none; a reviewer sees pictures, and nothing else of a scan.
    """
    servers, database = two_servers
    keys = Keys(database)
    lab = keys.add(owner="lab", scopes=["segment"])
    ada, eve = (keys.add(owner=name, scopes=["review"], reviews=["lab"]) for name in ("ada", "eve"))
    stranger = keys.add(owner="mallory", scopes=["review"])
    urls = [server.url for server in servers]
    for url in urls:
        _until(lambda url=url: httpx.get(f"{url}/v1/scans", timeout=60).status_code == 401)  # keys count by now
    with httpx.Client(base_url=urls[0], headers={"X-API-Key": lab}, timeout=60) as http:
        scan_id = http.post("/v1/scans?filename=fish.nii", content=SCAN).raise_for_status().json()["id"]
        _until(lambda: http.get(f"/v1/scans/{scan_id}").json()["state"] == "succeeded")

    def ask(number: int) -> dict[str, Any]:
        url, key = (urls[0], ada) if number % 2 else (urls[1], eve)
        content: dict[str, Any] = httpx.get(f"{url}/v1/reviews/next", headers={"X-API-Key": key}, timeout=60).json()
        return content

    with ThreadPoolExecutor(4) as threads:
        questions = list(threads.map(ask, range(12)))
    assert sorted(question["slice_index"] for question in questions) == list(range(12))
    with Client(urls[0], key=ada) as client, Client(urls[1], key=stranger) as other:
        question = client.reviews.next()
        assert question is not None and question.slice_index in [q["slice_index"] for q in questions[1::2]], "her own"
        assert client.reviews.add(question, "good").reviewer == "ada"
        assert client.reviews.picture(question).startswith(b"\x89PNG")
        assert other.reviews.next() is None and list(other.reviews.each()) == []
        with pytest.raises(RicefishError) as hidden:
            other.reviews.picture(question)
        with pytest.raises(RicefishError) as forbidden:
            client.organs(scan_id)
    assert (hidden.value.status, forbidden.value.status) == (404, 403)


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND_SECONDS
    while not reached():
        assert time.monotonic() < deadline
