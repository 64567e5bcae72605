"""Judging slices in a real browser, by one key each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.serving.running import RunningServer
from tests.serving.web.conftest import Visit, visiting

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def offering(tmp_path_factory: pytest.TempPathFactory, judged_model: Path) -> Iterator[RunningServer]:
    """A server with slices that are worth a look."""
    folder = tmp_path_factory.mktemp("offering")
    server = RunningServer(folder, judged_model, slab_slices=8).start()
    grey = np.random.default_rng(5).integers(0, 100, (16, 40, 56)).astype(np.uint8)
    nib.save(nib.Nifti1Image(grey.T, np.diag([0.01, 0.01, 0.01, 1.0])), folder / "fish.nii.gz")
    server.until_ended(server.post(folder / "fish.nii.gz", "fish.nii.gz").json()["id"])
    server.until(lambda: server.get("/v1/reviews/counts").json()["waiting"] >= 6)
    yield server
    server.end()


@pytest.fixture
def judging(offering: RunningServer, chromium: Browser) -> Iterator[Visit]:
    yield from visiting(chromium, offering.url)


def test_one_key_keeps_a_verdict_and_shows_the_next_slice(judging: Visit, offering: RunningServer) -> None:
    """G, B, U and S; each slice is another one, both pictures are of it, counts go up, and Z takes the last back."""
    page, before = judging.page, offering.get("/v1/reviews/counts").json()
    judging.open("/reviews")
    what = page.locator("#what")
    seen = []
    for key, verdict in (("g", "Good"), ("b", "Bad"), ("u", "Unsure"), ("s", "Skip")):
        expect(what).to_contain_text("fish.nii.gz, slice")
        seen.append(what.inner_text())
        for picture in ("plain", "overlay"):
            shown = page.locator(f"#{picture}[src]")
            expect(shown).to_have_js_property("complete", value=True)
            assert shown.evaluate("image => image.naturalWidth") > 0
        page.keyboard.press(key)
        expect(page.locator("#said")).to_have_text(f"{verdict}: kept.")
        expect(what).not_to_have_text(seen[-1])
    assert len(set(seen)) == 4
    kept = offering.get("/v1/reviews").json()["reviews"][:4]
    assert [one["verdict"] for one in kept] == ["skip", "unsure", "bad", "good"]
    assert [f"slice {one['slice_index']} of" in said for one, said in zip(kept, reversed(seen), strict=True)] == [
        True
    ] * 4
    expect(page.locator("#counts")).to_contain_text(f"{before['good'] + 1} good, {before['bad'] + 1} bad")
    page.keyboard.press("z")
    expect(what).to_have_text(seen[-1])
    expect(page.locator("#said")).to_have_text("Taken back.")
    assert offering.get("/v1/reviews/counts").json()["verdicts"] == before["verdicts"] + 3


def test_a_verdict_may_be_on_an_organ(judging: Visit) -> None:
    """Chosen beside the buttons; letters there choose organs, and judge nothing."""
    judging.open("/reviews")
    organ = judging.page.get_by_label("On")
    expect(judging.page.locator("#what")).to_contain_text("slice")
    organ.select_option("heart")
    organ.press("u")
    organ.select_option("heart")
    judging.page.get_by_role("button", name="Bad").click()
    expect(judging.page.locator("#said")).to_have_text("Bad: kept.")
    (sent,) = judging.sent("POST", "/v1/reviews")
    assert json.loads(sent.post_data or "")["organ"] == "heart"


def test_everybody_can_judge(judging: Visit) -> None:
    """Axe finds nothing serious or critical."""
    judging.open("/reviews")
    expect(judging.page.locator("#what")).to_contain_text("slice")
    found = Axe().run(judging.page).response["violations"]
    assert not [one["id"] for one in found if one["impact"] in ("serious", "critical")]
