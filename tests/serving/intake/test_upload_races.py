"""Several requests for one upload at once: each is told how it stands, and no server's fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from serving.intake.tus import UploadNotFound
from tests.serving.in_process import Answered, App, Headers, running_app

pytestmark = pytest.mark.process
TUS: Headers = [(b"tus-resumable", b"1.0.0")]
PART: Headers = [*TUS, (b"content-type", b"application/offset+octet-stream"), (b"upload-offset", b"0")]
CONTENT = bytes(range(256)) * 400


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, processes: None) -> Iterator[App]:
    with running_app(tmp_path_factory.mktemp("races"), model_dir, concurrent_scans=0) as running:
        yield running


def begun(app: App, *stated: tuple[bytes, bytes]) -> bytes:
    said = stated or ((b"upload-length", b"%d" % len(CONTENT)),)
    answer = app.ask("POST", b"/v1/uploads", headers=[*TUS, *said])
    assert answer.status == 201, answer.body
    return answer.headers["location"].encode()


def at_once(*requests: Callable[[], Answered]) -> list[Answered]:
    with ThreadPoolExecutor(len(requests)) as threads:
        return [asked.result() for asked in [threads.submit(request) for request in requests]]


def test_equal_parts_at_once_are_one_part(app: App) -> None:
    """One of eight is added, or what arrived of the last that broke off; the others are told with 409."""
    for _ in range(5):
        place = begun(app)
        answers = at_once(*[partial(app.ask, "PATCH", place, headers=PART, body=CONTENT)] * 8)
        statuses = Counter(answer.status for answer in answers)
        assert set(statuses) <= {204, 409} and statuses[204] <= 1, statuses
        assert {answer.json()["type"] for answer in answers if answer.status == 409} == {
            "urn:ricefish:problem:offset-conflict"
        }
        at = int(app.ask("HEAD", place, headers=TUS).headers["upload-offset"])
        rest = [*PART[:-1], (b"upload-offset", b"%d" % at)]
        assert app.ask("PATCH", place, headers=rest, body=CONTENT[at:]).headers["upload-offset"] == str(len(CONTENT))


def test_what_meets_a_removal_is_told_that_the_upload_is_gone(app: App) -> None:
    """404, whichever comes first; a store that is away is no part of it."""
    for _ in range(10):
        place = begun(app, (b"upload-defer-length", b"1"))
        part = [*PART, (b"upload-length", b"%d" % len(CONTENT))]
        add = partial(app.ask, "PATCH", place, headers=part, body=CONTENT)
        look, remove = partial(app.ask, "HEAD", place, headers=TUS), partial(app.ask, "DELETE", place, headers=TUS)
        statuses = Counter(answer.status for answer in at_once(look, add, remove, look, add, remove, look))
        assert set(statuses) <= {200, 204, 404, 409} and statuses[204], statuses
        assert look().status == 404


def test_one_length_stated_at_once_leaves_the_upload_there(app: App) -> None:
    """Eight say how long it is: it is there all the while, and as long as they say."""
    for _ in range(10):
        place = begun(app, (b"upload-defer-length", b"1"))
        none = [*PART, (b"upload-length", b"%d" % len(CONTENT))]
        look = partial(app.ask, "HEAD", place, headers=TUS)
        state = partial(app.ask, "PATCH", place, headers=none, body=b"")
        answers = at_once(*[state, look] * 8)
        assert {answer.status for answer in answers} <= {200, 204, 409}
        assert look().headers["upload-length"] == str(len(CONTENT))


def test_an_upload_that_is_gone_has_no_end_either(app: App) -> None:
    """What is asked of it after it was looked at, and removed, says so."""
    place = begun(app)
    app.ask("DELETE", place, headers=TUS)
    with pytest.raises(UploadNotFound):
        app.resources.uploads.expires(place.decode().rpartition("/")[2])
