"""Corrections on a scan's page: sent, shown as versions, seen in the viewer, refused with the reason, removed."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import expect

from tests.serving.running import RunningServer
from tests.serving.web.conftest import SPACING, Visit


def labels(path: Path, organs: NDArray[np.uint8], *, spacing: float = SPACING) -> Path:
    nib.save(nib.Nifti1Image(organs.T, np.diag([-spacing, -spacing, spacing, 1.0])), path)
    return path


def test_a_correction_is_sent_shown_and_removed(
    visit: Visit, site: RunningServer, organs_of: tuple[str, NDArray[np.uint8]], tmp_path: Path
) -> None:
    """A heart of two slices fewer, of so many voxels as the page says; the viewer reads the version's own store."""
    scan, organs = organs_of
    mine = organs.copy()
    mine[4:6][mine[4:6] == 1] = 0
    visit.open(f"/scans/{scan}")
    table = visit.page.get_by_role("region", name="Table of versions").locator("tbody tr")
    expect(table).to_have_count(1)
    visit.page.set_input_files("#corrected", labels(tmp_path / "mine.nii.gz", mine))
    expect(table).to_have_count(2)
    expect(table.last).to_contain_text("mine.nii.gz")
    fewer = int((organs[4:6] == 1).sum())
    expect(table.last).to_contain_text(f"heart: 0 voxels more, {fewer} fewer")
    (told,) = [row for row in site.get(f"/v1/scans/{scan}/organs").json()["organs"] if row["name"] == "heart"]
    assert told["voxels"] == int((mine == 1).sum())
    visit.page.frame_locator("iframe[name=viewer]").locator(".neuroglancer-rendered-data-panel").first.wait_for()
    visit.page.wait_for_timeout(2000)
    assert visit.sent("GET", f"/v1/scans/{scan}/segmentations/1.ome.zarr/0/c/")
    visit.page.once("dialog", lambda dialog: dialog.accept())
    table.last.get_by_role("button", name="Remove version").click()
    expect(table).to_have_count(1)
    assert len(site.get(f"/v1/scans/{scan}/segmentations").json()["versions"]) == 1


def test_what_is_not_of_the_scan_is_refused_in_words(
    visit: Visit, organs_of: tuple[str, NDArray[np.uint8]], tmp_path: Path
) -> None:
    """Labels of another grid: the page says why, and keeps nothing."""
    scan, organs = organs_of
    visit.open(f"/scans/{scan}")
    visit.page.set_input_files("#corrected", labels(tmp_path / "other.nii.gz", organs[:5]))
    expect(visit.page.locator("#said")).to_contain_text("other.nii.gz")
    expect(visit.page.get_by_role("region", name="Table of versions").locator("tbody tr")).to_have_count(1)
