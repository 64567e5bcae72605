"""What a key with the scope review may see, and what not, on a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import delete

from serving.auth.keys import KeyRefused, Keys
from serving.storage.database import Database
from serving.storage.tables import review_masks
from tests.serving.conftest import Example
from tests.serving.running import RunningServer

Call = Callable[[str, str, str], httpx.Response]
PARTS = ("", "/organs", "/segmentation", "/quality", "/labels", "/events")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/q.sqlite")
    database.open()
    yield database
    database.close()


@pytest.fixture
def keys(database: Database) -> dict[str, str]:
    """Ada posts and reviews her own; Bob posts his own and reviews hers, Carl his own and nobody's, Eve everybody's."""
    made = Keys(database)
    both = ["segment", "review"]
    return {
        "ada": made.add(owner="ada", scopes=both),
        "bob": made.add(owner="bob", scopes=both, reviews=["ada"]),
        "carl": made.add(owner="carl", scopes=both, reviews=["dora"]),
        "eve": made.add(owner="eve", scopes=["review"], reviews=["*"]),
    }


@pytest.fixture
def call(tmp_path: Path, model_dir: Path, database: Database, keys: dict[str, str], processes: None) -> Iterator[Call]:
    server = RunningServer(tmp_path, model_dir, database_url=str(database.url), slab_slices=4).start()

    def asked(method: str, path: str, who: str, **request: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {keys[who]}"}
        return server.http.request(method, server.url + path, headers=headers, **request)

    yield asked
    server.end()


def test_a_reviewer_sees_slices_of_the_scans_that_the_key_names_and_nothing_else(call: Call, example: Example) -> None:
    """Of Ada's scan Bob and Eve see slices and verdicts, and may not undo hers; to Carl there is no such scan.

    That Bob may post scans of his own makes hers no more visible to him.
    """
    scan = call("POST", "/v1/scans?filename=fish.nii.gz", "ada", content=example.path.read_bytes()).json()["id"]
    while call("GET", f"/v1/scans/{scan}", "ada").json()["state"] != "succeeded":
        pass
    offered = call("GET", "/v1/reviews/next", "ada").json()
    said = {name: offered[name] for name in ("scan", "slice_index", "mask_sha256")}
    review = call("POST", "/v1/reviews", "ada", json={**said, "verdict": "good"}).json()["id"]
    everybody = ("ada", "bob", "eve", "carl")
    for path in (f"/v1/scans/{scan}/slices/z/0.png", f"/v1/scans/{scan}/slices/x/0.png?legend=yes"):
        assert [call("GET", path, who).status_code for who in everybody] == [200, 200, 200, 404]
    seen = [len(call("GET", f"/v1/reviews?scan={scan}", who).json()["reviews"]) for who in everybody]
    assert seen == [1, 1, 1, 0]
    assert [call("GET", "/v1/reviews/next", who).status_code for who in everybody] == [200, 200, 200, 204]
    assert [call("GET", "/v1/reviews/counts", who).json()["good"] for who in everybody] == [1, 1, 1, 0]
    assert call("POST", "/v1/reviews", "carl", json={**said, "verdict": "bad"}).status_code == 404
    masks = [call("GET", f"/v1/reviews/{review}/mask.png", who) for who in everybody]
    assert [mask.status_code for mask in masks] == [200, 200, 200, 404]
    assert masks[3].json()["type"] == "urn:ricefish:problem:no-such-review"
    withdrawn = [call("DELETE", f"/v1/reviews/{review}", who).status_code for who in ("bob", "eve", "carl", "ada")]
    assert withdrawn == [403, 403, 404, 204]
    assert [call("GET", f"/v1/scans/{scan}{part}", "bob").status_code for part in PARTS] == [404] * len(PARTS)
    assert [call("GET", f"/v1/scans/{scan}{part}", "eve").status_code for part in PARTS] == [403] * len(PARTS)
    assert call("DELETE", f"/v1/scans/{scan}", "bob").status_code == 404
    assert scan not in call("GET", "/v1/scans", "bob").text
    assert call("GET", f"/v1/scans/{scan}/slicesx", "eve").status_code == 403


def test_a_key_that_may_not_review_names_nobody(database: Database) -> None:
    """Without the scope the owners would mean nothing; a name that is none is refused as an owner's is."""
    keys = Keys(database)
    with pytest.raises(KeyRefused, match="scans of ada, but has not the scope review"):
        keys.add(owner="bob", scopes=["segment"], reviews=["ada"])
    with pytest.raises(KeyRefused, match="the owner is ' '"):
        keys.add(owner="bob", scopes=["review"], reviews=[" "])
    keys.add(owner="bob", scopes=["review"], reviews=["dora", "ada", "ada"])
    assert [key.identity.reviews for key in keys.all()] == [{"ada", "dora"}]


def test_a_verdict_of_before_masks_were_kept_has_that_of_its_scan(
    call: Call, database: Database, example: Example
) -> None:
    """While there is one, which is the same; then it says that it is not kept."""
    scan = call("POST", "/v1/scans?filename=fish.nii.gz", "ada", content=example.path.read_bytes()).json()["id"]
    while call("GET", f"/v1/scans/{scan}", "ada").json()["state"] != "succeeded":
        pass
    offered = call("GET", "/v1/reviews/next", "ada").json()
    said = {name: offered[name] for name in ("scan", "slice_index", "mask_sha256")}
    mask = call("POST", "/v1/reviews", "ada", json={**said, "verdict": "bad"}).json()["mask"]
    kept = call("GET", mask, "ada").content
    with database.writing() as connection:
        connection.execute(delete(review_masks))
    assert call("GET", mask, "eve").content == kept
    assert call("DELETE", f"/v1/scans/{scan}", "ada").status_code == 204
    gone = call("GET", mask, "ada")
    assert (gone.status_code, gone.json()["type"]) == (404, "urn:ricefish:problem:no-such-mask")
