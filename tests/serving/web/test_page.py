"""The page in a real browser: scans are sent, followed, looked at and removed there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from playwright.sync_api import Browser, Route, expect

from tests.serving.models import write_model
from tests.serving.running import RunningServer
from tests.serving.web.conftest import Visit, fish, visiting

pytestmark = pytest.mark.process

PART_BYTES = 8 << 20
"""Of an upload, as the page sends it."""


def rows(visit: Visit, name: str) -> list[str]:
    return [row for row in visit.page.locator("#rows tr").all_inner_texts() if name in row]


def another(path: Path) -> Path:
    """A scan that no other test sends."""
    grey = np.random.default_rng(len(path.name)).integers(0, 100, (8, 40, 56)).astype(np.uint8)
    nib.save(nib.Nifti1Image(grey.T, np.diag([0.01, 0.01, 0.01, 1.0])), path)
    return path


def test_a_file_that_was_sent_before_is_found(visit: Visit, organs_of: tuple[str, object], tmp_path: Path) -> None:
    """Under whatever name it comes: the page says so, and leads to the scan that there is."""
    path, _ = fish(tmp_path)
    visit.open("/")
    visit.page.wait_for_timeout(3000)  # older than what could be its own
    visit.page.set_input_files("#files", path.rename(tmp_path / "again.nii.gz"))
    sent = visit.page.locator("#uploads li")
    expect(sent).to_contain_text("segmented with this model before")
    sent.get_by_role("link", name="fish_1.nii.gz").click()
    visit.page.wait_for_url(f"{visit.url}/scans/{organs_of[0]}")


def test_a_file_becomes_a_scan_that_is_followed_to_its_end(visit: Visit, tmp_path: Path) -> None:
    """Chosen by the keyboard, sent with a checksum for each part, and shown as done without a reload."""
    path = another(tmp_path / "chosen.nii.gz")
    visit.open("/")
    with visit.page.expect_file_chooser() as chosen:
        visit.page.get_by_role("button", name="Files").press("Enter")
    chosen.value.set_files(path)
    row = visit.page.locator("#rows tr", has_text="chosen.nii.gz")
    expect(row.locator(".state.succeeded")).to_have_text("done", timeout=60_000)
    expect(visit.page.locator("#uploads li")).to_have_count(0)
    parts = visit.sent("PATCH", "/v1/uploads/")
    assert parts and all(part.headers["upload-checksum"].startswith("sha256 ") for part in parts)
    row.get_by_role("link", name="chosen.nii.gz").click()
    expect(visit.page.get_by_role("heading", name="chosen.nii.gz")).to_be_visible()
    names = visit.page.get_by_role("region", name="Table of organs").locator("th[scope=row]").all_inner_texts()
    assert [name.strip() for name in names] == ["heart", "eye"]


def test_an_upload_that_was_cut_goes_on_where_it_stopped(visit: Visit, tmp_path: Path) -> None:
    """The page is left in the middle of it; when the same file is chosen again, what has arrived is not sent again."""
    grey = np.random.default_rng(3).integers(0, 100, (40, 512, 512)).astype(np.uint8)
    path = tmp_path / "long.nii"
    nib.save(nib.Nifti1Image(grey.T, np.diag([0.01, 0.01, 0.01, 1.0])), path)
    assert PART_BYTES < path.stat().st_size < 2 * PART_BYTES

    def cut(route: Route) -> None:
        if route.request.headers.get("upload-offset") == "0":
            route.continue_()
        else:
            route.abort()

    visit.page.route(
        "**/v1/uploads/*", lambda route: cut(route) if route.request.method == "PATCH" else route.continue_()
    )
    visit.open("/")
    visit.page.set_input_files("#files", path)
    expect(visit.page.locator("#uploads li")).to_contain_text("8.4 of 10 MB")
    visit.page.wait_for_event("requestfailed")
    visit.open("/models")  # else the page itself tries again, as it should
    visit.page.unroute_all()
    before = len(visit.requests)
    visit.open("/")
    visit.page.set_input_files("#files", path)
    expect(visit.page.locator("#rows tr", has_text="long.nii")).to_be_visible(timeout=60_000)
    again = [one for one in visit.requests[before:] if one.method == "PATCH"]
    assert [one.headers["upload-offset"] for one in again] == [str(PART_BYTES)]


def test_a_folder_of_slices_becomes_one_scan_once_its_spacing_is_said(visit: Visit, tmp_path: Path) -> None:
    """TIFF without a voxel size: the page asks for it, and sends nothing again."""
    folder = tmp_path / "day_7"
    folder.mkdir()
    for z in range(6):
        tifffile.imwrite(folder / f"slice_{z:03}.tif", np.full((20, 30), 10 * z, dtype=np.uint8))
    visit.open("/")
    visit.page.set_input_files("#folder", folder)
    field = visit.page.get_by_label("Voxel size in mm")
    field.fill("0.01, 0.005, 0.005")
    sent = len(visit.sent("PATCH", "/v1/uploads/"))
    visit.page.get_by_role("button", name="Use this").click()
    expect(visit.page.locator("#rows tr", has_text="day_7.zip")).to_contain_text("6 slices", timeout=60_000)
    assert len(visit.sent("PATCH", "/v1/uploads/")) == sent


def test_a_file_that_is_no_scan_is_refused_in_words(visit: Visit, tmp_path: Path) -> None:
    """The server's reason stands beside its name, and no row comes of it."""
    path = tmp_path / "notes.txt"
    path.write_text("not a scan")
    visit.open("/")
    visit.page.set_input_files("#files", path)
    expect(visit.page.locator("#uploads li")).to_contain_text("The file is of no accepted format")
    assert not rows(visit, "notes.txt")
    visit.page.get_by_role("button", name="Stop sending notes.txt").click()
    expect(visit.page.locator("#uploads li")).to_have_count(0)


@pytest.fixture
def slow(tmp_path: Path, chromium: Browser) -> Iterator[Visit]:
    """A visit to a server whose model takes its time."""
    server = RunningServer(tmp_path, write_model(tmp_path / "slow", rounds=40), slab_slices=1, batch_size=1).start()
    yield from visiting(chromium, server.url)
    server.end()


def test_progress_is_live_and_a_scan_is_cancelled_tried_again_and_deleted(slow: Visit, tmp_path: Path) -> None:
    """Slices are counted as they are done; each button does what it says, on the list and on the scan's own page."""
    grey = np.random.default_rng(1).integers(0, 100, (200, 96, 96)).astype(np.uint8)
    path = tmp_path / "slow.nii.gz"
    nib.save(nib.Nifti1Image(grey.T, np.diag([0.01, 0.01, 0.01, 1.0])), path)
    slow.open("/")
    slow.page.set_input_files("#files", path)
    row = slow.page.locator("#rows tr", has_text="slow.nii.gz")
    expect(row).to_contain_text(re.compile(r"[1-9]\d* of 200 slices"), timeout=60_000)
    row.get_by_role("link").click()
    said = slow.page.locator("[data-said]")
    first = said.inner_text()
    expect(said).not_to_have_text(first, timeout=60_000)
    slow.page.get_by_role("button", name="Cancel").click()
    expect(slow.page.get_by_text("It was cancelled.")).to_be_visible(timeout=60_000)
    slow.open("/")
    slow.page.get_by_role("button", name="Try slow.nii.gz again").click()
    expect(row.locator(".state")).to_have_text(re.compile("waits|under way"))
    slow.page.get_by_role("button", name="Cancel slow.nii.gz").click()
    expect(row.locator(".state")).to_have_text("cancelled", timeout=60_000)
    slow.page.on("dialog", lambda dialog: dialog.accept())
    slow.page.get_by_role("button", name="Delete slow.nii.gz").click()
    expect(row).to_have_count(0)
    expect(slow.page.locator("#rows")).to_contain_text("No scans here yet.")


def test_rows_are_filtered(visit: Visit, organs_of: tuple[str, object]) -> None:
    """By state and by flag, at once when chosen; what came of it stands in the address."""
    scan, _ = organs_of
    visit.open("/")
    expect(visit.page.locator(f"#scan-{scan}")).to_be_visible()
    visit.page.get_by_label("State").select_option("failed")
    expect(visit.page.locator(f"#scan-{scan}")).to_have_count(0)
    assert "state=failed" in visit.page.url
    visit.open("/?flag=quality")
    shown = visit.page.locator(f"#scan-{scan}").count()
    visit.open(f"/scans/{scan}")
    assert shown == visit.page.get_by_text("Bad quality:").count()


def test_what_a_scan_has_is_fetched_from_its_page(visit: Visit, organs_of: tuple[str, object], tmp_path: Path) -> None:
    """Every link to fetch something answers, and the address to open it elsewhere is that of its store."""
    scan, _ = organs_of
    visit.open(f"/scans/{scan}")
    for link in visit.page.locator(".fetch a").all():
        with visit.page.expect_download() as fetched:
            link.click()
        assert fetched.value.failure() is None
        fetched.value.save_as(tmp_path / "fetched")
        assert (tmp_path / "fetched").stat().st_size
    stated = visit.page.locator(".copy pre").last.inner_text()
    assert stated == f"{visit.url}/v1/scans/{scan}/segmentation.ome.zarr"
    strip = visit.page.locator(".strip rect")
    assert strip.count() == 24 and strip.first.locator("title").text_content()
